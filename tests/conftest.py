"""Fixtures that rooms share: one Spark session for all tests, an empty lake, the real data."""

import atexit
import importlib.machinery
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from features.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytest_plugins = ["tests.servers"]

CHECKOUT = Path(__file__).resolve().parents[1]
_STATUS = pytest.StashKey[int]()

_main = sys.modules["__main__"]
if _main.__spec__ is None and not hasattr(_main, "__file__"):
    # A worker of xdist: PySpark would take it for its own doctests and end it.
    _main.__spec__ = importlib.machinery.ModuleSpec("__main__", None)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator["SparkSession"]:
    """One session for the whole run: starting one takes about 9 s."""
    from features.session import spark_session

    session = spark_session(cache(), tmp_path_factory.mktemp("spark-home"), master="local[2]")
    yield session
    session.stop()


@pytest.fixture(scope="module", params=["1", "4"], ids=["small-day", "large-day"])
def any_size(spark: "SparkSession", request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a module's tests as on a small day, and again as on one spread over all cores."""
    from features.settle import PARTITIONS

    before = str(spark.conf.get(PARTITIONS))
    spark.conf.set(PARTITIONS, request.param)
    yield
    spark.conf.set(PARTITIONS, before)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake of the product ``shop``."""
    return Lake(str(tmp_path / "lake"), "shop")


@pytest.fixture(scope="session")
def kuairand() -> Path:
    """Folder of the published KuaiRand-Pure files; tests skip where it is absent."""
    default = CHECKOUT.parent / "shared" / "data" / "kuairand-pure" / "data"
    folder = Path(os.environ.get("KUAIRAND_PURE", default))
    if not folder.is_dir():
        pytest.skip(f"no KuaiRand-Pure in {folder}; set KUAIRAND_PURE to its folder")
    return folder


@contextmanager
def kept_jvm(home: Path) -> Iterator[dict[str, str]]:
    """Keep a JVM while the block runs; yield the environment that names it."""
    words = [sys.executable, "-m", "features.keeper", str(cache()), str(home)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        yield json.loads(keeper.stdout.readline())
        keeper.terminate()


def cache() -> Path:
    """The cache of jars that this run shares with the product."""
    home = Path(os.environ.get("AUTOIFS_HOME", CHECKOUT / ".autoifs"))
    return Path(os.environ.get("AUTOIFS_CACHE", home / "cache"))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how the run ended, for the last hook."""
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process here, as ``autoifs`` does: Python's own shutdown may meet Arrow's threads."""
    if _STATUS not in config.stash:
        return
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(config.stash[_STATUS])
