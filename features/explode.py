"""From one row to one row a key or token, in steps that Spark turns into Java code."""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

SEPARATOR = "\u001f"
"""Stands between the values of a key made of several columns (ASCII's unit separator)."""

Parts = Sequence[Column]
"""The columns of a key, each as an array of strings: the values it has in a row."""


def explode_keys(
    frame: DataFrame, kept: Sequence[str], keys: Mapping[str, Parts], of: str, key: str
) -> DataFrame:
    """Return one row for every key that a row of ``frame`` has.

    The obvious lambda over an array of names is interpreted row by row, five times as slow as the
    nested arrays that are taken apart here.

    Args:
        frame: the rows.
        kept: columns that are repeated for every key.
        keys: name of a key → the values of its columns. A key is made of one value of each; where
            one of the arrays is null or empty the row has no such key, and null values make none.
        of: the column that takes the key's name.
        key: the column that takes the key, its values joined by ``SEPARATOR``.
    """
    if not keys:
        nothing = F.lit(None).cast("string")
        return frame.select(*kept, nothing.alias(of), nothing.alias(key)).limit(0)
    longest = max(map(len, keys.values()))
    names = [f"_part{place}" for place in range(longest)]
    # A null that a shorter key has in place of a part is skipped when the parts are joined.
    absent = F.array(F.lit(None).cast("string"))
    each = [
        F.struct(
            F.lit(name).alias(of),
            *(
                (parts[place] if place < len(parts) else absent).alias(part)
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


def values_of(value: Column, *, multi: bool) -> Column:
    """Return a cell as the array of its different values; a null in it makes no key."""
    return F.array_distinct(value) if multi else F.array(value.cast("string"))
