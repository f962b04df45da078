"""Computing a frame once, so that what follows is planned without its past."""

from pyspark import StorageLevel
from pyspark.sql import DataFrame


def settle(frame: DataFrame) -> DataFrame:
    """Compute ``frame`` now and return its rows, held in memory or, when they are many, on disk.

    Unlike a cached frame, the result has a plan of one leaf. Spark goes over the whole plan at
    every step, and a day's plan of a hundred columns costs more to go over than its rows to
    compute. And a commit to a table makes Spark forget every cached frame that was read from it,
    which would have the samples computed again once their day's counts are written. What is held
    here is freed when the last frame made of it is forgotten.
    """
    return frame.localCheckpoint(eager=True, storageLevel=StorageLevel.MEMORY_AND_DISK)
