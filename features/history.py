"""What rates look back on: a state that sums up old days, and the daily counts since.

Summing every day since the first would make each night dearer than the one before. So on every
seventh day the counts of all days up to it are written down as one row a key, the state; a night
reads the last one and the days after it. A state says which counts it was made of, so one that was
made of others than are there now is passed over, and nothing has to be undone when an old day is
built again.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from features.sources import FOR
from features.spec import Spec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

EVERY = 7
"""Days from one state to the next."""

DAILY, WHOLE = "_daily", "_whole"
"""Columns of a history: whether a row is one day's and counts in windows of days, and whether it
counts in the sum over all days."""

Said = Mapping[str, Mapping[str, Any]]
"""Day → what the last commit of its partition says."""


def has_state(day: date) -> bool:
    """Return whether a state is written of the days up to ``day``."""
    return day.toordinal() % EVERY == 0


def state_fingerprint(counts: Said, day: date) -> str:
    """Return what a state of the days up to ``day`` depends on."""
    upto = [[ds, said["fingerprint"]] for ds, said in sorted(counts.items()) if ds <= str(day)]
    return hashlib.sha256(json.dumps(upto).encode()).hexdigest()[:32]


def last_state(states: Said, counts: Said, before: date) -> date | None:
    """Return the newest day before ``before`` whose state was made of the counts that are there."""
    for ds in sorted(states, reverse=True):
        day = date.fromisoformat(ds)
        if day < before and states[ds].get("fingerprint") == state_fingerprint(counts, day):
            return day
    return None


def first_needed(spec: Spec, day: date, since: date | None) -> date | None:
    """Return the first day whose counts ``day`` reads beside the state of ``since``; None: all."""
    if since is None:
        return None
    windows = [days for rates in spec.features.rates for days in rates.days]
    windows += [days for distinct in spec.features.distinct for days in distinct.days]
    longest = max((int(days) for days in windows if days != "all"), default=0)
    return min(since + timedelta(days=1), day - timedelta(days=longest))


def in_window(days: int | str) -> str:
    """Return the SQL condition that a row of a history lies in a window before the day ``_for``."""
    return WHOLE if days == "all" else f"{DAILY} AND ds >= cast(date_sub({FOR}, {days}) AS string)"


def before_each(history: "DataFrame", days: "DataFrame") -> "DataFrame":
    """Return a history's rows once for each of ``days`` that comes after them.

    Args:
        history: what ``as_history`` returns, or part of its rows.
        days: columns of ``features.batch.calendar``, ``_for`` among them; they are added.
    """
    from pyspark.sql import functions as F

    return history.join(F.broadcast(days), F.col("ds") < F.col(FOR))


def as_history(
    counts: "DataFrame", state: "DataFrame | None" = None, since: date | None = None
) -> "DataFrame":
    """Return what ``features.rates.add_rates`` sums up.

    Args:
        counts: daily counts, of days after ``since`` and as many before as windows reach.
        state: the sums of all days up to ``since``.
        since: its day.
    """
    later = "true" if since is None else f"ds > '{since}'"
    daily = counts.selectExpr("*", f"true AS {DAILY}", f"{later} AS {WHOLE}")
    if state is None:
        return daily
    return daily.unionByName(state.selectExpr("*", f"false AS {DAILY}", f"true AS {WHOLE}"))


def summed(history: "DataFrame", day: date) -> "DataFrame":
    """Return the state of ``day`` from a history that ends with it: one row a key, under ``ds``."""
    from pyspark.sql import functions as F

    names = [name for name in history.columns if name == "n" or name.startswith("n_")]
    sums = [F.sum(name).alias(name) for name in names]
    whole = history.where(WHOLE).groupBy("entity", "key").agg(F.max("last").alias("last"), *sums)
    return whole.selectExpr(f"'{day}' AS ds", "entity", "key", "n", "last", *names[1:])
