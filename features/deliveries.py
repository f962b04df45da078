"""The files of a source as they were delivered: their columns, and on which terms they are read."""

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from features import cells, nested
from features.arrivals import arrived_pattern
from features.contract import VOID, Columns, Records, Terms, accepted, agree, use_of
from features.errors import SourceError
from features.spec import Spec
from features.spec.model import Source

BROKEN = "_broken"
"""Column that takes a line which does not parse."""

SHARED = ""
"""Stands for the day of files that all days share."""


@dataclass(frozen=True)
class Header:
    """The columns of a file."""

    schema: StructType
    """As Spark reads them."""
    nanoseconds: tuple[str, ...] = ()
    """Columns that hold a time as a count of nanoseconds."""
    empty: frozenset[str] = frozenset()
    """Columns known to have no value, whose type says nothing."""

    @property
    def columns(self) -> dict[str, str]:
        """Column and nested field → type, after nanoseconds were read as times."""
        kinds = nested.columns(self.schema)
        kinds |= dict.fromkeys(self.nanoseconds, "timestamp")
        return kinds | dict.fromkeys(self.empty, VOID)


@dataclass(frozen=True)
class Part:
    """Files with the same columns that are read on the same terms."""

    header: Header
    terms: Terms
    files: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Deliveries:
    """The files of a source, and what was accepted of their columns."""

    parts: tuple[Part, ...]
    accepted: Mapping[str, Columns]
    """Day of a file, or ``SHARED`` → what was accepted once it was read."""


def delivered(
    spark: SparkSession, spec: Spec, name: str, paths: Iterable[Path], records: Records
) -> Deliveries:
    """Look at the files of a source, one after another by day and name, and agree on their terms.

    A file is compared with what was accepted when its own day was published; if it is not, with the
    file before it, or the last published day before.

    Raises:
        SourceError: when a file can't be read, or the source's contract refuses it.
    """
    source, use = spec.sources[name], use_of(spec, name)
    found: dict[str, Columns] = {}
    parts: dict[tuple[str, Terms], Part] = {}
    look = _looker(spark, source.kind)
    for day, files in _by_day(source, paths):
        before = _before(records, found, name, day)
        for key, header, group in look(files, before):
            terms = agree(use, group[0], header.columns, before)
            before = accepted(header.columns, before, terms)
            parts.setdefault((key, terms), Part(header, terms)).files.extend(group)
        found[day] = before or {}
    ordered = sorted(parts.items(), key=lambda entry: entry[0][0])
    return Deliveries(tuple(part for _, part in ordered), found)


def open_part(spark: SparkSession, kind: str, header: Header, files: Iterable[Path]) -> DataFrame:
    """Read files with the columns of ``header``; of text also ``_broken``."""
    places = [str(path) for path in files]
    if kind == "parquet":
        return _in_time(spark.read.schema(header.schema).parquet(*places), header)
    schema = StructType([*header.schema.fields, StructField(BROKEN, StringType())])
    reader = _reader(spark).schema(schema)
    return reader.csv(places, header=True, escape='"') if kind == "csv" else reader.json(places)


def check_readable(path: Path) -> None:
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


def _by_day(source: Source, paths: Iterable[Path]) -> list[tuple[str, list[Path]]]:
    """Return the files of each day in order, or all of them as ``SHARED``."""
    if not source.daily:
        return [(SHARED, list(paths))]
    found: dict[str, list[Path]] = {}
    for path in paths:
        day = re.search(arrived_pattern(source), str(path))
        found.setdefault(day[1] if day else SHARED, []).append(path)
    return sorted(found.items())


def _before(records: Records, found: Mapping[str, Columns], name: str, day: str) -> Columns | None:
    """Return what was accepted of a source before the file of ``day``; None if nothing was."""
    known = {ds: columns[name] for ds, columns in records.items() if name in columns}
    if day == SHARED:
        return known[max(known)] if known else None
    if day in known:
        return known[day]
    known |= found
    earlier = [ds for ds in known if ds < day]
    return known[max(earlier)] if earlier else None


