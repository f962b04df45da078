"""Every secret of a cluster is a canary: after its nights none is in anything that was written."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from features.lake import TABLES
from jobs.airflow.settings import keys_of
from jobs.process import members
from tests.cluster.conftest import NIGHTS, Market

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

PRIVATE = (
    "cluster/logins.json",
    "cluster/redis/redis.conf",
    "airflow/keys.json",
    "airflow/passwords.json",
)
"""Where a server or a person looks a secret up: files that their owner alone may read."""
OF_SERVERS = ("cluster/store/users/", "cluster/postgres/data/")
"""What the store and PostgreSQL know their users by."""


@pytest.fixture(scope="module")
def canaries(market: Market) -> dict[bytes, str]:
    """Every form in which a secret could lie somewhere → whose it is."""
    known = {name: login.secret for name, login in market.cluster.logins.items()}
    known |= {f"airflow {name}": key for name, key in vars(keys_of(market.cluster.home)).items()}
    found = {}
    for name, secret in known.items():
        encoded = secret.encode()
        for form in (encoded, quote(secret, safe="").encode(), encoded.hex().encode()):
            found[form] = name
        found[base64.b64encode(encoded).rstrip(b"=")[:-1]] = name
    assert len(known) > 15
    return found


@pytest.fixture(scope="module")
def night(market: Market) -> None:
    """A night that has run, should no other test have asked for one."""
    if not market.cluster.airflow.client().runs("bazaar_training"):
        market.run("nightly", "--ds", NIGHTS[0])


def held(body: bytes, canaries: dict[bytes, str]) -> set[str]:
    return {name for form, name in canaries.items() if form in body}


def written(root: Path) -> Iterator[Path]:
    """Yield all files of a home, those of its object store among them, that may hold no secret."""
    for path in root.rglob("*"):
        place = path.relative_to(root).as_posix()
        if path.is_file() and place not in PRIVATE and not place.startswith(OF_SERVERS):
            yield path


def test_the_search_finds_what_it_looks_for(market: Market, canaries: dict[bytes, str]) -> None:
    whole = (market.cluster.folder / "logins.json").read_bytes()
    assert held(whole, canaries) == set(market.cluster.logins)


def test_no_file_holds_a_secret(market: Market, night: None, canaries: dict[bytes, str]) -> None:
    root = market.cluster.home.root
    paths = list(written(root))
    names = "\n".join(path.relative_to(root).as_posix() for path in paths)
    for kind in ("airflow/logs/dag_id=", "cluster/spark/events/", "cluster/store/objects/autoifs/"):
        assert kind in names, kind
    told = {str(path): said for path in paths if (said := held(path.read_bytes(), canaries))}
    assert told == {}


def test_files_that_hold_one_are_their_owner_s_alone(market: Market) -> None:
    for place in PRIVATE:
        assert (market.cluster.home.root / place).stat().st_mode & 0o077 == 0, place


def test_no_row_of_airflow_s_or_mlflow_s_database_holds_a_secret(
    market: Market, night: None, canaries: dict[bytes, str]
) -> None:
    postgres = market.cluster.postgres
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    for database, wanted in {"airflow": "xcom", "mlflow": "tags", "mlflow_auth": "users"}.items():
        names = [row[0] for row in postgres.ask(tables, database)]
        assert wanted in names
        for name in names:
            rows = postgres.ask(f'SELECT whole::text FROM "{name}" AS whole', database)  # noqa: S608
            body = "\n".join(str(row[0]) for row in rows).encode()
            assert held(body, canaries) == set(), f"{database}.{name}"


def test_no_table_of_the_lake_holds_a_secret(
    market: Market, night: None, canaries: dict[bytes, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in market.cluster.store.environment().items():
        monkeypatch.setenv(name, value)
    lake = market.lake
    for table in ("runs", "audits", "metrics"):
        assert table in TABLES
        rows = lake.open(table).to_pyarrow_table().to_pylist()
        assert rows
        assert held(json.dumps(rows, default=str).encode(), canaries) == set(), table


def test_no_process_shows_a_secret_to_who_lists_processes(
    market: Market, canaries: dict[bytes, str]
) -> None:
    leaders = [part.process.pid for server in market.cluster.servers for part in server.parts]
    for pid in members(leaders):
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert held(words, canaries) == set(), words.split(b"\0")[:3]
