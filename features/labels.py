"""Labels: what became of an impression, by when, and whether that can still change."""

from collections.abc import Mapping
from datetime import timedelta

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from features import cells
from features.alike import REFUSED
from features.settle import looked_up
from features.sources import ARRIVED, DAY, FOR, TIME, UNTIL
from features.spec import Spec
from features.spec.model import Task

ID, SCENARIO = "_id", "_scenario"
"""Columns of an impression: its sample_id and its scenario (null: history only)."""


def on_name(column: str) -> str:
    """Return what the join column ``column`` of an outcome is called in frames."""
    return f"_on_{column.replace('.', '_')}"


def outcome_name(task: str) -> str:
    """Return the column with the time of an impression's first outcome of ``task``."""
    return f"_first_{task}"


def wide_name(task: str) -> str:
    """Return the column with the value of a wide log's label of ``task``."""
    return f"_said_{task}"


def outcomes_of(events: DataFrame, task: Task) -> DataFrame:
    """Return the events of an outcome stream that count for ``task``.

    Args:
        events: the stream, as ``features.batch.Batch.spread`` returns it.
        task: its ``where`` says which events count; those without a key or a time do not, nor do
            those that the contract of their source refuses.

    Returns:
        ``_for``, ``_on_<column>`` (text) for each column of ``task.on``, ``_time``, ``_arrived``.
    """
    good = events.where(F.col(REFUSED).isNull())
    counted = good.where(F.coalesce(F.expr(task.where), F.lit(False))) if task.where else good
    keys = [cells.text(cells.raw(column)).alias(on_name(column)) for column in task.on]
    return counted.select(FOR, *keys, TIME, ARRIVED).dropna(
        "any", subset=[*map(on_name, task.on), TIME]
    )


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
        impressions: one row per ``_for``, ``_day`` and ``_id``; columns that attribution does not
            need are not dragged through its sorts.
        outcomes: task → what ``outcomes_of`` returns.
        spec: declares the tasks.
    """
    if not outcomes:
        return impressions
    needed = dict.fromkeys(on_name(column) for name in outcomes for column in spec.tasks[name].on)
    slim = impressions.select(FOR, DAY, ID, TIME, *needed)
    for name, events in outcomes.items():
        slim = attribute(slim, events, name, spec.tasks[name])
    firsts = [outcome_name(name) for name in outcomes]
    followed = slim.select(FOR, DAY, ID, *firsts).dropna("all", subset=firsts)
    return impressions.join(looked_up(followed), [FOR, DAY, ID], "left")


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
    return has & (cells.day_of(last_moment, spec.timezone) <= F.col(UNTIL))


def _all_known(keys: list[str]) -> Column:
    known = F.lit(True)
    for key in keys:
        known = known & F.col(key).isNotNull()
    return known
