"""Days that are built together: one plan goes over all of them, for small days cost their plans."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features.arrivals import Arrivals, closing_day, look_back, reach
from features.contract import Records
from features.days import DAY, start_of
from features.needs import streams
from features.sources import ARRIVED, FOR, UNTIL
from features.spec import Spec

SINCE, CLOSING, BEFORE, START = "_since", "_closing", "_before", "_start"
"""More columns of a calendar: the first day whose impressions can have outcomes on a day, the last
day that can have outcomes of its impressions (at most ``_until``), the day before it, and the
instant at which it starts, in seconds."""


@dataclass(frozen=True)
class Batch:
    """Days and the files they are made of, the oldest day first."""

    spec: Spec
    days: tuple[Arrivals, ...]
    records: Records = field(default_factory=dict)
    """What published days say of their sources' columns."""

    @property
    def dates(self) -> tuple[date, ...]:
        """The days."""
        return tuple(found.day for found in self.days)

    @property
    def as_of(self) -> dict[date, date]:
        """Day → the last day whose arrivals count for it."""
        return {found.day: found.as_of for found in self.days}

    @property
    def files(self) -> dict[str, tuple[Path, ...]]:
        """Source → the files of all days, oldest first."""
        found: dict[str, dict[Path, None]] = {}
        for day in self.days:
            for name, paths in day.files.items():
                found.setdefault(name, {}).update(dict.fromkeys(paths))
        return {name: tuple(paths) for name, paths in found.items()}

    def calendar(self, spark: SparkSession) -> DataFrame:
        """Return ``calendar`` of the batch."""
        return calendar(spark, self.spec, self.as_of)

    def spread(self, events: DataFrame, stream: str, wanted: Column) -> DataFrame:
        """Return a copy of an event for each day that wants it: ``_for``, as known by ``_until``.

        The days come in as a table, not as conditions: the plan, and the code that Spark makes of
        it, is the same whatever the days are and however many.

        Args:
            events: what was read of ``files``.
            stream: the source they come from.
            wanted: a condition on an event and a day, made of the event's columns, ``_for``,
                ``_until``, ``_since``, ``_closing`` and ``_before``.
        """
        last = _last_file(stream)
        days = self.calendar(events.sparkSession).select(FOR, UNTIL, SINCE, CLOSING, BEFORE, last)
        arrived = F.col(ARRIVED)
        came = arrived.isNull() | arrived.between(F.col(SINCE), F.col(last))
        return events.join(F.broadcast(days), came & wanted).drop(SINCE, CLOSING, BEFORE, last)


def calendar(spark: SparkSession, spec: Spec, as_of: Mapping[date, date]) -> DataFrame:
    """Return what a plan needs to know of days: one row each.

    Args:
        spark: the session.
        spec: its windows and lateness say how far days reach.
        as_of: day → the last day whose arrivals count for it.

    Returns:
        ``_for``, ``_until``, ``_since``, ``_closing``, ``_before`` (days as text), ``_start``
        (seconds), and ``_last_<stream>``, the last file of each stream that the day reads.
    """
    rows = [_row(spec, day, until) for day, until in as_of.items()]
    # An Arrow table becomes part of the plan; a list would be read by a job.
    return spark.createDataFrame(pa.Table.from_pylist(rows))


def _row(spec: Spec, day: date, until: date) -> dict[str, str | float]:
    last = {
        _last_file(name): reach(spec, name, day, until)[1].isoformat() for name in streams(spec)
    }
    return {
        FOR: day.isoformat(),
        UNTIL: until.isoformat(),
        SINCE: look_back(spec, day).isoformat(),
        CLOSING: min(until, closing_day(spec, day)).isoformat(),
        BEFORE: (day - DAY).isoformat(),
        START: start_of(day, spec.timezone).timestamp(),
        **last,
    }


def _last_file(stream: str) -> str:
    return f"_last_{stream}"
