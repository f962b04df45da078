"""The servers that stand in for a cloud's: they keep what they are given, and let nobody in."""

import psycopg2
import pytest
from botocore.exceptions import ClientError

from jobs.cluster.login import Login
from jobs.cluster.redis import Redis
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
