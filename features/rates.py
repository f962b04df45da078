"""Point-in-time features from the counts of earlier days: rates, counts, recency, variety."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.batch import START
from features.cells import named
from features.counts import OVERALL, column_name, entity_keys, multi_columns
from features.explode import SEPARATOR, explode_keys
from features.history import before_each, in_window
from features.settle import gather, handed_out, is_small, looked_up, settle
from features.sources import FOR
from features.spec import Entity, Spec
from features.spec.layout import (
    count_name,
    distinct_name,
    entity_name,
    rate_name,
    recency_name,
    sequence_name,
)
from features.variety import latest, met, sequences, varieties, variety, variety_part

DAY_SECONDS = 86_400.0
KEY = ["entity", "key"]
SAMPLE = [FOR, "sample_id"]
KNOWN = "_known"
"""Maps an entity to its values of a sample, while the sample's columns are made: a map is read by
generated code, a list needs lambdas, which Spark interprets row by row, five times as slow."""

RATE, RECENCY = "rate", "recency"
"""How the names of rates begin among what is known of a key, and the name of its recency."""

FINE = 2.0**40
"""Rates are added up as whole multiples of 1 / FINE: a sum of fractions would depend on the order
of the rows, and with it the content hash."""


def add_rates(samples: DataFrame, counts: DataFrame, spec: Spec, days: DataFrame) -> DataFrame:
    """Add the rates, counts, recencies, distinct counts and sequences of the layout to samples.

    A window is the last N whole days before a sample's day, or all of them; what happened on it or
    later is not looked at. With n impressions and p positives of an entity's key in the window,
    and p0 the rate of all facts in it, the rate is (p + prior * p0) / (n + prior), at most 1 (an
    outcome may come days after its impression); a key without history has no rate and the count 0.
    Pairs such as user × place are smoothed with the same p0. Where a multi-value column gives a
    sample several keys, its rate is the mean over those with history, its count the mean over all,
    its recency that of the latest. A distinct count is that of the different values that were shown
    together with the key; over several keys it is their mean. A sequence lists the values that were
    shown last together with the key. Recency is the days from the last
    impression to the start of the sample's day in the spec's time zone, null when there was none.

    Args:
        samples: one row per sample: its day ``_for``, ``sample_id`` and the columns of
            ``entity_columns`` under their ``column_name`` (arrays of strings where multi-value).
        counts: the days before, as ``features.history.as_history`` returns them.
        spec: declares the rates and recencies.
        days: the samples' days, as ``features.batch.calendar`` returns them.

    Returns:
        ``samples`` with one double for each rate, count, recency and distinct count of the layout,
        and an array of text, the latest first, for each sequence.
    """
    if not spec.subjects:
        return samples
    # Only what many samples share is worth a join of its own; small days do with one for all.
    direct = [] if is_small(samples.sparkSession) else plain_subjects(spec)
    rest = [entity for entity in spec.subjects if entity not in direct]
    known = samples
    if rest:
        known = _collected(known, counts, spec, days, rest)
    if direct:
        known = _beside(known, counts, spec, days, direct)
    return known.selectExpr(*samples.columns, *named(_columns(spec, direct)))


def plain_subjects(spec: Spec) -> list[Entity]:
    """Return the entities of which a sample has one key at most, and nobody asks whom they met."""
    several = multi_columns(spec)
    meeting = {entity for entity, _ in spec.features.meetings}
    return [
        entity for entity in spec.subjects if several.isdisjoint(entity) and entity not in meeting
    ]


def _collected(
    samples: DataFrame, counts: DataFrame, spec: Spec, days: DataFrame, entities: list[Entity]
) -> DataFrame:
    """Add ``KNOWN`` to samples: one join brings what is known of all keys of all entities."""
    keys = gather(explode_keys(samples, SAMPLE, entity_keys(spec, entities), *KEY))
    # Only keys of the samples are summed: the history holds ten times as many.
    mine = counts.join(looked_up(keys), KEY, "left_semi")
    rated = _rated(_history(mine, spec, days), counts, spec, days)
    # Collected to one row per sample before the columns are made: three times as quick, measured,
    # as one conditional aggregate a column.
    of_keys = keys.join(looked_up(rated), [FOR, *KEY], "left")
    for known in _met(counts, keys, spec, days):
        of_keys = of_keys.join(looked_up(known), [FOR, *KEY], "left")
    of_entity = _over_keys(of_keys, spec)
    parts = [*_parts(spec), *varieties(spec), *sequences(spec)]
    values = ", ".join(f"`{part}`" for part in parts)
    facts = of_entity.groupBy(SAMPLE).agg(
        F.expr(f"map_from_entries(collect_list(struct(entity, struct({values}))))").alias(KNOWN)
    )
    return samples.join(looked_up(facts), SAMPLE, "left")


def _beside(
    samples: DataFrame, counts: DataFrame, spec: Spec, days: DataFrame, entities: list[Entity]
) -> DataFrame:
    """Add a struct an entity to samples: what is known of its key, by a join of its own.

    A large day has ten times as many samples as most entities have keys. So the keys' history is
    brought to the samples, which stay where they are, instead of seven rows a sample to it.
    """
    names = [entity_name(entity) for entity in entities]
    of_entities = counts.where(F.col("entity").isin(names))
    rated = settle(_rated(_history(of_entities, spec, days), counts, spec, days))
    sizes = {row["entity"]: row["count"] for row in rated.groupBy("entity").count().collect()}
    for entity, name in zip(entities, names, strict=True):
        parts = ", ".join(f"`{part}`" for part in _parts_of(spec, entity))
        side = rated.where(F.col("entity") == name).selectExpr(
            f"xxhash64({FOR}, key) AS _code_of",
            f"{FOR} AS _day_of",
            "key AS _key_of",
            f"struct({parts}) AS `{_struct(entity)}`",
        )
        side = handed_out(side, sizes.get(name, 0))
        parted = (F.col(column_name(column)).cast("string") for column in entity)
        key = F.concat(*_between(parted))  # null where a part is: such a sample has no such key
        samples = samples.withColumn("_key", key)
        # Found by a number, as Java finds texts a third as fast; then the texts tell.
        same = (F.xxhash64(FOR, "_key") == F.col("_code_of")) & (F.col("_key") == F.col("_key_of"))
        same &= F.col(FOR) == F.col("_day_of")
        samples = samples.join(side, same, "left").drop("_code_of", "_day_of", "_key_of", "_key")
    return samples


def _between(parts: Iterable[Column]) -> list[Column]:
    """Return columns with the separator of keys between them."""
    found: list[Column] = []
    for part in parts:
        found += [F.lit(SEPARATOR), part] if found else [part]
    return found


def _rated(history: DataFrame, counts: DataFrame, spec: Spec, days: DataFrame) -> DataFrame:
    """Return what is known of each key of a history: ``_for``, ``entity``, ``key``, the parts."""
    overall = _history(counts.where(F.col("entity") == OVERALL[0]), spec, days)
    rated = history.join(F.broadcast(_priors(overall, spec)), FOR, "left")
    return rated.selectExpr(FOR, *KEY, *named(_parts(spec)))


def _met(counts: DataFrame, keys: DataFrame, spec: Spec, days: DataFrame) -> Iterator[DataFrame]:
    """Yield what is known of whom the samples' keys met."""
    if spec.features.meetings:
        past = met(counts, keys, spec, days)
        if spec.features.distinct:
            yield variety(past, spec)
        if spec.features.sequences:
            yield latest(past, spec)


