"""Real servers for tests: an S3 store and PostgreSQL, one of each for the whole run."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from botocore.exceptions import ClientError

from features.errors import ServiceError
from features.lake import Lake
from jobs.cluster.postgres import Postgres
from jobs.cluster.server import Server
from jobs.cluster.store import Store
from tests.conftest import cache

Kind = TypeVar("Kind", bound=Server)
BUCKET = "autoifs"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An S3 server with users and policies, empty; make a bucket of your own."""
    with serving(Store(folder=tmp_path_factory.mktemp("store"), cache=cache())) as served:
        yield served


@pytest.fixture
def bucket(store: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address of a prefix of your own, with the environment that opens it."""
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    with suppress(ClientError):  # it is there already
        store.client().create_bucket(Bucket=BUCKET)
    return f"s3a://{BUCKET}/{uuid.uuid4().hex[:8]}"


@pytest.fixture(params=["disk", "store"])
def any_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """An empty lake of the product ``shop``, in a folder and on an object store."""
    on_disk = request.param == "disk"
    return Lake(str(tmp_path / "lake") if on_disk else request.getfixturevalue("bucket"), "shop")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server; make a database of your own."""
    quick = {"fsync": "off"}
    folder = tmp_path_factory.mktemp("postgres")
    with serving(Postgres(folder=folder, cache=cache(), settings=quick)) as served:
        yield served


@contextmanager
def serving(server: Kind) -> Iterator[Kind]:
    """Serve during the block; skip the tests where the server's program is missing."""
    try:
        server.start()
    except ServiceError as missing:
        pytest.skip(str(missing))
    try:
        server.wait()
        yield server
    finally:
        server.stop()
