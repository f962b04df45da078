"""Labels: what became of an impression, by when, and whether that can still change."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial, reduce

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from features import cells
from features.alike import REFUSED
from features.counts import column_name
from features.deliveries import BROKEN
from features.lots import LOT, by_lot, matched
from features.needs import streams, tasks_of
from features.settle import is_small, settle
from features.sources import ARRIVED, DAY, FOR, TIME, UNTIL
from features.spec import Spec
from features.spec.model import Task

ID, SCENARIO = "_id", "_scenario"
"""Columns of an impression: its sample_id and its scenario (null: history only)."""

STREAM, WHY, BROUGHT = "_stream", "_why", "_brought"
"""Columns of an outcome: the stream it came in, why it can't be used (null: it can), and whether
``_for`` is the day it counts on: that whose file brought it; without daily files, the day of its
time, and every day when it has none."""

UNSHOWN = "no-impression"
"""Why an outcome with key and time is not used: no impression near the day has its key."""

_IMPRESSION = [FOR, DAY, ID]
"""What names an impression among those of several days that are built together."""

Near = Mapping[tuple[str, ...], DataFrame]
"""Columns that tasks join on → the impressions that may have an outcome by them."""

_CODE, _MARK = "_code", "_mark"
MANY = 5_000_000
"""Keys, as numbers, of which every core can hold a list of its own."""


def on_name(column: str) -> str:
    """Return what the join column ``column`` of an outcome is called in frames."""
    return f"_on_{column_name(column)}"


def outcome_name(task: str) -> str:
    """Return the column with the time of an impression's first outcome of ``task``."""
    return f"_first_{task}"


def wide_name(task: str) -> str:
    """Return the column with the value of a wide log's label of ``task``."""
    return f"_said_{task}"


def counts_name(task: str) -> str:
    """Return the column that says whether an event counts for ``task``."""
    return f"_counts_{task}"


def key_columns(tasks: Mapping[str, Task]) -> dict[str, Column]:
    """Return ``_on_<column>`` → its text, for the columns of a raw row that tasks join on."""
    columns = dict.fromkeys(column for task in tasks.values() for column in task.on)
    return {on_name(column): cells.text(cells.raw(column)) for column in columns}


def came(events: DataFrame, stream: str, tasks: Mapping[str, Task]) -> DataFrame:
    """Return what the tasks of an outcome stream want of its events, and why some are lost.

    Args:
        events: the stream, as ``features.batch.Batch.spread`` returns it.
        stream: its name.
        tasks: its tasks; their ``where`` says which events count. Those that the contract of the
            source refuses do not.

    Returns:
        ``_for``, ``_stream``, ``_on_<column>`` (text) for each column that a task joins on,
        ``_time``, ``_arrived``, ``_counts_<task>``, ``_brought``, and ``_why``: the reason for
        which an event by itself can't be used, else null.
    """
    good = F.col(REFUSED).isNull()
    counts = {
        name: good & (F.coalesce(F.expr(task.where), F.lit(False)) if task.where else F.lit(True))
        for name, task in tasks.items()
    }
    keys = [column.alias(name) for name, column in key_columns(tasks).items()]
    chosen = events.select(
        F.lit(stream).alias(STREAM),
        *(FOR, DAY, TIME, ARRIVED, REFUSED, BROKEN),
        *keys,
        *(column.alias(counts_name(name)) for name, column in counts.items()),
    )
    brought = (F.coalesce(ARRIVED, DAY, FOR) == F.col(FOR)).alias(BROUGHT)
    return chosen.select("*", brought, _why(tasks).alias(WHY)).drop(DAY, REFUSED, BROKEN)


def _why(tasks: Mapping[str, Task]) -> Column:
    """Return the reason for which an event can't be used for a task that it counts for."""
    no_time = F.col(TIME).isNull()
    counts, keyless = F.lit(False), F.lit(False)
    for name, task in tasks.items():
        wanted = F.col(counts_name(name))
        counts = counts | wanted
        keyless = keyless | (wanted & ~_all_known([on_name(column) for column in task.on]))
    return F.coalesce(
        F.col(REFUSED),
        F.when(F.col(BROKEN).isNotNull() & (no_time | keyless), F.lit("unparseable")),
        F.when(counts & no_time, F.lit("no-time")),
        F.when(keyless, F.lit("null-key")),
    )


