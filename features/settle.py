"""Bringing frames to rest: in one partition where the day is small, computed where it is reused."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SHARED = 2_000_000
"""Rows up to which a frame is given whole to every core that joins it."""

PARTITIONS = "spark.sql.shuffle.partitions"
"""The setting that tells a session for small days, where it is 1."""


_ADAPTIVE = "spark.sql.adaptive.enabled"

_passing: set[int] = set()
"""Numbers of what is held of large days, and may be let go when they are done."""


def settle(frame: "DataFrame", *, lasting: bool = False, parted: bool = False) -> "DataFrame":
    """Compute ``frame`` now and return its rows, held in memory or, when they are many, on disk.

    Unlike a cached frame, the result has a plan of one leaf. Spark goes over the whole plan at
    every step, and a day's plan of a hundred columns costs more to go over than its rows to
    compute. And a commit to a table makes Spark forget every cached frame that was read from it,
    which would have the samples computed again once their day's counts are written. What is held
    here is freed when the last frame made of it is forgotten; of large days, when ``passing`` ends.

    Args:
        frame: what to compute.
        lasting: whether it outlives the block of ``passing``.
        parted: whether Spark is to remember by what the rows are parted among the cores.
    """
    from pyspark import StorageLevel

    with _planned_at_once(frame.sparkSession) if parted else nullcontext():
        held = frame.localCheckpoint(eager=True, storageLevel=StorageLevel.MEMORY_AND_DISK)
    if not lasting and not is_small(frame.sparkSession):
        _passing.add(held._jdf.queryExecution().analyzed().rdd().id())
    return gather(held)


@contextmanager
def _planned_at_once(session: "SparkSession") -> Iterator[None]:
    """Let Spark plan all of a job before it starts: of other plans it forgets how they end."""
    before = str(session.conf.get(_ADAPTIVE))
    session.conf.set(_ADAPTIVE, "false")
    try:
        yield
    finally:
        session.conf.set(_ADAPTIVE, before)


@contextmanager
def passing(session: "SparkSession") -> Iterator[None]:
    """Free at the end of the block what a large day settled in it and nothing needs afterwards.

    Java would, but only when memory runs out; until then it would be written to disk for others.
    """
    try:
        yield
    finally:
        held = session.sparkContext._jsc.getPersistentRDDs() if _passing else {}
        for number in _passing & set(held):
            held[number].unpersist()
        _passing.clear()


def gather(frame: "DataFrame") -> "DataFrame":
    """Return ``frame`` in one partition if the session is one for small days.

    Spark then needs no exchange for anything that is made of it: a day of 20,000 rows went through
    85 stages and 170 tasks, each of which takes longer to set up than to run.
    """
    return frame.coalesce(1) if is_small(frame.sparkSession) else frame


def looked_up(frame: "DataFrame") -> "DataFrame":
    """Return ``frame`` to be joined as a hash table if the session is one for small days.

    What Spark does on its own, sorting both sides by text, takes ten times as long.
    """
    return frame.hint("shuffle_hash") if is_small(frame.sparkSession) else frame


def handed_out(frame: "DataFrame", rows: int) -> "DataFrame":
    """Return ``frame``, of so many rows, to be joined as hash tables: one for all cores if it fits.

    The other side, as a rule a large day, then stays where it is; else both are parted, not sorted.
    """
    return frame.hint("broadcast" if rows <= SHARED else "shuffle_hash")


def is_small(session: "SparkSession") -> bool:
    """Return whether ``session`` was started for days whose plans outweigh their rows."""
    return parts(session) == 1


def parts(session: "SparkSession") -> int:
    """Return into how many parts ``session`` deals out rows."""
    return int(str(session.conf.get(PARTITIONS)))
