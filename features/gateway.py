"""A JVM that is kept: starting Spark and warming it up is most of what a small day costs.

``python -m features.gateway CACHE HOME`` starts one, prints a JSON line with the two environment
variables by which PySpark finds it, and keeps it until it is ended itself. A job that is given them
works in that JVM, with a Spark context of its own.
"""

import atexit
import fcntl
import json
import os
import socket
import sys
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


def keep(cache: Path, home: Path) -> None:
    """Start a JVM with the settings that can't be changed later, and wait until it ends."""
    from pyspark import SparkConf
    from pyspark.java_gateway import launch_gateway

    from features.session import lasting_settings, stderr_to

    conf = SparkConf(loadDefaults=False)
    for name, value in lasting_settings(cache, home).items():
        conf.set(name, value)
    with stderr_to(home / "logs" / "spark.log"):
        out = {"stdout": sys.stderr.fileno()}
        gateway = launch_gateway(conf, popen_kwargs=out)  # type: ignore[no-untyped-call]
    found = gateway.java_parameters
    print(json.dumps({PORT: str(found.port), SECRET: found.auth_token}), flush=True)  # noqa: T201
    gateway.proc.wait()


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
