"""The Spark session: Delta's jars, settings that suit small and large days, a quiet console."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from features import gateway
from features.errors import ServiceError
from features.jars import DELTA, STORE, jars
from features.lake import on_store
from features.settle import PARTITIONS

JAVA = 17
"""The oldest Java that Spark 4.2 runs on."""

_DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # 50 by default: a commit then waits for 50 empty tasks (12 s a write instead of 1.5 s).
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.databricks.delta.checkLatestSchemaOnRead": "false",
}
_MEANING = {
    "spark.sql.session.timeZone": "UTC",
    # A cell that does not parse becomes null, which the row rules see and name; under ANSI one
    # broken cell in ten million would stop the night.
    "spark.sql.ansi.enabled": "false",
    # Timestamps that pandas writes in nanoseconds; the reader turns them into Spark's.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.catalogImplementation": "in-memory",
}
_SPEED = {
    "spark.sql.autoBroadcastJoinThreshold": "32m",
    # Every query writes its plan down for a page that is not served: a seventh of a small day.
    "spark.sql.ui.explainMode": "simple",
    "spark.sql.maxPlanStringLength": "1000",
    "spark.sql.debug.maxToStringFields": "5",
    # On, every call on a Column asks Python's stack and the JVM where it is: plans of hundreds of
    # columns then take three times as long to write down.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # 100 by default; a day has 250 pieces of generated code, and all were compiled anew, and
    # interpreted at first, day after day.
    "spark.sql.codegen.cache.maxEntries": "5000",
    "spark.driver.memory": "3g",
    # What is held and what is exchanged: Java's own way writes every row as an object.
    "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
    # Rows point at nothing, and are of one class: without these, more is kept in mind than written.
    "spark.kryo.referenceTracking": "false",
    "spark.kryo.classesToRegister": "org.apache.spark.sql.catalyst.expressions.UnsafeRow",
    # By default 64 MB, which are filled with zeros for each of the hundred hash tables of a stage.
    "spark.buffer.pageSize": "4m",
    # A dictionary of more values than lie in a core's cache takes longer than writing them out.
    "parquet.dictionary.page.size": "65536",
    # The default is a layout of twelve bytes that only old readers want.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
_SMALL = {
    PARTITIONS: "1",
    "spark.sql.files.minPartitionNum": "1",
    "spark.sql.files.openCostInBytes": "0",
    # Without exchanges there is nothing to plan again.
    "spark.sql.adaptive.enabled": "false",
}
_LARGE = {
    # Of ten million rows still tens of megabytes each; small ones are put together as they come.
    PARTITIONS: "32",
    # What lies by its lot is joined by that and more where it lies.
    "spark.sql.requireAllClusterKeysForCoPartition": "false",
    # Text that repeats from row to row, such as days and files, is held a quarter as large.
    "spark.rdd.compress": "true",
    # What is held of a part fits into memory beside others, or is a small piece on disk.
    "spark.sql.files.maxPartitionBytes": "16m",
    # Nearly every key is another: a small table before the large one only costs.
    "spark.sql.codegen.aggregate.map.twolevel.enabled": "false",
    # Keys' histories are held as hash tables.
    "spark.driver.memory": "4g",
    # A file a day is open at once; with none, all rows are sorted by their day before they are
    # written, though all have the same.
    "spark.sql.maxConcurrentOutputFileWriters": "8",
}


def spark_session(
    cache: Path,
    home: Path,
    *,
    master: str | None = None,
    large: bool = False,
    settings: Mapping[str, str] | None = None,
) -> SparkSession:
    """Return a Spark session that reads and writes Delta tables.

    Nothing is written outside ``home`` and ``cache``: Spark's scratch files lie in ``home/tmp``,
    what the JVM has to say in ``home/logs/spark.log``.

    Args:
        cache: holds Delta's jars; they are fetched when missing.
        home: holds scratch files and the log.
        master: Spark's master; default ``AUTOIFS_SPARK_MASTER``, else all cores of this machine.
        large: whether the rows outweigh the plans: then they are spread over all cores, and stages
            are planned again as their sizes become known. Otherwise frames that are gathered
            (``features.settle``) stay in one partition.
        settings: more Spark settings; they win over this module's.

    Raises:
        ServiceError: without Java 17 or newer, without jars, or when Spark does not start.
    """
    log = home / "logs" / "spark.log"
    size = _LARGE if large else _SMALL
    chosen = {**lasting_settings(cache, home), **size, **(settings or {})}
    kept = gateway.claim(home)
    builder = SparkSession.builder.appName("autoifs").master(
        master or os.environ.get("AUTOIFS_SPARK_MASTER") or "local[*]"
    )
    for name, value in chosen.items():
        builder = builder.config(name, value)
    try:
        with stderr_to(log):
            if kept:
                gateway.clear()
            session = builder.getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        raise ServiceError(f"Spark does not start ({_first_line(error)}); see {log}") from None
    session.sparkContext.setLogLevel("ERROR")
    if on_store():
        _replace_nothing(session)
    if kept:
        gateway.hand_back(session)
    return session


def lasting_settings(cache: Path, home: Path) -> dict[str, str]:
    """Return the settings that sessions of every size share; Delta's jars are fetched if missing.

    Raises:
        ServiceError: without Java 17 or newer, or without jars.
    """
    check_java()
    lists = [DELTA, STORE] if on_store() else [DELTA]
    store = _store() if on_store() else {}
    return {**_DELTA, **_MEANING, **_SPEED, **_places(home, jars(cache, *lists)), **store}


def check_java() -> None:
    """Check that a Java which Spark can use is there.

    Raises:
        ServiceError: when there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=f"{home}/bin" if home else None)
    where = f"in JAVA_HOME ({home})" if home else "on the PATH"
    if program is None:
        raise ServiceError(f"no Java {where}; install JDK {JAVA} or newer, or set JAVA_HOME")
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r'version "(?:1\.)?(\d+)', said.stderr)
    if found is None or int(found[1]) < JAVA:
        version = found[1] if found else "unknown"
        raise ServiceError(
            f"the Java {where} is version {version}; Spark needs {JAVA} or newer: set JAVA_HOME"
        )


