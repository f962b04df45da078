"""What an entity met: how many different values of a column, and which of them last.

The counts hold one row a day for each pair of an entity and a value of the column; its key begins
with the entity's and ends with the value.
"""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.explode import SEPARATOR
from features.history import DAILY, WHOLE, before_each, in_window
from features.settle import looked_up
from features.sources import FOR
from features.spec import Entity, Spec
from features.spec.layout import entity_name, sequence_name

PAIR, VALUE = "_pair", "_value"
"""Columns with the name of an entity and a column together, and with the column's value."""

_OF_KEY = [FOR, "entity", "key"]


def variety_part(of: str, days: int | str) -> str:
    """Return how a distinct count is called among what is known of a key."""
    return f"distinct {of} {days}"


def varieties(spec: Spec) -> list[str]:
    """Return the names of all distinct counts, each once."""
    asked = (variety_part(item.of, days) for item in spec.features.distinct for days in item.days)
    return list(dict.fromkeys(asked))


def sequences(spec: Spec) -> list[str]:
    """Return the names of all sequences, each once."""
    return list(dict.fromkeys(map(sequence_name, spec.features.sequences)))


def met(counts: DataFrame, keys: DataFrame, spec: Spec, days: DataFrame) -> DataFrame:
    """Return the days on which keys met which values, for ``variety`` and ``latest``.

    Args:
        counts: the days before, as ``features.history.as_history`` returns them.
        keys: ``entity`` and ``key`` of the samples.
        spec: declares the distinct counts and sequences.
        days: the samples' days, as ``features.batch.calendar`` returns them.

    Returns:
        ``_for``, ``entity``, ``key``, ``_pair``, ``_value``, and of each row of counts its ``ds``,
        ``n``, ``n_<task>``, ``last`` and whether it counts in windows of days and in all.
    """
    pairs = _pairs(spec)
    about = counts.where(F.col("entity").isin(list(pairs))).select(
        *("ds", DAILY, WHOLE, "n", "last"),
        *(f"n_{task}" for task in spec.tasks),
        F.substring_index("key", SEPARATOR, -1).alias(VALUE),
        F.col("entity").alias(PAIR),
        of_pair({pair: f"'{entity_name(by)}'" for pair, (by, _) in pairs.items()}).alias("entity"),
        of_pair(
            {
                pair: f"substring_index(key, '{SEPARATOR}', {len(by)})"
                for pair, (by, _) in pairs.items()
            }
        ).alias("key"),
    )
    wanted = about.join(looked_up(keys), ["entity", "key"], "left_semi")
    return before_each(wanted, days.select(FOR))


def variety(past: DataFrame, spec: Spec) -> DataFrame:
    """Return the distinct counts of keys: ``_for``, ``entity``, ``key`` and ``varieties``.

    An entity's key has met a value when both together were shown in the window.

    Args:
        past: as ``met`` returns it.
        spec: declares the distinct counts.
    """
    windows = list(dict.fromkeys(back for item in spec.features.distinct for back in item.days))
    seen = [
        F.expr(f"bool_or(n > 0 AND {in_window(back)})").alias(f"_met_{back}") for back in windows
    ]
    values = past.groupBy(*_OF_KEY, PAIR, VALUE).agg(*seen)
    found = {
        variety_part(item.of, back): (
            f"count_if(_met_{back} AND {PAIR} IN ({_names(item.by, item.of)}))"
        )
        for item in spec.features.distinct
        for back in item.days
    }
    counted = [F.expr(sql).alias(name) for name, sql in found.items()]
    return values.groupBy(*_OF_KEY).agg(*counted)


def latest(past: DataFrame, spec: Spec) -> DataFrame:
    """Return the sequences of keys: ``_for``, ``entity``, ``key`` and ``sequences``.

    A sequence holds different values, the one that was shown last first (ties: in the order of the
    text). One of a task holds those that brought a positive of it before the sample's day, whenever
    they were shown last. None is null.

    Args:
        past: as ``met`` returns it.
        spec: declares the sequences.
    """
    chosen = {
        sequence_name(item): (
            f"{PAIR} = '{entity_name((*item.by, item.of))}' AND "
            f"{'n' if item.task is None else f'n_{item.task}'} > 0"
        )
        for item in spec.features.sequences
    }
    lengths = {sequence_name(item): item.last for item in spec.features.sequences}
    sums = [F.sum(name).alias(name) for name in past.columns if name == "n" or name[:2] == "n_"]
    whole = past.where(WHOLE).groupBy(*_OF_KEY, PAIR, VALUE).agg(F.max("last").alias("last"), *sums)
    parts = [F.expr(f"CASE WHEN {test} THEN '{name}' END") for name, test in chosen.items()]
    listed = whole.select(*_OF_KEY, VALUE, "last", F.explode(F.array(*parts)).alias("_part"))
    order = Window.partitionBy(*_OF_KEY, "_part").orderBy(F.desc("last"), VALUE)
    turns = listed.where(F.col("_part").isNotNull()).withColumn("_turn", F.row_number().over(order))
    longest = " ".join(f"WHEN '{name}' THEN {length}" for name, length in lengths.items())
    return (
        turns.where(F.expr(f"_turn <= CASE _part {longest} END"))
        .groupBy(*_OF_KEY)
        .agg(*(F.expr(_in_order(name)).alias(name) for name in lengths))
    )


def _in_order(name: str) -> str:
    """Return the aggregate that lists a sequence's values by their turn."""
    turn = f"CASE WHEN _part = '{name}' THEN struct(_turn, {VALUE}) END"
    return f"nullif(sort_array(collect_list({turn})).{VALUE}, cast(array() AS array<string>))"


def _pairs(spec: Spec) -> dict[str, tuple[Entity, str]]:
    """Return the name of each pair → the entity and the column it is made of."""
    return {entity_name((*by, of)): (by, of) for by, of in spec.features.meetings}


def of_pair(sql: Mapping[str, str]) -> Column:
    """Return what SQL says of a row of counts, by the name of its entity."""
    cases = " ".join(f"WHEN '{pair}' THEN {value}" for pair, value in sql.items())
    return F.expr(f"CASE entity {cases} END")


def _names(entities: tuple[Entity, ...], of: str) -> str:
    return ", ".join(f"'{entity_name((*by, of))}'" for by in entities)
