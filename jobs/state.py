"""The table ``state``: what counts come to up to a day, so that a night does not sum up years."""

import uuid
from collections.abc import Iterable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from features import tables
from features.history import as_history, has_state, last_state, state_fingerprint, summed
from features.lake import Lake
from features.spec import Spec
from jobs.home import Home

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def last(lake: Lake, before: date) -> date | None:
    """Return the day of the newest state before ``before`` that is made of today's counts."""
    return last_state(lake.commits("state"), lake.commits("counts"), before)


def read(spark: "SparkSession", lake: Lake, day: date | None) -> "DataFrame | None":
    """Return the state of a day; none of no day."""
    return None if day is None else tables.read(spark, lake, "state", str(day), str(day))


def counts(spark: "SparkSession", lake: Lake, first: date | None, until: date) -> "DataFrame":
    """Return the daily counts from ``first``, or from the very first, until ``until``."""
    return tables.read(spark, lake, "counts", str(first or ""), str(until))


def write(spark: "SparkSession", lake: Lake, days: Iterable[date], run_id: str) -> None:
    """Write the states that are due on ``days``, each from the one before and the counts since."""
    known = lake.commits("counts")
    for day in filter(has_state, days):
        found = lake.commits("state").get(day.isoformat(), {})
        if found.get("fingerprint") != state_fingerprint(known, day):
            _write(spark, lake, day, last_state(lake.commits("state"), known, day), run_id)


def rebuild(*, spec: Spec, lake: Lake, home: Home, first: date) -> dict[str, Any]:
    """Write every state from ``first`` on again, from the daily counts alone.

    Returns:
        ``states``: the days that have one.
    """
    from features.session import spark_session

    spark = spark_session(home.cache, home.root)
    tables.ensure(lake, spec)
    known = [date.fromisoformat(ds) for ds in sorted(lake.commits("counts"))]
    due = [day for day in known if day >= first and has_state(day)]
    for place, day in enumerate(due):
        _write(spark, lake, day, due[place - 1] if place else None, uuid.uuid4().hex)
    return {"states": [day.isoformat() for day in due]}


def _write(spark: "SparkSession", lake: Lake, day: date, since: date | None, run_id: str) -> None:
    first = None if since is None else since + timedelta(days=1)
    history = as_history(counts(spark, lake, first, day), read(spark, lake, since), since)
    said = {"fingerprint": state_fingerprint(lake.commits("counts"), day), "run_id": run_id}
    tables.replace_days(summed(history, day), lake, "state", {day: said})
