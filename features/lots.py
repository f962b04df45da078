"""Joins of large days: keys are found by numbers, and what is known of a user lies with their rows.

Java compares texts a third as fast as numbers, so a row is looked for by a number made of its key,
and then the texts tell. And a large day's rows are parted among the cores by their user, once:
whatever else is parted by users is joined where it lies, in pieces that fit into memory.
"""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.explode import SEPARATOR
from features.settle import parts

LOT = "_lot"
"""Column with the number of a user, of frames that are parted by it."""

_CODE, _OF = "_code", "_of"


def lot_of(user: Column) -> Column:
    """Return the number of a user, or of the user that a key of several parts begins with."""
    return F.hash(F.substring_index(user, SEPARATOR, 1))


def by_lot(frame: DataFrame) -> DataFrame:
    """Return ``frame`` parted among the cores by its ``_lot``, which few rows share.

    Rows come as their files were written, and one file of a million rows is read by one core.
    """
    return frame.repartition(parts(frame.sparkSession), LOT)


def matched(rows: DataFrame, side: DataFrame, on: Mapping[str, str]) -> DataFrame:
    """Return ``rows`` with the columns of ``side`` that have the same key; null where none has.

    Args:
        rows: the many.
        side: at most one row a key. Where both have ``_lot``, rows that lie by it stay where they
            are; else how the two meet is ``side``'s hint.
        on: columns of the key: what ``rows`` calls them → what ``side`` calls them.
    """
    lots = LOT in rows.columns and LOT in side.columns
    # Two numbers of 32 bits are packed into one that Spark looks up directly, as it does one of 64.
    number = F.hash if lots else F.xxhash64
    names = {theirs: f"{_OF}_{place}" for place, theirs in enumerate(on.values())}
    ready = side.withColumn(f"{_OF}{_CODE}", number(*on.values())).withColumnsRenamed(names)
    if lots:
        ready = ready.withColumnRenamed(LOT, f"{_OF}{LOT}").hint("shuffle_hash")
    same = F.col(_CODE) == F.col(f"{_OF}{_CODE}")
    if lots:
        same &= F.col(LOT) == F.col(f"{_OF}{LOT}")
    for ours, theirs in on.items():
        # An equality would become part of what is looked up, and that a text again.
        same &= F.col(ours).between(F.col(names[theirs]), F.col(names[theirs]))
    found = rows.withColumn(_CODE, number(*on)).join(ready, same, "left")
    return found.drop(_CODE, f"{_OF}{_CODE}", f"{_OF}{LOT}", *names.values())
