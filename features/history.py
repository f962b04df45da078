"""What rates look back on: a state that sums up old days, and the daily counts since.

Summing every day since the first would make each night dearer than the one before. So on every
seventh day the counts of all days up to it are written down as one row a key, the state; a night
reads the last one and the days after it. A state says which counts it was made of, so one that was
made of others than are there now is passed over, and nothing has to be undone when an old day is
built again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from features.batch import START
from features.sources import FOR
from features.spec import Spec
from features.spec.model import FADING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

EVERY = 7
"""Days from one state to the next."""

DAILY, WHOLE = "_daily", "_whole"
"""Columns of a history: whether a row is one day's and counts in windows of days, and whether it
counts in the sum over all days."""

FADED = 7
"""Half-lives after which a fact no longer counts in a window that fades: it would count 1/128."""
WEIGHT = 2.0**12
"""In such a window facts count whole multiples of 1 / WEIGHT: a sum of fractions would depend on
the order of the rows, and with it the content hash."""

FINE = 2.0**40
"""What is known of several keys is added up as whole multiples of 1 / FINE, for the same reason."""

Wanted = Mapping[str, tuple[str, int | str]]
"""Name of a sum → the column of the counts, and the window."""

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
    windows = [days for rates in spec.features.rates for days in rates.windows]
    windows += [days for item in spec.features.residuals for days in item.days]
    windows += [days for distinct in spec.features.distinct for days in distinct.days]
    longest = max((reach(days) for days in windows if days != "all"), default=0)
    return min(since + timedelta(days=1), day - timedelta(days=longest))


def in_window(days: int | str) -> str:
    """Return the SQL condition that a row of a history lies in a window before the day ``_for``."""
    if days == "all":
        return WHOLE
    return f"{DAILY} AND ds >= cast(date_sub({FOR}, {reach(days)}) AS string)"


def reach(days: int | str) -> int:
    """Return how many days a window looks back that is not all of them."""
    return FADED * _half_life(days) if fades(days) else int(days)


def fades(days: int | str) -> bool:
    """Return whether facts count the less in a window the longer ago they are."""
    return str(days).startswith(FADING)


def _weighed(column: str, days: int | str) -> str:
    """Return SQL of what a column of a history's row adds to a window's sum."""
    if not fades(days):
        return column
    age = f"datediff({FOR}, ds)"
    weight = f"floor({WEIGHT}D * pow(0.5D, {age} / {_half_life(days)}D) + 0.5D)"
    return f"{column} * cast({weight} AS bigint)"


def unit(days: int | str) -> float:
    """Return what an impression just before the sample's day is in the sums of a window."""
    return WEIGHT if fades(days) else 1.0


def _half_life(days: int | str) -> int:
    return int(str(days).removeprefix(FADING))


def finely(value: str) -> str:
    """Return SQL of a number in whole multiples of 1 / ``FINE``."""
    return f"cast(floor({value} * {FINE}D + 0.5D) AS bigint)"


def sums_over(
    counts: "DataFrame", days: "DataFrame", wanted: Wanted, keys: Sequence[str]
) -> "DataFrame":
    """Sum each key's counts over windows of each day.

    Args:
        counts: the days before, as ``as_history`` returns them.
        days: the samples' days, as ``features.batch.calendar`` returns them.
        wanted: the sums.
        keys: columns that are a key together.

    Returns:
        ``_for``, the keys, ``last``, ``_start`` and the sums, 0 where nothing is in the window.
    """
    from pyspark.sql import functions as F

    past = before_each(counts, days.select(FOR, START))
    sums = {
        name: f"coalesce(sum(CASE WHEN {in_window(back)} THEN {_weighed(column, back)} END), 0L)"
        for name, (column, back) in wanted.items()
    }
    kept = [F.max("last").alias("last"), F.max(START).alias(START)]
    found = [F.expr(sql).alias(name) for name, sql in sums.items()]
    return past.groupBy(FOR, *keys).agg(*kept, *found)


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

    kept = ("ds", "entity", "key", "last", DAILY, WHOLE)
    names = [name for name in history.columns if name not in kept]
    sums = [F.sum(name).alias(name) for name in names]
    whole = history.where(WHOLE).groupBy("entity", "key").agg(F.max("last").alias("last"), *sums)
    return whole.selectExpr(f"'{day}' AS ds", "entity", "key", "last", *names)
