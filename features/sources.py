"""Raw files as frames: events with their day, time and file, and tables of attributes."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from features import cells, nested
from features.alike import REFUSED, WAS, put_together
from features.arrivals import arrived_pattern, late_days
from features.contract import use_of
from features.deliveries import BROKEN, Deliveries, check_readable, delivered, open_part
from features.errors import MissingDayError, SourceError
from features.needs import used_tables
from features.settle import gather
from features.spec import Spec
from features.spec.model import Source

DAY, TIME, FILE, ROW, ARRIVED, FITS = "_day", "_time", "_file", "_row", "_arrived", "_fits"
"""Columns that reading adds, with ``_broken``, ``_refused`` and ``_was``: day of the event, its
instant, its file and its row in that (from 0, of Parquet alone), day of the file, and whether that
is the event's day or one that its stream's lateness allows (without days: it is)."""

FOR, UNTIL = "_for", "_until"
"""Columns of an event among days that are built: the day that this copy of it is for, and the last
day whose arrivals count for that."""

READ_COLUMNS = (DAY, TIME, FILE, ROW, ARRIVED, FITS, BROKEN, REFUSED, WAS)

ADDED_COLUMNS = (*READ_COLUMNS, FOR, UNTIL)
"""Columns that are not the raw row's own."""


def read_events(
    spark: SparkSession,
    spec: Spec,
    name: str,
    paths: Iterable[Path],
    found: Deliveries | None = None,
) -> DataFrame:
    """Read a stream of events.

    Args:
        spark: the session.
        spec: declares the stream; its columns that the spec needs must be there.
        name: the stream's name in the spec.
        paths: its files.
        found: what was agreed of these files and maybe more; left out: as on a first day.

    Returns:
        The raw columns as they are (text, for CSV), nested fields that the spec needs under their
        paths, and ``READ_COLUMNS``: ``_day`` is null when no day can be read and no file says one,
        ``_time`` when the time does not parse.

    Raises:
        SourceError: when a file can't be read or lacks a column.
    """
    source = spec.sources[name]
    frame = _read(spark, spec, name, paths, found)
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
        frame.withColumn(TIME, cells.once(instant))
        .withColumn(ARRIVED, F.lit(None).cast("string") if arrived is None else cells.once(arrived))
        .withColumn(DAY, cells.once(F.coalesce(day, F.col(ARRIVED))))
        .withColumn(FITS, cells.once(fits(source)))
        .drop("_path")
    )


def fits(source: Source) -> Column:
    """Return whether an event came with a file of its day, or of one its lateness allows."""
    return F.coalesce(F.datediff(ARRIVED, DAY).between(0, late_days(source)), F.lit(True))


def read_table(
    spark: SparkSession,
    spec: Spec,
    name: str,
    paths: Iterable[Path],
    found: Deliveries | None = None,
) -> DataFrame:
    """Read a table of attributes: one row a key, the first by file and content where repeated.

    Rows that its contract refuses are left out.

    Raises:
        SourceError: when a file can't be read or lacks a column.
    """
    source = spec.sources[name]
    whole = _read(spark, spec, name, paths, found)
    frame = whole.where(F.col(REFUSED).isNull()).drop("_path", ROW, BROKEN, REFUSED, WAS)
    key = cells.text(cells.raw(str(source.key)))
    order = Window.partitionBy(key).orderBy(FILE, content_hash(frame))
    first = frame.where(key.isNotNull()).withColumn("_turn", F.row_number().over(order))
    return first.where(F.col("_turn") == 1).drop("_turn", FILE)


def refused_rows(
    spark: SparkSession, spec: Spec, name: str, paths: Iterable[Path], found: Deliveries
) -> dict[str, int]:
    """Count the rows of a source that its contract refuses, by rule; reads them only if it may."""
    wanted = set(paths)
    parts = [part for part in found.parts if wanted.intersection(part.files)]
    if not any(part.terms.former or part.terms.refused for part in parts):
        return {}
    rules = _read(spark, spec, name, wanted, found).dropna(subset=[REFUSED])
    return {str(rule): n for rule, n in rules.groupBy(REFUSED).count().collect()}


def content_hash(frame: DataFrame) -> Column:
    """Return a 64-bit hash of a row's raw columns; a null is not the same as no column."""
    columns = [name for name in nested.own_columns(frame) if name not in ADDED_COLUMNS]
    return F.xxhash64(*(F.xxhash64(nested.hashable(frame, name)) for name in columns))


def belongs(source: Source) -> Column:
    """Return whether a row is part of the input of ``_for``.

    Those are the day's own rows, and those of its file that fit no day (no readable day, or a day
    the stream's lateness does not reach), so that row rules can name them; nothing vanishes
    between files. One that did not fit its file is a stray of that file's day, and no other day's.
    """
    return ((F.col(DAY) == F.col(FOR)) & F.col(FITS)) | stray(source)


def stray(source: Source) -> Column:
    """Return whether a row comes with the file of ``_for`` but no day will take it."""
    undated = F.col(DAY).isNull()
    if not source.daily:
        return undated
    return (F.col(ARRIVED) == F.col(FOR)) & (undated | ~F.col(FITS))


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
            check_readable(path)
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


def _read(
    spark: SparkSession, spec: Spec, name: str, paths: Iterable[Path], found: Deliveries | None
) -> DataFrame:
    """Read files of a source on the terms that were agreed on, or are those of a first day."""
    wanted = list(paths)
    found = found or delivered(spark, spec, name, wanted, {})
    kind = spec.sources[name].kind
    frames = []
    use = use_of(spec, name)
    for part in found.parts:
        files = [path for path in part.files if path in wanted]
        if files:
            opened = nested.lift(open_part(spark, kind, part.header, files), use.needed)
            frames.append((part, gather(_located(opened, kind))))
    whole = put_together(frames, found.parts, spec, use)
    _refuse_namesakes(spec, name, wanted[0], nested.nested_columns(whole))
    return whole


def _located(frame: DataFrame, kind: str) -> DataFrame:
    row = F.col("_metadata.row_index") if kind == "parquet" else F.lit(None).cast("bigint")
    found = frame.select(
        "*",
        F.col("_metadata.file_name").alias(FILE),
        F.col("_metadata.file_path").alias("_path"),
        row.alias(ROW),
    )
    if BROKEN in found.columns:
        return found
    return found.withColumn(BROKEN, F.lit(None).cast("string"))


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