def outcomes_of(events: DataFrame, name: str, task: Task) -> DataFrame:
    """Return the events that count for a task; those without a key or a time do not.

    Args:
        events: as ``came`` returns them, of one stream or several.
        name: the task's name.
        task: its key and stream.

    Returns:
        ``_for``, ``_on_<column>`` for each column of ``task.on``, ``_time``, ``_arrived``.
    """
    keys = [on_name(column) for column in task.on]
    counted = events.where((F.col(STREAM) == task.source) & F.col(counts_name(name)))
    return counted.select(FOR, *keys, TIME, ARRIVED).dropna("any", subset=[*keys, TIME])


def lost(events: DataFrame, near: Near, spec: Spec) -> dict[str, dict[str, dict[str, int]]]:
    """Count the events that are not used: day → stream → reason → events.

    Args:
        events: as ``came`` returns them, of one stream or several.
        near: the good impressions near the days, as ``nearby`` returns them.
        spec: declares the tasks.
    """
    brought = events.where(BROUGHT)
    reasons = brought.dropna(subset=[WHY]).select(FOR, STREAM, WHY)
    usable = brought.where(F.col(WHY).isNull())
    for stream in streams(spec)[1:]:
        mine = usable.where(F.col(STREAM) == stream)
        reasons = reasons.unionByName(_unshown(mine, near, tasks_of(spec, stream)))
    found: dict[str, dict[str, dict[str, int]]] = {}
    for ds, stream, why, n in sorted(reasons.groupBy(FOR, STREAM, WHY).count().collect()):
        found.setdefault(ds, {}).setdefault(stream, {})[why] = n
    return found


def _unshown(usable: DataFrame, near: Near, tasks: Mapping[str, Task]) -> DataFrame:
    """Return ``_for _stream _why`` of a stream's events of which no impression has a task's key."""
    left = usable.where(reduce(Column.__or__, (F.col(counts_name(name)) for name in tasks)))
    for on in dict.fromkeys(task.on for task in tasks.values()):
        keys = [FOR, *map(on_name, on)]
        left = left.join(near[on].select(*keys).hint("shuffle_hash"), keys, "left_anti")
    return left.select(FOR, STREAM, F.lit(UNSHOWN).alias(WHY))


def nearby(
    impressions: DataFrame, outcomes: Mapping[str, DataFrame], spec: Spec
) -> dict[tuple[str, ...], DataFrame]:
    """Return what attribution needs of impressions, for each set of columns that tasks join on.

    Of a large day those are held whose key has an outcome, and a few that share a number with one.

    Args:
        impressions: the good ones, one row per ``_for``, ``_day`` and ``_id``.
        outcomes: task → what ``outcomes_of`` returns, of events that are held already.
        spec: declares the tasks.

    Returns:
        The columns of ``task.on`` → ``_for _day _id _time``, ``_on_<column>`` and, if they are
        there, ``_until _arrived _lot``.
    """
    sets = list(dict.fromkeys(spec.tasks[name].on for name in outcomes))
    also = [name for name in (UNTIL, ARRIVED, LOT) if name in impressions.columns]
    every = dict.fromkeys(on_name(column) for on in sets for column in on)
    if is_small(impressions.sparkSession):
        slim = impressions.select(*_IMPRESSION, TIME, *also, *every)
        return dict.fromkeys(sets, slim)
    found = {}
    for on in sets:
        keys = [FOR, *map(on_name, on)]
        slim = impressions.select(*_IMPRESSION, TIME, *also, *keys[1:])
        events = [frame for name, frame in outcomes.items() if spec.tasks[name].on == on]
        codes = _codes(reduce(DataFrame.unionByName, [each.select(*keys) for each in events]), keys)
        if codes is not None:
            coded = slim.withColumn(_CODE, F.xxhash64(*keys))
            slim = coded.join(F.broadcast(codes), _CODE, "left_semi").drop(_CODE)
        found[on] = settle(slim)
    return found


