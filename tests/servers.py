"""Real servers for tests: an S3 store and PostgreSQL, one of each for the whole run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from features.errors import ServiceError
from jobs.cluster.postgres import Postgres
from jobs.cluster.server import Server
from jobs.cluster.store import Store
from tests.conftest import cache

Kind = TypeVar("Kind", bound=Server)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An S3 server with users and policies, empty; make a bucket of your own."""
    with serving(Store(folder=tmp_path_factory.mktemp("store"), cache=cache())) as served:
        yield served


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
