"""How many different values of a column an entity met: the keys of both together, counted."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.explode import SEPARATOR
from features.history import DAILY, WHOLE, before_each, in_window
from features.settle import looked_up
from features.sources import FOR
from features.spec import Entity, Spec
from features.spec.layout import entity_name

PAIR = "_pair"
"""Column with the name of an entity and a column together."""


def variety_part(of: str, days: int | str) -> str:
    """Return how a distinct count is called among what is known of a key."""
    return f"distinct {of} {days}"


def varieties(spec: Spec) -> list[str]:
    """Return the names of all distinct counts, each once."""
    asked = (variety_part(item.of, days) for item in spec.features.distinct for days in item.days)
    return list(dict.fromkeys(asked))


def variety(counts: DataFrame, keys: DataFrame, spec: Spec, days: DataFrame) -> DataFrame:
    """Return the distinct counts of keys: ``_for``, ``entity``, ``key`` and ``varieties``.

    An entity's key has met a value when both together were shown in the window: the counts hold one
    row a day for each such pair, whose key begins with the entity's.

    Args:
        counts: the days before, as ``features.history.as_history`` returns them.
        keys: ``entity`` and ``key`` of the samples.
        spec: declares the distinct counts.
        days: the samples' days, as ``features.batch.calendar`` returns them.
    """
    pairs = _pairs(spec)
    shown = counts.where(F.col("entity").isin(list(pairs)) & (F.col("n") > 0))
    about = shown.select(
        "ds",
        DAILY,
        WHOLE,
        F.col("key").alias("_value"),
        F.col("entity").alias(PAIR),
        _of_pair({pair: f"'{entity_name(by)}'" for pair, (by, _) in pairs.items()}).alias("entity"),
        _of_pair(
            {
                pair: f"substring_index(key, '{SEPARATOR}', {len(by)})"
                for pair, (by, _) in pairs.items()
            }
        ).alias("key"),
    )
    wanted = about.join(looked_up(keys), ["entity", "key"], "left_semi")
    past = before_each(wanted, days.select(FOR))
    windows = list(dict.fromkeys(back for item in spec.features.distinct for back in item.days))
    met = [F.expr(f"bool_or({in_window(back)})").alias(f"_met_{back}") for back in windows]
    values = past.groupBy(FOR, "entity", "key", PAIR, "_value").agg(*met)
    found = {
        variety_part(item.of, back): (
            f"count_if(_met_{back} AND {PAIR} IN ({_names(item.by, item.of)}))"
        )
        for item in spec.features.distinct
        for back in item.days
    }
    counted = [F.expr(sql).alias(name) for name, sql in found.items()]
    return values.groupBy(FOR, "entity", "key").agg(*counted)


def _pairs(spec: Spec) -> dict[str, tuple[Entity, str]]:
    """Return the name of each pair → the entity and the column it is made of."""
    return {
        entity_name((*by, item.of)): (by, item.of)
        for item in spec.features.distinct
        for by in item.by
    }


def _of_pair(sql: dict[str, str]) -> Column:
    cases = " ".join(f"WHEN '{pair}' THEN {value}" for pair, value in sql.items())
    return F.expr(f"CASE entity {cases} END")


def _names(entities: tuple[Entity, ...], of: str) -> str:
    return ", ".join(f"'{entity_name((*by, of))}'" for by in entities)