def _codes(frame: DataFrame, keys: Sequence[str]) -> DataFrame | None:
    """Return the numbers of keys, each once, held; None if they are too many to hand out."""
    codes = settle(frame.select(F.xxhash64(*keys).alias(_CODE)).distinct())
    return codes if codes.count() <= MANY else None


def attribute(impressions: DataFrame, outcomes: DataFrame, name: str, task: Task) -> DataFrame:
    """Give each outcome to the latest impression of its key, if that lies within the window.

    An outcome before any impression of its key, or a window or more after the latest one, belongs
    to none; of several outcomes of one impression the first counts. A key that joins several
    impressions is attributed to the latest alone (by time, then by id).

    Works as one sort a key instead of a join, so that busy keys cost n log n: walking back in
    time, an impression's outcome is the nearest later one, unless an impression comes before it.

    Args:
        impressions: one row per day and impression: ``_for``, ``_id``, ``_time``, ``_on_<column>``.
        outcomes: as ``outcomes_of`` returns them.
        name: the task's name.
        task: its key and window.

    Returns:
        ``impressions`` with ``_first_<task>``: the time of the first outcome, or null.
    """
    found = outcome_name(name)
    keys = [on_name(column) for column in task.on]
    happened = outcomes.select(FOR, *keys, F.col(TIME).alias(found))
    both = impressions.withColumn(found, F.lit(None).cast("timestamp")).unionByName(
        happened, allowMissingColumns=True
    )
    is_outcome = F.col(found).isNotNull()
    latest_first = [F.col("_at").desc(), F.col("_came").desc(), F.col(ID).desc()]
    backwards = by_key(FOR, *keys).orderBy(*latest_first).rowsBetween(Window.unboundedPreceding, -1)
    walked = both.select(
        "*", F.coalesce(found, TIME).alias("_at"), is_outcome.alias("_came")
    ).select(
        "*",
        F.last(found, ignorenulls=True).over(backwards).alias("_outcome"),
        F.last(TIME, ignorenulls=True).over(backwards).alias("_next"),
    )
    belongs = (
        ((F.col("_outcome") < F.col("_next")) | F.col("_next").isNull())
        & (F.col("_outcome") < F.col(TIME) + F.lit(task.window))
        & _all_known(keys)
    )
    return walked.where(~F.col("_came")).select(
        *impressions.columns, F.when(belongs, F.col("_outcome")).alias(found)
    )


def attribute_all(
    impressions: DataFrame, outcomes: Mapping[str, DataFrame], spec: Spec
) -> DataFrame:
    """Return ``impressions`` with ``_first_<task>`` for every task that ``outcomes`` names.

    Args:
        impressions: one row per ``_for``, ``_day`` and ``_id``.
        outcomes: task → what ``outcomes_of`` returns, of events that are held already.
        spec: declares the tasks.
    """
    if not outcomes:
        return impressions
    return _joined(impressions, followed(nearby(impressions, outcomes, spec), outcomes, spec))


def followed(near: Near, outcomes: Mapping[str, DataFrame], spec: Spec) -> DataFrame:
    """Return the impressions that have an outcome: what names them, and ``_first_<task>``.

    Columns that attribution does not need are not dragged through its sorts.

    Args:
        near: as ``nearby`` returns it.
        outcomes: task → what ``outcomes_of`` returns.
        spec: declares the tasks.
    """
    firsts = [outcome_name(name) for name in outcomes]
    slim = next(iter(near.values()))
    if is_small(slim.sparkSession):
        for name, events in outcomes.items():
            slim = attribute(slim, events, name, spec.tasks[name])
        return slim.select(*_IMPRESSION, *firsts).dropna("all", subset=firsts)
    named = [*_IMPRESSION, *({LOT} & set(slim.columns))]
    parts = []
    for name, events in outcomes.items():
        task = spec.tasks[name]
        found = attribute(near[task.on], events, name, task)
        parts.append(found.select(*named, outcome_name(name)).dropna())
    every = reduce(partial(DataFrame.unionByName, allowMissingColumns=True), parts)
    parted = LOT in named
    dealt = by_lot(every) if parted else every
    latest = dealt.groupBy(*named).agg(*(F.max(first).alias(first) for first in firsts))
    return settle(latest, parted=parted)


