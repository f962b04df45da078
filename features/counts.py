"""What happened to whom on a day: impressions and outcomes per entity, for later days' rates."""

from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.explode import Part, explode_keys
from features.lots import LOT
from features.measures import fact_column
from features.spec import Entity, Spec
from features.spec.layout import entity_name

OVERALL = ("", "")
"""Entity and key of the row that counts every fact of the day: the prior of the smoothed rates."""


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
    """Count the facts of days per entity, in one pass over them.

    A fact with several tokens in a multi-value column counts once for each different token; one
    without a value in a column of an entity does not count for that entity.

    Args:
        happened: one row for each impression that something happened to: the day ``ds``, the
            columns of ``entity_columns`` under their ``column_name`` (arrays of strings where
            multi-value), ``event_time``, ``impression`` (1 if it was shown that day, else 0),
            ``n_<task>`` (1 for a positive outcome that happened that day, else 0) and each
            ``fact_column`` (null where not known). On a large day it lies by ``_lot``, which makes
            the keys of users cost no exchange.
        spec: names the entities and tasks.

    Returns:
        ``ds``, ``entity``, ``key``, ``n`` (impressions), ``last`` (time of the last one, null when
        none), ``n_<task>`` (positives), ``k_<fact>`` (impressions that have the fact) and
        ``s_<fact>`` (its sum); the row ``OVERALL`` counts all facts of a day.
    """
    counted = [f"n_{task}" for task in spec.tasks]
    values = [fact_column(name) for name in spec.features.facts]
    seen = F.when(F.col("impression") == 1, F.col("event_time"))
    lots = [LOT] if LOT in happened.columns else []
    facts = happened.select(
        "ds",
        *map(column_name, entity_columns(spec)),
        F.col("impression").cast("long").alias("n"),
        seen.alias("last"),
        *(F.col(name).cast("long").alias(name) for name in counted),
        *values,
        *lots,
    )
    name, key = OVERALL
    keys = {**entity_keys(spec, spec.entities), name: [(F.lit(key), False)]}
    near = {entity_name(entity) for entity in led_by_user(spec)} if lots else set()
    own = {name: parts for name, parts in keys.items() if name in near}
    others = {name: parts for name, parts in keys.items() if name not in near}
    found = _counted(facts, spec, others, [])
    return found.unionByName(_counted(facts, spec, own, lots)) if own else found


def _counted(
    facts: DataFrame, spec: Spec, keys: Mapping[str, Sequence[Part]], lots: list[str]
) -> DataFrame:
    """Sum up the facts of keys; those that begin with a user, by ``lots``, where they lie."""
    counted = [f"n_{task}" for task in spec.tasks]
    values = [fact_column(name) for name in spec.features.facts]
    kept = ["ds", "n", "last", *counted, *values, *lots]
    keyed = explode_keys(facts, kept, keys, "entity", "key")
    of_facts = [
        found
        for name in spec.features.facts
        for found in (
            F.count(fact_column(name)).alias(f"k_{name}"),
            F.coalesce(F.sum(fact_column(name)), F.lit(0)).alias(f"s_{name}"),
        )
    ]
    sums = keyed.groupBy("ds", *lots, "entity", "key").agg(
        F.sum("n").alias("n"),
        F.max("last").alias("last"),
        *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in counted),
        *of_facts,
    )
    return sums.drop(*lots)


def entity_keys(spec: Spec, entities: Iterable[Entity]) -> dict[str, list[Part]]:
    """Return entity → the columns of its key, for ``explode_keys``."""
    multi = multi_columns(spec)
    return {
        entity_name(entity): [(F.col(column_name(column)), column in multi) for column in entity]
        for entity in entities
    }


def led_by_user(spec: Spec) -> list[Entity]:
    """Return the entities whose key begins with the user: on a large day they lie by users."""
    return [entity for entity in spec.entities if entity[0] == spec.user]


def multi_columns(spec: Spec) -> frozenset[str]:
    """Return the columns that the spec declares to hold several tokens."""
    return frozenset(item.column for item in spec.features.embedded if item.multi)
