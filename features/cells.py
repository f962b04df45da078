"""Raw cells to typed values: what does not parse is null, never an exception."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DateType,
    IntegralType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

from features.spec.model import TimeColumn

_MICROS = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0}
_LATEST = 7_258_118_400_000_000.0
"""Microseconds from 1970 to 2200: a larger count of them is no time of an event."""

_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
"""What is a number in text; Java would also take ``3d``, ``NaN`` and hexadecimal fractions."""


def raw(name: str) -> Column:
    """Return the raw column called ``name``, whatever characters it is made of."""
    return F.col(f"`{name}`")


def named(columns: Mapping[str, str]) -> list[str]:
    """Return name → SQL as the text of columns, for ``selectExpr``.

    Built call by call, each column would cost ten calls into the JVM.
    """
    return [f"{sql} AS `{name}`" for name, sql in columns.items()]


def once(column: Column) -> Column:
    """Return ``column`` so that Spark computes it where it is made, and only there.

    Spark moves conditions down to where their columns come from, with a copy of the expression for
    each time they name one: of a day's conditions, that is twenty a row. It moves none below an
    expression that may change from one computation to the next, as it holds a partition's number.
    """
    return F.when(F.spark_partition_id() >= 0, column)


def text(column: Column) -> Column:
    """Return a cell as text, null when empty."""
    return F.nullif(column.cast("string"), F.lit(""))


def number(column: Column, kind: DataType) -> Column:
    """Return a cell as a finite double, else null."""
    value = column.cast("double")
    if isinstance(kind, StringType):
        value = F.when(column.rlike(_NUMBER), value)
    return F.when(~F.isnan(value) & (F.abs(value) != float("inf")), value)


def no_number(column: Column, kind: DataType) -> Column:
    """Return whether a cell holds something that is no number; a missing value is none."""
    missing = column.isNull()
    if kind.typeName() in {"double", "float"}:
        missing = missing | F.isnan(column)
    if isinstance(kind, StringType):
        missing = missing | (F.trim(column) == "")
    return ~missing & number(column, kind).isNull()


def bucket(value: Column, edges: Sequence[float]) -> Column:
    """Return the bucket that a number lies in, as text such as ``10..50``; null for null.

    Args:
        value: a number.
        edges: ascending; a value on an edge is in the bucket above it.
    """
    below = [f"<{edges[0]:g}", *(f"{low:g}..{high:g}" for low, high in pairwise(edges))]
    found = F.when(value.isNotNull(), f">={edges[-1]:g}")
    for edge, name in reversed(list(zip(edges, below, strict=True))):
        found = F.when(value < edge, name).otherwise(found)
    return found


def tokens(column: Column, kind: DataType, separator: str) -> Column:
    """Return the tokens of a multi-value cell: an array, or text with a separator; null if none."""
    if isinstance(kind, ArrayType):
        # In a lambda: `transform` would hand the index to the second argument of F.trim.
        trimmed = F.transform(column.cast("array<string>"), lambda part: F.trim(part))
        kept = F.filter(trimmed, lambda part: part != "")
    else:
        # Split with the spaces around: a lambda that trims would be interpreted row by row.
        parts = F.split(F.trim(column.cast("string")), f" *{re.escape(separator)} *")
        kept = F.array_remove(parts, "")
    return F.when(F.size(kept) > 0, kept)


def moment(column: Column, kind: DataType, time: TimeColumn) -> Column:
    """Return the instant of an event, null when it is no time between 1970 and 2200."""
    if isinstance(kind, TimestampType | TimestampNTZType | DateType):
        return column.cast("timestamp")
    if time.unit == "iso":
        return column.cast("string").cast("timestamp")
    if isinstance(kind, IntegralType):
        return _whole_moment(column, time)
    micros = F.round(number(column, kind) * F.lit(_MICROS[time.unit]))
    found = F.when(micros.between(0.0, _LATEST), F.timestamp_micros(micros.cast("long")))
    if not isinstance(kind, StringType):
        return found
    # Nearly all texts are whole numbers, which need no pattern and no fractions.
    whole = column.cast("long")
    return F.when(whole.cast("string") == column, _whole_moment(whole, time)).otherwise(found)


def _whole_moment(count: Column, time: TimeColumn) -> Column:
    unit = int(_MICROS[time.unit])
    return F.when(count.between(0, int(_LATEST) // unit), F.timestamp_micros(count * unit))


def day_of(instant: Column, timezone: str) -> Column:
    """Return the day, YYYY-MM-DD, of an instant in ``timezone``."""
    # Cast, not formatted: a pattern would be gone through row by row, several times a row.
    return date_of(instant, timezone).cast("string")


def date_of(instant: Column, timezone: str) -> Column:
    """Return the day of an instant in ``timezone``, as a date."""
    local = instant if timezone == "UTC" else F.from_utc_timestamp(instant, timezone)
    return local.cast("date")


def day_in(column: Column, kind: DataType, pattern: str) -> Column:
    """Return the day, YYYY-MM-DD, that a raw day column names; null when it names none."""
    if isinstance(kind, DateType | TimestampType | TimestampNTZType):
        return F.date_format(column, "yyyy-MM-dd")
    return F.date_format(F.to_date(column.cast("string"), pattern), "yyyy-MM-dd")
