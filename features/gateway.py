"""Working in a JVM that is kept (``features.keeper``): one job at a time, with its own context."""

import atexit
import fcntl
import os
import socket
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PORT, SECRET = "PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"
HOST = "127.0.0.1"

_claims: list[IO[str]] = []
"""Files whose lock says that this process uses the kept JVM; held until the process ends."""


def claim(home: Path) -> bool:
    """Return whether the JVM that the environment names is now ours alone.

    If it is gone, or another job has it, the environment is cleared, so that PySpark starts one.
    """
    if PORT not in os.environ:
        return False
    if _listens(int(os.environ[PORT])) and _lock(home / "tmp" / "spark.lock"):
        return True
    del os.environ[PORT], os.environ[SECRET]
    return False


def clear() -> None:
    """End the Spark context of a job that was killed, and with it what it still had running."""
    from pyspark import SparkContext

    SparkContext._ensure_initialized()
    jvm = SparkContext._jvm
    assert jvm is not None  # noqa: S101 (just initialised)
    contexts = getattr(getattr(jvm.org.apache.spark, "SparkContext$"), "MODULE$")
    left = contexts.getActive()
    if left.isDefined():
        left.get().stop()


def hand_back(session: "SparkSession") -> None:
    """Leave the kept JVM to the next job when this process ends."""
    atexit.register(session.stop)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=5):
            return True
    except OSError:
        return False


def _lock(file: Path) -> bool:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = file.open("w", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return False
    _claims.append(handle)
    return True