def _places(home: Path, wanted: list[Path]) -> dict[str, str]:
    scratch = home / "tmp" / "spark"
    host = os.environ.get("SPARK_LOCAL_IP") or "127.0.0.1"
    scratch.mkdir(parents=True, exist_ok=True)
    return {
        # Workers have them too, at the same place: they are not sent to each.
        "spark.jars": ",".join(f"local:{jar}" for jar in wanted),
        "spark.driver.host": host,
        "spark.driver.bindAddress": host,
        "spark.local.dir": str(scratch),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.driver.extraJavaOptions": (
            # The default collector's helpers compete with the work for two cores. Code made of a
            # hundred columns is longer than Java compiles by default, and would be interpreted.
            "-XX:+UseParallelGC -XX:MetaspaceSize=256m -XX:-DontCompileHugeMethods "
            f"-Duser.timezone=UTC -Dderby.system.home={scratch} -Djava.io.tmpdir={scratch}"
        ),
        "spark.executor.extraJavaOptions": "-XX:-DontCompileHugeMethods -Duser.timezone=UTC",
        "spark.pyspark.python": sys.executable,
    }


def _store() -> dict[str, str]:
    """Return how Hadoop finds the object store that the environment describes (``AWS_*``).

    Keys are not among them: Spark takes those from the environment by itself.
    """
    endpoint, region = os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("AWS_REGION")
    found = {"endpoint.region": region} if region else {}
    if endpoint:  # no AWS: its buckets have no host names of their own
        found |= {"endpoint": endpoint, "path.style.access": "true"}
    return {f"spark.hadoop.fs.s3a.{name}": value for name, value in found.items()}


def _replace_nothing(session: SparkSession) -> None:
    """Let Delta's commits be conditional puts: one that is there already is never replaced.

    Hadoop puts conditionally for those who ask by an option that Delta's log store does not know.
    It asks for a file that must not replace another in the older way, upon which Hadoop looks
    first and then puts, though two may look before either puts. The options of the older way are
    one constant of Hadoop's, to which the newer one is added here, in the driver, which commits.

    Raises:
        ServiceError: when Hadoop is not the one that ``infra/jars-s3.txt`` pins.
    """
    try:
        s3a = session._jvm.org.apache.hadoop.fs.s3a.impl  # type: ignore[union-attr]
        older = s3a.CreateFileBuilder.OPTIONS_CREATE_FILE_NO_OVERWRITE
        older.writeObjectFlags().add(s3a.write.WriteObjectFlags.ConditionalOverwrite)
    except Exception as error:
        raise ServiceError(
            f"hadoop-aws can't be made to refuse a second commit ({_first_line(error)}); use the "
            "version that infra/jars-s3.txt pins"
        ) from None


@contextmanager
def stderr_to(log: Path) -> Iterator[None]:
    """Let a JVM started inside the block inherit ``log`` as its stderr, for good."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
