"""From one row to one row a key or token, in steps that Spark turns into Java code."""

from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

SEPARATOR = "\u001f"
"""Stands between the values of a key made of several columns (ASCII's unit separator)."""

Part = tuple[Column, bool]
"""A column of a key, and whether it is an array of several values."""


def explode_keys(
    frame: DataFrame, kept: Sequence[str], keys: Mapping[str, Sequence[Part]], of: str, key: str
) -> DataFrame:
    """Return one row for every key that a row of ``frame`` has.

    Args:
        frame: the rows.
        kept: columns that are repeated for every key.
        keys: name of a key → its columns. A key is made of one value of each; where one is null or
            empty the row has no such key, and null values make none. Repeated values count once.
        of: the column that takes the key's name.
        key: the column that takes the key, its values joined by ``SEPARATOR``.
    """
    if not keys:
        nothing = F.lit(None).cast("string")
        return frame.select(*kept, nothing.alias(of), nothing.alias(key)).limit(0)
    if not any(several for parts in keys.values() for _, several in parts):
        return _stacked(frame, kept, keys, of, key)
    return _taken_apart(frame, kept, keys, of, key)


def joined_by_separator(values: Iterable[Column]) -> Column:
    """Return the key that is made of one value of each column; null where one is."""
    found: list[Column] = []
    for value in values:
        found += [F.lit(SEPARATOR), value.cast("string")] if found else [value.cast("string")]
    return F.concat(*found)


def _stacked(
    frame: DataFrame, kept: Sequence[str], keys: Mapping[str, Sequence[Part]], of: str, key: str
) -> DataFrame:
    """Return a row for each key where all have one value a row: no arrays are made."""
    pairs = [
        column
        for name, parts in keys.items()
        for column in (F.lit(name), joined_by_separator(value for value, _ in parts))
    ]
    rows = frame.select(*kept, F.stack(F.lit(len(keys)), *pairs).alias(of, key))
    return rows.where(F.col(key).isNotNull())


def _taken_apart(
    frame: DataFrame, kept: Sequence[str], keys: Mapping[str, Sequence[Part]], of: str, key: str
) -> DataFrame:
    """Return a row for each key where some have several values a row.

    The obvious lambda over an array of names is interpreted row by row, five times as slow as the
    nested arrays that are taken apart here.
    """
    longest = max(map(len, keys.values()))
    names = [f"_part{place}" for place in range(longest)]
    # A null that a shorter key has in place of a part is skipped when the parts are joined.
    absent = F.array(F.lit(None).cast("string"))
    each = [
        F.struct(
            F.lit(name).alias(of),
            *(
                (_values(parts[place]) if place < len(parts) else absent).alias(part)
                for place, part in enumerate(names)
            ),
        )
        for name, parts in keys.items()
    ]
    rows = frame.select(*kept, F.explode(F.array(*each)).alias("_of"))
    rows = rows.select(*kept, f"_of.{of}", *(f"_of.{name}" for name in names))
    for place, name in enumerate(names):
        others = [column for column in rows.columns if column != name]
        shorter = [short for short, parts in keys.items() if len(parts) <= place]
        rows = rows.select(*others, F.explode(name).alias(name))
        rows = rows.where(F.col(name).isNotNull() | F.col(of).isin(shorter))
    return rows.select(*kept, of, F.concat_ws(SEPARATOR, *names).alias(key))


def _values(part: Part) -> Column:
    value, several = part
    return F.array_distinct(value) if several else F.array(value.cast("string"))
