"""What rows are, in one number that does not depend on their order."""

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

LINEAGE = ("as_of", "run_id")
"""Columns that say when a row was made, not what it is."""


def digests(frame: DataFrame) -> dict[str, tuple[int, str]]:
    """Return the row count and content hash of each ``ds`` in ``frame``, in one pass.

    A hash is the sum of the rows' 64-bit hashes, so equal rows in any order give the same, and it
    tells a row written twice from a row written once.
    """
    days = frame.groupBy("ds").agg(F.count(F.lit(1)), content_sum(frame.columns)).collect()
    return {ds: (rows, format_hash(int(total))) for ds, rows, total in days}


class Watch:
    """Takes the row count and content hash of a frame of one day while it is written."""

    def __init__(self) -> None:
        self._seen = Observation()

    def over(self, frame: DataFrame) -> DataFrame:
        """Return ``frame``, of which what is written first is looked at."""
        rows, total = F.count(F.lit(1)).alias("rows"), content_sum(frame.columns).alias("total")
        return frame.observe(self._seen, rows, total)

    def digest(self) -> tuple[int, str]:
        """Return the row count and content hash of what was written."""
        seen = self._seen.get
        return seen["rows"], format_hash(int(seen["total"] or 0))


def content_sum(columns: list[str]) -> Column:
    """Return the aggregate that ``format_hash`` makes a content hash of."""
    cells = (F.xxhash64(f"`{name}`") for name in sorted(columns) if name not in LINEAGE)
    # decimal(38): the sum of ten billion 64-bit numbers still fits.
    return F.sum(F.xxhash64(*cells).cast("decimal(38,0)"))


def format_hash(total: int) -> str:
    """Return a content hash as 32 hexadecimal digits.

    >>> format_hash(255)
    '000000000000000000000000000000ff'
    """
    return f"{total % 2**128:032x}"


EMPTY = (0, format_hash(0))
"""Row count and content hash of no rows."""
