"""Raw files as frames: events with their day, time and file, and tables of attributes."""

import csv
import gzip
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from functools import reduce
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from features import cells, nested
from features.arrivals import arrived_pattern
from features.errors import MissingDayError, SourceError
from features.needs import needed_columns, used_tables
from features.settle import gather
from features.spec import Spec
from features.spec.model import Source

DAY, TIME, FILE, ARRIVED, BROKEN = "_day", "_time", "_file", "_arrived", "_broken"
"""Columns that reading adds: day of the event, its instant, file, day of the file, broken line."""

FOR, UNTIL = "_for", "_until"
"""Columns of an event among days that are built: the day that this copy of it is for, and the last
day whose arrivals count for that."""

READ_COLUMNS = (DAY, TIME, FILE, ARRIVED, BROKEN)

ADDED_COLUMNS = (*READ_COLUMNS, FOR, UNTIL)
"""Columns that are not the raw row's own."""


def read_events(spark: SparkSession, spec: Spec, name: str, paths: Iterable[Path]) -> DataFrame:
    """Read a stream of events.

    Args:
        spark: the session.
        spec: declares the stream; its columns that the spec needs must be there.
        name: the stream's name in the spec.
        paths: its files.

    Returns:
        The raw columns as they are (text, for CSV), nested fields that the spec needs under their
        paths, and ``READ_COLUMNS``: ``_day`` is null when no day can be read and no file says one,
        ``_time`` when the time does not parse.

    Raises:
        SourceError: when a file can't be read or lacks a column.
    """
    source = spec.sources[name]
    frame = _read(spark, spec, name, tuple(paths))
    kinds = {field.name: field.dataType for field in frame.schema.fields}
    time = source.time
    if time is None:
        raise ValueError(f"{name} is a table of attributes, not a stream")
    instant = cells.moment(cells.raw(time.column), kinds[time.column], time)
    arrived = F.regexp_extract(F.col("_path"), arrived_pattern(source), 1) if source.daily else None
    day = cells.day_of(F.col(TIME), spec.timezone)
    if source.day is not None:
        column, pattern = source.day.column, source.day.format
        day = F.coalesce(cells.day_in(cells.raw(column), kinds[column], pattern), day)
    return (
        frame.withColumn(TIME, instant)
        .withColumn(ARRIVED, F.lit(None).cast("string") if arrived is None else arrived)
        .withColumn(DAY, F.coalesce(day, F.col(ARRIVED)))
        .drop("_path")
    )


def read_table(spark: SparkSession, spec: Spec, name: str, paths: Iterable[Path]) -> DataFrame:
    """Read a table of attributes: one row a key, the first by file and content where repeated.

    Raises:
        SourceError: when a file can't be read or lacks a column.
    """
    source = spec.sources[name]
    frame = _read(spark, spec, name, tuple(paths)).drop("_path", BROKEN)
    key = cells.text(cells.raw(str(source.key)))
    order = Window.partitionBy(key).orderBy(FILE, content_hash(frame))
    first = frame.where(key.isNotNull()).withColumn("_turn", F.row_number().over(order))
    return first.where(F.col("_turn") == 1).drop("_turn", FILE)


def content_hash(frame: DataFrame) -> Column:
    """Return a 64-bit hash of a row's raw columns; a null is not the same as no column."""
    columns = [name for name in nested.own_columns(frame) if name not in ADDED_COLUMNS]
    return F.xxhash64(*(F.xxhash64(nested.hashable(frame, name)) for name in columns))


def belongs(source: Source) -> Column:
    """Return whether a row is part of the input of ``_for``.

    Those are the day's own rows, and those of its file that fit no day (no readable day, or a day
    the stream's lateness does not reach), so that row rules can name them; nothing vanishes
    between files.
    """
    return ((F.col(DAY) == F.col(FOR)) & ~ahead_of_its_file()) | stray(source)


def ahead_of_its_file() -> Column:
    """Return whether an event is of a later day than the file that brings it: a stray of that."""
    return F.coalesce(F.col(ARRIVED) < F.col(DAY), F.lit(False))