def windows(spec: Spec) -> list[int | str]:
    """Return the windows that the rates of ``spec`` look back on, each once."""
    return list(dict.fromkeys(days for rates in spec.features.rates for days in rates.days))


def _history(counts: DataFrame, spec: Spec, days: DataFrame) -> DataFrame:
    """Sum each key's counts over the windows of each day: ``n_<w>``, ``n_<task>_<w>``, ``last``."""
    past = before_each(counts, days.select(FOR, START))
    names = ["n", *(f"n_{task}" for task in spec.tasks)]
    sums = [
        F.expr(f"coalesce(sum(CASE WHEN {in_window(back)} THEN {name} END), 0)").alias(
            f"{name}_{back}"
        )
        for back in windows(spec)
        for name in names
    ]
    kept = [F.max("last").alias("last"), F.max(START).alias(START)]
    return past.groupBy(FOR, *KEY).agg(*kept, *sums)


def _priors(overall: DataFrame, spec: Spec) -> DataFrame:
    """Return the overall rates of each day."""
    shared = {
        f"p0_{task}_{days}": f"try_divide(n_{task}_{days}, n_{days})"
        for task in spec.tasks
        for days in windows(spec)
    }
    return overall.selectExpr(FOR, *named(shared))


def _parts(spec: Spec) -> dict[str, str]:
    """Return what is known of a key: name -> SQL over its history."""
    found = {RECENCY: f"({START} - cast(last AS double)) / {DAY_SECONDS}D"}
    found |= {f"n_{days}": f"n_{days}" for days in windows(spec)}
    for rates in spec.features.rates:
        for task, days in product(rates.of, rates.days):
            rate = _rate(task, days, rates.prior)
            found[_part(task, days, rates.prior)] = (
                f"cast(floor({rate} * {FINE}D + 0.5D) AS bigint)"
            )
    return found


