"""The Delta tables that Spark writes: creating them, and replacing and reading days."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, Field, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from features import writers
from features.errors import LakeError, UnavailableError, UserError
from features.lake import Lake, not_writable
from features.lease import LeaseLost
from features.objects import is_address, refusal
from features.schemas import constraints, partition_of, schemas
from features.settle import gather, is_small
from features.spec import Spec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
    from pyspark.sql.types import StructType

READER, WRITER = 1, 3
"""The newest protocol that a table may ask for: what Arrow's reader knows (no deletion vectors, no
column mapping, no v2 checkpoints), and CHECK constraints for writers."""

_FULL = (
    "No space left",
    "Disk quota exceeded",
    "Permission denied",
    "Read-only file system",
    "Mkdirs failed",
    "not a directory",
)
_RACES = (
    # In full: whatever made a task fail, it may name DynamicPartitionDataConcurrentWriter.
    "ConcurrentAppendException",
    "ConcurrentDeleteReadException",
    "ConcurrentDeleteDeleteException",
    "ConcurrentTransactionException",
    "ConcurrentWriteException",
    "DELTA_CONCURRENT",
    "MetadataChangedException",
    "ProtocolChangedException",
    # A conditional put of an object store's that came second (hadoop-aws).
    "RemoteFileChangedException",
    "FileAlreadyExistsException",
)
_CUT_OFF = ("SdkClientException", "ConnectException", "AWSClientIOException", "AWSStatus500")
"""What Hadoop's client of an object store says when it gets no answer."""
_INVALID = "failed validation check"


class Raced(LakeError):
    """Another run wrote the same table at the same time; one of the two commits is refused."""

    exit_code = UnavailableError.exit_code

    def __init__(self, where: str) -> None:
        super().__init__(f"another run is writing {where}; wait for it to end and run again")


def ensure(lake: Lake, spec: Spec) -> None:
    """Create the tables, and add the columns that the spec gained since.

    A step of its own before any write: concurrent first writes to an empty path conflict. Needs no
    JVM. Columns that the spec lost stay and are written null.

    Raises:
        LakeError: when the lake is not writable, a table asks for a newer protocol than Arrow
            reads, or a column changed its type.
    """
    for table, schema in schemas(spec).items():
        with _writable(lake, table):
            if lake.exists(table):
                _evolve(lake, table, schema)
            else:
                _create(lake, table, schema)
            _constrain(lake, table, constraints(spec).get(table, {}))
            _assert_readable(lake, table)


def replace_days(
    frame: "DataFrame",
    lake: Lake,
    table: str,
    metadata: Mapping[date, Mapping[str, Any]],
    files: int = 1,
) -> None:
    """Replace the partitions of days, each in one commit that says its ``metadata`` of itself.

    Args:
        frame: the days' rows; columns it lacks are written null, others than the table's refused.
        lake: where the table lies.
        table: its name.
        metadata: day -> what ``Lake.commit_of`` will return; ``ds`` is added. Every day here is
            replaced, by nothing if it has no row.
        files: into how many files the rows of a day go.

    Raises:
        LakeError: when the lake is not writable or another run writes the same table.
        ValueError: when ``frame`` holds a row of another day; nothing is written.
    """
    ordered = _in_order(frame, lake, table)
    with _writable(lake, table):
        if is_small(frame.sparkSession):
            _replace_by_arrow(_to_arrow(ordered, lake, table), lake, table, metadata)
            return
        for day, said in metadata.items():
            where = f"ds = '{day.isoformat()}'"
            rows = ordered.where(where) if len(metadata) > 1 else ordered
            writer = rows.coalesce(files).write.format("delta").mode("overwrite")
            writer.option("replaceWhere", where).option("userMetadata", _note(day, said))
            _save(writer, lake, table)


def append(frame: "DataFrame", lake: Lake, table: str, day: date, metadata: dict[str, Any]) -> None:
    """Append rows to ``table`` in one commit that says ``metadata`` of itself.

    Raises:
        LakeError: when the lake is not writable or another run writes the same table.
    """
    said = _note(day, metadata)
    ordered = _in_order(frame, lake, table)
    with _writable(lake, table):
        if is_small(frame.sparkSession):
            rows, opened = _to_arrow(ordered, lake, table), lake.open(table)
            said_so = lake.properties(table, opened, said)
            write_deltalake(opened, rows, mode="append", commit_properties=said_so)
            return
        writer = ordered.coalesce(1).write.format("delta").mode("append")
        _save(writer.option("userMetadata", said), lake, table)


def read(
    spark: "SparkSession", lake: Lake, table: str, first: str = "", last: str = "9999"
) -> "DataFrame":
    """Return the rows of ``table`` of the days from ``first`` to ``last``, as they are now.

    Which files hold them is asked of the table's log without Spark, whose own way takes four jobs
    a table, seconds of a small day.
    """
    schema = _spark_schema(lake, table)
    files = lake.files(table, first, last)
    if not files:
        return gather(spark.createDataFrame([], schema))
    reader = spark.read.schema(schema).option("basePath", lake.path(table))
    return gather(reader.parquet(*files).select(*schema.names))


