"""Keeping a JVM: starting Spark and warming it up is most of what a small day costs.

``python -m features.keeper CACHE HOME`` starts one, prints a JSON line with the two environment
variables by which PySpark finds it, and keeps it until it is ended itself. A job that is given them
works in that JVM, with a Spark context of its own.
"""

import json
import sys
from pathlib import Path

from pyspark import SparkConf
from pyspark.java_gateway import launch_gateway

from features.gateway import PORT, SECRET
from features.session import lasting_settings, stderr_to


def keep(cache: Path, home: Path) -> None:
    """Start a JVM with the settings that can't be changed later, and wait until it ends.

    Raises:
        ServiceError: without Java, or without Delta's jars.
    """
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