def stray(source: Source) -> Column:
    """Return whether a row comes with the file of ``_for`` but no day will take it."""
    undated = F.col(DAY).isNull()
    if not source.daily:
        return undated
    oldest = F.date_sub(F.col(FOR), -(-source.late // timedelta(days=1))).cast("string")
    inside = F.col(DAY).between(oldest, F.col(FOR))
    return (F.col(ARRIVED) == F.col(FOR)) & (undated | ~inside)


@contextmanager
def explained(files: Mapping[str, Iterable[Path]]) -> Iterator[None]:
    """Turn a failure of Spark inside the block into the name of the file that can't be read.

    Raises:
        SourceError: when one of ``files`` turns out to be broken.
    """
    try:
        yield
    except (PySparkException, Py4JError):
        for path in (path for paths in files.values() for path in paths):
            _check_readable(path)
        raise


def missing_day(events: DataFrame, spec: Spec, name: str, day: date) -> MissingDayError:
    """Return the error of a day without rows; it says which days the files do hold."""
    bounds = events.agg(F.min(DAY), F.max(DAY)).first()
    first, last = bounds if bounds is not None else (None, None)
    holds = f"its days run from {first} to {last}" if first else "no row has a readable day"
    column = spec.sources[name].day or spec.sources[name].time
    where = "day" if spec.sources[name].day else "time"
    return MissingDayError(
        f"source '{name}' has no row of {day}: {holds}; choose another day, or correct "
        f"sources.{name}.{where} ({column.column if column else ''})"
    )


def _read(spark: SparkSession, spec: Spec, name: str, paths: tuple[Path, ...]) -> DataFrame:
    """Read files of one kind, those with the same columns together."""
    kind = spec.sources[name].kind
    headers = [(_header(path, kind), path) for path in paths]
    needed = needed_columns(spec)[name]
    for header, path in headers:
        if header is not None:
            _require(name, path, header, needed)
    frames = []
    headers.sort(key=lambda pair: repr(pair[0]))
    for header, group in groupby(headers, lambda pair: pair[0]):
        files = [str(path) for _, path in group]
        frames.append(gather(_located(_open(spark, kind, header, files))))
    whole = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)
    _require(name, paths[0], whole.schema, needed)  # of JSON lines, known only now
    _refuse_namesakes(spec, name, paths[0], nested.nested_columns(whole))
    return nested.lift(whole, needed)


def _located(frame: DataFrame) -> DataFrame:
    found = frame.select(
        "*",
        F.col("_metadata.file_name").alias(FILE),
        F.col("_metadata.file_path").alias("_path"),
    )
    if BROKEN in found.columns:
        return found
    return found.withColumn(BROKEN, F.lit(None).cast("string"))


def _open(spark: SparkSession, kind: str, header: Any, files: list[str]) -> DataFrame:
    reader = spark.read.option("mode", "PERMISSIVE").option("columnNameOfCorruptRecord", BROKEN)
    if kind == "csv":
        fields = [StructField(column, StringType()) for column in (*header, BROKEN)]
        return reader.schema(StructType(fields)).csv(files, header=True, escape='"')
    if kind == "jsonl":
        return reader.json(files)
    frame = spark.read.parquet(*files)
    for column in (field.name for field in header if _in_nanoseconds(field.type)):
        micros = F.floor(cells.raw(column) / F.lit(1000)).cast("long")
        frame = frame.withColumn(column, F.timestamp_micros(micros))
    return frame


def _in_nanoseconds(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind)) and kind.unit == "ns"


def _header(path: Path, kind: str) -> Any:
    """Return the columns of a file: names (CSV), an Arrow schema (Parquet), None for JSON lines.

    Raises:
        SourceError: when the file is empty or can't be read.
    """
    if kind == "parquet":
        try:
            return pq.read_schema(path).remove_metadata()
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from None
    if kind == "jsonl":
        return None
    try:
        with _text(path) as file:
            first = next(csv.reader(file), None)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    if not first:
        raise SourceError(f"{path} is empty; deliver the file again")
    return tuple(first)


def _text(path: Path) -> Any:
    opener = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def _require(name: str, path: Path, header: Any, needed: Mapping[str, str]) -> None:
    names = nested.paths(header)
    for column, reason in needed.items():
        if column not in names:
            raise SourceError(
                f"source '{name}': {path.name} has no column '{column}', which {reason} needs; "
                f"its columns are {', '.join(names)}"
            )


def _refuse_namesakes(spec: Spec, name: str, path: Path, records: Collection[str]) -> None:
    """Refuse a field of the impression that has fields inside and is called like a table.

    Raises:
        SourceError: when a feature's name could be a path into either.
    """
    for table in used_tables(spec) if name == spec.impression.source else ():
        if table in records:
            raise SourceError(
                f"source '{name}': {path.name} has fields inside '{table}', and sources.{table} is "
                f"a table of attributes, so that '{table}.…' could be of either; rename the table"
            )


def _check_readable(path: Path) -> None:
    """Read ``path`` to its end.

    Raises:
        SourceError: when that fails.
    """
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                while file.read(1 << 20):
                    pass
        elif path.suffix == ".parquet":
            for _ in pq.ParquetFile(path).iter_batches():
                pass
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> SourceError:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    kind = "gzip" if path.suffix == ".gz" else path.suffix.removeprefix(".")
    return SourceError(f"{path} can't be read as {kind} ({said}); deliver the file again")