_Seen = Iterator[tuple[str, Header, list[Path]]]
_Look = Callable[[list[Path], Columns | None], _Seen]
"""From a day's files, and what was accepted before, to those with one header together."""


def _looker(spark: SparkSession, kind: str) -> _Look:
    if kind == "csv":
        return lambda files, _: _by_header(files, _first_line, _of_text)
    if kind == "jsonl":
        return lambda files, before: _of_json(spark, files, before)
    known: dict[str, Header] = {}

    def of_parquet(schema: pa.Schema, path: Path) -> Header:
        if repr(schema) not in known:
            known[repr(schema)] = _of_parquet(spark, schema, path)
        return known[repr(schema)]

    return lambda files, _: _by_header(files, _footer, of_parquet)


def _by_header(
    files: list[Path], look: Callable[[Path], Any], header: Callable[[Any, Path], Header]
) -> _Seen:
    for key, group in groupby([(look(path), path) for path in files], lambda pair: pair[0]):
        alike = [path for _, path in group]
        yield repr(key), header(key, alike[0]), alike


def _of_text(names: tuple[str, ...], _: Path) -> Header:
    return Header(StructType([StructField(column, StringType()) for column in names]))


def _of_parquet(spark: SparkSession, schema: pa.Schema, path: Path) -> Header:
    nanoseconds = [column.name for column in schema if _in_nanoseconds(column.type)]
    return Header(
        schema=spark.read.parquet(str(path)).schema,
        nanoseconds=tuple(nanoseconds),
        empty=frozenset(column.name for column in schema if pa.types.is_null(column.type)),
    )


def _of_json(spark: SparkSession, files: list[Path], before: Columns | None) -> _Seen:
    """Yield the one header of a day's JSON lines: the columns that any of them has.

    Spark takes a column without a value for text; whether it has one is looked up where it was
    anything else before.
    """
    places = [str(path) for path in files]
    fields = [field for field in _reader(spark).json(places).schema.fields if field.name != BROKEN]
    schema = StructType(fields)
    texts = [field.name for field in fields if isinstance(field.dataType, StringType)]
    doubtful = [column for column in texts if (before or {}).get(column) != "string"]
    empty: list[str] = []
    if doubtful:
        frame = _reader(spark).schema(schema).json(places)
        row = frame.agg(*(F.count(cells.raw(column)) for column in doubtful)).first()
        values = list(row) if row is not None else []
        empty = [column for column, n in zip(doubtful, values, strict=True) if not n]
    yield repr(schema), Header(schema, empty=frozenset(empty)), files


def _reader(spark: SparkSession) -> DataFrameReader:
    return spark.read.option("mode", "PERMISSIVE").option("columnNameOfCorruptRecord", BROKEN)


def _in_time(frame: DataFrame, header: Header) -> DataFrame:
    """Turn counts of nanoseconds into times."""
    for column in header.nanoseconds:
        micros = F.floor(cells.raw(column) / F.lit(1000)).cast("long")
        frame = frame.withColumn(column, F.timestamp_micros(micros))
    return frame


def _in_nanoseconds(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind)) and kind.unit == "ns"


def _footer(path: Path) -> pa.Schema:
    """Return the columns of a Parquet file.

    Raises:
        SourceError: when it can't be read.
    """
    try:
        return pq.read_schema(path).remove_metadata()
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _first_line(path: Path) -> tuple[str, ...]:
    """Return the names in the first line of a CSV file.

    Raises:
        SourceError: when it is empty or can't be read.
    """
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        # What follows the names may hold bytes that are no text: its row's fault, not the file's.
        with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
            first = next(csv.reader(file), None)
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise _unreadable(path, error) from None
    if not first:
        raise SourceError(f"{path} is empty; deliver the file again")
    return tuple(first)


def _unreadable(path: Path, error: Exception) -> SourceError:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    kind = "gzip" if path.suffix == ".gz" else path.suffix.removeprefix(".")
    return SourceError(f"{path} can't be read as {kind} ({said}); deliver the file again")
