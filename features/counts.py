"""What happened to whom on one day: impressions and outcomes per entity, for later days' rates."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.spec import Entity, Spec
from features.spec.layout import entity_name

SEPARATOR = "\u001f"
"""Stands between the values of a key made of several columns (ASCII's unit separator)."""

OVERALL = ("", "")
"""Entity and key of the row that counts every fact of the day: the prior of the smoothed rates."""

_PAIRS = "array<struct<entity:string,key:string>>"


def column_name(column: str) -> str:
    """Return how a column of the spec is called in frames.

    >>> column_name("videos.tag")
    'videos_tag'
    """
    return column.replace(".", "_")


def entity_columns(spec: Spec) -> list[str]:
    """Return the columns that entities are made of, as the spec writes them, each once."""
    return list(dict.fromkeys(column for entity in spec.entities for column in entity))


def daily_counts(happened: DataFrame, spec: Spec) -> DataFrame:
    """Count a day's facts per entity, in one pass over them.

    A fact with several tokens in a multi-value column counts once for each different token; one
    without a value in a column of an entity does not count for that entity.

    Args:
        happened: one row per fact of the day: the columns of ``entity_columns`` under their
            ``column_name`` (arrays of strings where multi-value), ``event_time``, ``impression``
            (1 for an impression of that day, else 0) and ``n_<task>`` (1 for a positive outcome
            that happened that day, else 0).
        spec: names the entities and tasks.

    Returns:
        ``entity``, ``key``, ``n`` (impressions), ``last`` (time of the last one, null when none)
        and ``n_<task>`` (positives); the row ``OVERALL`` counts all facts.
    """
    positives = [f"n_{task}" for task in spec.tasks]
    overall = _pair(OVERALL[0], F.lit(OVERALL[1]))
    seen = F.when(F.col("impression") == 1, F.col("event_time"))
    facts = happened.select(
        F.explode(F.concat(pairs(spec), F.array(overall))).alias("of"),
        F.col("impression").cast("long").alias("n"),
        seen.alias("last"),
        *(F.col(name).cast("long").alias(name) for name in positives),
    )
    return facts.groupBy(F.col("of.entity"), F.col("of.key")).agg(
        F.sum("n").alias("n"),
        F.max("last").alias("last"),
        *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in positives),
    )


def pairs(spec: Spec) -> Column:
    """Return a row's (entity, key) structs, for every entity of ``spec`` the row has a value of."""
    multi = multi_columns(spec)
    return F.concat(F.array().cast(_PAIRS), *(_pairs(entity, multi) for entity in spec.entities))


def multi_columns(spec: Spec) -> frozenset[str]:
    """Return the columns that the spec declares to hold several tokens."""
    declared = (*spec.features.ids, *spec.features.categories)
    return frozenset(item.column for item in declared if item.multi)


def _pairs(entity: Entity, multi: frozenset[str]) -> Column:
    keys = F.array_compact(_keys(entity, multi, None))
    named = F.transform(keys, lambda key: _pair(entity_name(entity), key))
    return F.coalesce(named, F.array().cast(_PAIRS))


def _pair(name: str, key: Column) -> Column:
    return F.struct(F.lit(name).alias("entity"), key.alias("key"))


def _keys(columns: Entity, multi: frozenset[str], start: Column | None) -> Column:
    """Return the array of keys that begin with ``start``; null ones miss the value of a column."""
    if not columns:
        return F.array(F.lit(None) if start is None else start)
    value = F.col(column_name(columns[0]))
    if columns[0] not in multi:
        return _keys(columns[1:], multi, _joined(start, value.cast("string")))
    return F.flatten(
        F.transform(
            F.array_distinct(value), lambda token: _keys(columns[1:], multi, _joined(start, token))
        )
    )


def _joined(start: Column | None, value: Column) -> Column:
    return value if start is None else F.concat(start, F.lit(SEPARATOR), value)