def _replace_by_arrow(
    rows: pa.Table, lake: Lake, table: str, metadata: Mapping[date, Mapping[str, Any]]
) -> None:
    """Write small days from this process: Spark's own way of writing takes ten times as long."""
    strays = set(pc.unique(rows["ds"]).to_pylist()) - {day.isoformat() for day in metadata}
    if strays:
        raise ValueError(f"{table}: rows of {', '.join(sorted(strays))} among those to be written")
    for day, said in metadata.items():
        ds, opened = day.isoformat(), lake.open(table)
        write_deltalake(
            opened,
            rows.filter(pc.equal(rows["ds"], ds)),
            mode="overwrite",
            predicate=f"ds = '{ds}'",
            commit_properties=lake.properties(table, opened, _note(day, said)),
        )


def _save(writer: "DataFrameWriter", lake: Lake, table: str) -> None:
    """Let Spark commit, under the writer's number where the lake wants one.

    Raises:
        LeaseLost: when another run's number is there by now: Spark then leaves the commit out.
    """
    number = lake.number(table)
    if number is None:
        writer.save(lake.path(table))
        return
    writer.option("txnAppId", writers.APP).option("txnVersion", str(number)).save(lake.path(table))
    if lake.open(table).transaction_version(writers.APP) != number:
        raise LeaseLost(f"{lake.path(table)} was written by a later run; nothing was committed")


def _to_arrow(frame: "DataFrame", lake: Lake, table: str) -> pa.Table:
    return frame.toArrow().cast(pa.schema(lake.open(table).schema().to_arrow()))


def _note(day: date, metadata: Mapping[str, Any]) -> str:
    """Return what a commit says of itself."""
    return json.dumps({**metadata, "ds": day.isoformat()}, default=str)


def _create(lake: Lake, table: str, schema: Schema) -> None:
    kept = {
        # What commits say of their partitions must outlive Delta's default of 30 days.
        "delta.logRetentionDuration": "interval 36500 days",
        # Readers ask for days, never for a range of a column: no bounds are taken of 32 columns.
        "delta.dataSkippingNumIndexedCols": "0",
    }
    DeltaTable.create(
        lake.path(table), schema, partition_by=[partition_of(table)], configuration=kept
    )


def _evolve(lake: Lake, table: str, schema: Schema) -> None:
    opened = lake.open(table)
    present = {field.name: field for field in opened.schema().fields}
    for field in schema.fields:
        if field.name in present and present[field.name].type != field.type:
            raise LakeError(
                f"table {lake.product}/{table}: column '{field.name}' changed its type from "
                f"{present[field.name].type} to {field.type}; rename the feature, or give the "
                "product a new name"
            )
    gained = [field for field in schema.fields if field.name not in present]
    if gained:
        # Older partitions have no value to give: they read null.
        opened.alter.add_columns([Field(field.name, field.type) for field in gained])


def _constrain(lake: Lake, table: str, rules: dict[str, str]) -> None:
    opened = lake.open(table)
    known = opened.metadata().configuration
    for name, rule in rules.items():
        if f"delta.constraints.{name}" not in known:
            opened.alter.add_constraint({name: rule})


def _assert_readable(lake: Lake, table: str) -> None:
    protocol = lake.open(table).protocol()
    if protocol.min_reader_version > READER or protocol.min_writer_version > WRITER:
        raise LakeError(
            f"table {lake.product}/{table} asks for Delta protocol {protocol.min_reader_version}/"
            f"{protocol.min_writer_version}, training reads up to {READER}/{WRITER}; turn off "
            "deletion vectors, column mapping and v2 checkpoints"
        )


def _in_order(frame: "DataFrame", lake: Lake, table: str) -> "DataFrame":
    """Return the frame's columns in the table's order; one the table lacks is an error."""
    fields = _spark_schema(lake, table).fields
    present = set(frame.columns)
    unknown = present - {field.name for field in fields}
    if unknown:
        raise LakeError(f"table {lake.product}/{table} has no column {', '.join(sorted(unknown))}")
    return frame.selectExpr(
        *(
            f"cast({f'`{field.name}`' if field.name in present else 'NULL'} AS "
            f"{field.dataType.simpleString()}) AS `{field.name}`"
            for field in fields
        )
    )


def _spark_schema(lake: Lake, table: str) -> "StructType":
    from pyspark.sql.types import StructType

    # A Delta schema is written in Spark's own JSON.
    return StructType.fromJson(json.loads(lake.open(table).schema().to_json()))


@contextmanager
def _writable(lake: Lake, table: str) -> Iterator[None]:
    """Turn the many ways of a disk to refuse a write into one sentence."""
    where = lake.path(table)
    try:
        lake.make_place()
        with lake.hold(table):
            yield
    except UserError:
        raise
    except CommitFailedError:
        raise Raced(where) from None
    except (OSError, DeltaError) as error:
        if _INVALID in str(error):  # rows that break a constraint: not the disk's fault
            raise
        raise not_writable(where, error) from None
    except Exception as error:  # Spark's come in many classes, told apart by what they say
        raise _translated(error, where) from None


def _translated(error: Exception, where: str) -> Exception:
    said = f"{type(error).__name__}: {error}"
    for reason in _FULL:
        if reason in said:
            return not_writable(where, reason)
    if any(race in said for race in _RACES):
        return Raced(where)
    if is_address(where) and (refusal(said) or any(word in said for word in _CUT_OFF)):
        return not_writable(where, said)
    return error
