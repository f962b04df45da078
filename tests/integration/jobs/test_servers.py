"""The servers that stand in for a cloud's: they keep what they are given, and let nobody in."""

import os
import shutil
import subprocess

import psycopg2
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from features.errors import StoreError
from features.lake import Lake
from features.objects import Objects
from jobs.cluster.login import Login
from jobs.cluster.postgres import USER, Postgres
from jobs.cluster.redis import Redis
from jobs.cluster.store import Store
from jobs.process import members
from tests.conftest import cache
from tests.servers import serving

READER = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::guarded/open/*"}
    ],
}


def code(refused):
    return refused.value.response["Error"]["Code"]


def test_of_two_writers_of_one_object_the_store_lets_the_first_in(store):
    client = store.client()
    client.create_bucket(Bucket="races")
    first = client.put_object(Bucket="races", Key="lease", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket="races", Key="lease", Body=b"2", IfNoneMatch="*")
    assert code(refused) == "PreconditionFailed"
    client.put_object(Bucket="races", Key="lease", Body=b"3", IfMatch=first["ETag"])
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket="races", Key="lease", Body=b"4", IfMatch=first["ETag"])
    assert code(refused) == "PreconditionFailed"


def test_a_user_of_the_store_may_do_what_its_policy_says_and_no_more(store):
    root = store.client()
    root.create_bucket(Bucket="guarded")
    root.put_object(Bucket="guarded", Key="open/a", Body=b"seen")
    root.put_object(Bucket="guarded", Key="shut/a", Body=b"not seen")
    reader = store.client(store.add_user("reader-of-guarded", READER))
    assert reader.get_object(Bucket="guarded", Key="open/a")["Body"].read() == b"seen"
    for refused_call in (
        lambda: reader.get_object(Bucket="guarded", Key="shut/a"),
        lambda: reader.put_object(Bucket="guarded", Key="open/a", Body=b"changed"),
    ):
        with pytest.raises(ClientError) as refused:
            refused_call()
        assert code(refused) == "AccessDenied"


def test_a_database_is_there_once_and_opens_with_its_password_alone(postgres):
    postgres.make_database("things")
    postgres.make_database("things")
    assert postgres.ask("SELECT current_database()", "things") == [("things",)]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        postgres.ask("SELECT 1", "things", Login(postgres.login.user, "guessed"))


def test_a_server_comes_back_with_what_it_held(tmp_path):
    with serving(Redis(folder=tmp_path, cache=cache())) as redis:
        leaders = [part.process.pid for part in redis.parts]
        redis.stop()
        assert not members(leaders)
        assert not redis.answers()
        redis.start()
        redis.wait()
    assert (tmp_path / "redis.conf").stat().st_mode & 0o077 == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of 127.0.0.1 that is its own authority, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "certificate.pem", folder / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    words += ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(
        [*words, "-out", str(made[0]), "-keyout", str(made[1])], check=True, capture_output=True
    )
    return made


def test_tables_and_objects_go_over_tls_to_a_store_whose_certificate_is_trusted(
    certificate, tmp_path, monkeypatch
):
    secure = Store(folder=tmp_path / "store", cache=cache(), certificate=certificate)
    with serving(secure):
        for name, value in secure.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
        secure.client().create_bucket(Bucket="secure")
        lake = Lake("s3a://secure/lake", "shop")
        lake.replace("runs", {"ds": "2026-01-01"}, pa.table({"ds": ["2026-01-01"], "step": ["a"]}))
        assert lake.days("runs") == ["2026-01-01"]
        monkeypatch.delenv("AWS_CA_BUNDLE")
        with pytest.raises(StoreError, match="shows a certificate that nobody here vouches for"):
            Objects("s3://secure").get("lake")


def test_a_database_is_reached_over_tls_alone_by_those_who_check_who_it_is(certificate, tmp_path):
    public, key = certificate
    private = tmp_path / "key.pem"
    shutil.copy(key, private)
    private.chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(private, USER)
    settings = {"ssl": "on", "ssl_cert_file": str(public), "ssl_key_file": str(private)}
    server = Postgres(folder=tmp_path / "postgres", cache=cache(), settings=settings)
    with serving(server):
        url = server.url("postgres").replace("postgresql+psycopg2", "postgresql")
        checked = f"{url}?sslmode=verify-full&sslrootcert={public}"
        with psycopg2.connect(checked) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert cursor.fetchone() == (True,)
        connection.close()
        with pytest.raises(psycopg2.OperationalError, match=r"does not exist|verify failed"):
            psycopg2.connect(f"{url}?sslmode=verify-full&sslrootcert={tmp_path}/none.pem")