def _part(task: str, days: int | str, prior: float) -> str:
    return f"{RATE} {task} {days} {prior}"


def _rate(task: str, days: int | str, prior: float) -> str:
    """Return the smoothed rate of a key, null where its window holds neither n nor positives."""
    n, positives, overall = f"n_{days}", f"n_{task}_{days}", f"p0_{task}_{days}"
    rate = f"({positives} + {prior}D * {overall}) / ({n} + {prior}D)"
    return f"CASE WHEN {n} > 0 OR {positives} > 0 THEN least(1D, {rate}) END"


def _over_keys(of_keys: DataFrame, spec: Spec) -> DataFrame:
    """Return one row per sample and entity: the mean over the entity's keys in the sample."""
    several = multi_columns(spec)
    if all(several.isdisjoint(entity) for entity in spec.subjects):
        found = {name: _as_double(f"`{name}`", name) for name in _parts(spec)}
        found |= {name: f"cast(`{name}` AS double)" for name in varieties(spec)}
        found |= {name: f"`{name}`" for name in sequences(spec)}
        return of_keys.selectExpr(*SAMPLE, "entity", *named(found))
    found = {RECENCY: f"min({RECENCY})"}
    for days in windows(spec):
        found[f"n_{days}"] = f"cast(coalesce(sum(n_{days}), 0) AS double) / count(1)"
    for name in varieties(spec):
        found[name] = f"cast(coalesce(sum(`{name}`), 0) AS double) / count(1)"
    # An entity with a sequence has one key in a sample.
    found |= {name: f"max(`{name}`)" for name in sequences(spec)}
    for name in filter(_is_rate, _parts(spec)):
        found[name] = f"cast(sum(`{name}`) AS double) / count(`{name}`) / {FINE}D"
    means = [F.expr(sql).alias(name) for name, sql in found.items()]
    return of_keys.groupBy(*SAMPLE, "entity").agg(*means)


def _as_double(value: str, part: str) -> str:
    """Return a part's value as SQL, of one key: rates are kept as multiples of 1 / ``FINE``."""
    return f"cast({value} AS double)" + (f" / {FINE}D" if _is_rate(part) else "")


def _is_rate(part: str) -> bool:
    return part.startswith(f"{RATE} ")


def _columns(spec: Spec, direct: Sequence[Entity]) -> dict[str, str]:
    """Return the columns of the layout: name -> SQL over ``KNOWN``, or the struct of an entity.

    Args:
        spec: declares them.
        direct: the entities with a struct of their own.
    """
    found: dict[str, str] = {}
    for rates in spec.features.rates:
        for entity, days in product(rates.by, rates.days):
            shown = _value(entity, f"n_{days}", direct)
            found[count_name(entity, days)] = f"coalesce({shown}, 0D)"
            for task in rates.of:
                part = _part(task, days, rates.prior)
                found[rate_name(task, entity, days)] = _value(entity, part, direct)
    for entity in spec.features.recency:
        found[recency_name(entity)] = _value(entity, RECENCY, direct)
    for item in spec.features.distinct:
        for entity, days in product(item.by, item.days):
            part = _of(entity, variety_part(item.of, days))
            found[distinct_name(item.of, entity, days)] = f"coalesce({part}, 0D)"
    for listed in spec.features.sequences:
        found[sequence_name(listed)] = _of(listed.by, sequence_name(listed))
    return found


def _value(entity: Entity, part: str, direct: Sequence[Entity]) -> str:
    """Return what is known of a sample's key as SQL, a double."""
    if entity not in direct:
        return _of(entity, part)
    return _as_double(f"`{_struct(entity)}`.`{part}`", part)


def _of(entity: Entity, part: str) -> str:
    return f"{KNOWN}['{entity_name(entity)}'].`{part}`"


def _struct(entity: Entity) -> str:
    return f"{KNOWN} {entity_name(entity)}"


def _parts_of(spec: Spec, entity: Entity) -> list[str]:
    """Return the parts that the columns of one entity are made of."""
    found = [RECENCY] if entity in spec.features.recency else []
    for rates in spec.features.rates:
        if entity in rates.by:
            for days in rates.days:
                found += [f"n_{days}", *(_part(task, days, rates.prior) for task in rates.of)]
    return list(dict.fromkeys(found))