def of_the_day(impressions: DataFrame, firsts: DataFrame | None, spec: Spec) -> DataFrame:
    """Return the impressions of each ``_for``, and of those before it what outcomes on it are of.

    Args:
        impressions: the good ones near the days. Those of a large day have ``_lot``, by which what
            is returned lies.
        firsts: as ``followed`` returns it; None without outcomes.
        spec: declares the tasks.

    Returns:
        ``impressions`` with ``_first_<task>``.
    """
    own = F.col(DAY) == F.col(FOR)
    small = is_small(impressions.sparkSession)
    if firsts is None:
        mine = impressions.where(own)
        return mine if small else by_lot(mine)
    tasks = [name for name in spec.tasks if outcome_name(name) in firsts.columns]
    came = reduce(Column.__or__, (came_on_the_day(name, spec) for name in tasks))
    if small:
        return _joined(impressions, firsts).where(own | came)
    codes = _codes(firsts.where(~own & came), _IMPRESSION)
    if codes is not None:
        coded = impressions.withColumn(_CODE, F.xxhash64(*_IMPRESSION))
        marked = coded.join(F.broadcast(codes.withColumn(_MARK, F.lit(True))), _CODE, "left")
        impressions = marked.where(own | F.col(_MARK)).drop(_CODE, _MARK)
    return _joined(by_lot(impressions), firsts).where(own | came)


def _joined(impressions: DataFrame, firsts: DataFrame) -> DataFrame:
    # Outcomes are fewer than impressions: these need not be sorted to meet them.
    if is_small(impressions.sparkSession):
        return impressions.join(firsts.hint("shuffle_hash"), _IMPRESSION, "left")
    return matched(impressions, firsts, {name: name for name in _IMPRESSION})


def came_on_the_day(task: str, spec: Spec) -> Column:
    """Return whether an impression's first outcome of ``task`` came on ``_for``."""
    came = cells.day_of(F.col(outcome_name(task)), spec.timezone) == F.col(FOR)
    return F.coalesce(came, F.lit(False))


def by_key(*columns: str) -> WindowSpec:
    """Return the window of the rows with one key.

    Its rows are sorted by a number that few keys share, before the texts are compared.
    """
    return Window.partitionBy(F.xxhash64(*columns), *columns)


def label_columns(spec: Spec) -> list[Column]:
    """Return ``label_<t>``, ``mature_<t>`` and ``time_<t>`` for every task, in the spec's order.

    A label is known (mature) when its window had closed by the end of ``_until``; until then it is
    null, even when its outcome was seen. It is null and never mature where the scenario does not
    have the task, and where a wide log's expression is null (the row does not say).
    """
    columns = []
    for name, task in spec.tasks.items():
        mature = _mature(spec, name, task)
        value = F.col(wide_name(name)) if task.label else F.col(outcome_name(name)).isNotNull()
        time = F.col(TIME) if task.label else F.col(outcome_name(name))
        columns += [
            F.when(mature, value).alias(f"label_{name}"),
            mature.alias(f"mature_{name}"),
            F.when(mature & value, time).alias(f"time_{name}"),
        ]
    return columns


def _mature(spec: Spec, name: str, task: Task) -> Column:
    has = F.lit(True)
    if task.scenarios is not None:
        has = F.col(SCENARIO).isin(*task.scenarios)
    if task.label:
        return has & F.col(wide_name(name)).isNotNull()
    if task.window == timedelta(0):
        return has
    # A window that ends with a day has closed by its end.
    last_moment = F.col(TIME) + F.lit(task.window - timedelta(microseconds=1))
    return has & (cells.date_of(last_moment, spec.timezone) <= F.to_date(F.col(UNTIL)))


def _all_known(keys: list[str]) -> Column:
    known = F.lit(True)
    for key in keys:
        known = known & F.col(key).isNotNull()
    return known
