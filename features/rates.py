"""Point-in-time features from the counts of earlier days: rates, counts, recency, variety."""

from collections.abc import Iterator, Sequence
from itertools import product

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import residuals
from features.batch import START
from features.cells import named
from features.counts import OVERALL, column_name, entity_keys, led_by_user, multi_columns
from features.explode import explode_keys, joined_by_separator
from features.history import FINE, fades, finely, sums_over, unit
from features.lots import LOT, by_lot, lot_of, matched
from features.measures import Measure, measures
from features.settle import gather, handed_out, is_small, looked_up, settle
from features.sources import FOR
from features.spec import Entity, Spec
from features.spec.layout import (
    count_name,
    distinct_name,
    entity_name,
    mean_name,
    rate_name,
    recency_name,
    residual_name,
    sequence_name,
)
from features.variety import latest, met, sequences, varieties, variety, variety_part

DAY_SECONDS = 86_400.0
KEY = ["entity", "key"]
SAMPLE = [FOR, "sample_id"]
_OWN = "_own"
"""Column with a sample's key of an entity, while it is looked up."""

KNOWN = "_known"
"""Maps an entity to its values of a sample, while the sample's columns are made: a map is read by
generated code, a list needs lambdas, which Spark interprets row by row, five times as slow."""

RATE, RECENCY = "rate", "recency"
"""How the names of rates begin among what is known of a key, and the name of its recency."""


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
    """Return the entities of which a sample has one key at most, and no pairs are asked for."""
    several = multi_columns(spec)
    meeting = {entity for entity, _ in spec.features.meetings}
    meeting |= {entity for item in spec.features.residuals for entity in item.by}
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
    rated = _rated(_history(mine, spec, days), _priors(counts, spec, days), spec)
    # Collected to one row per sample before the columns are made: three times as quick, measured,
    # as one conditional aggregate a column.
    of_keys = keys.join(looked_up(rated), [FOR, *KEY], "left")
    for known in _met(counts, keys, spec, days):
        of_keys = of_keys.join(looked_up(known), [FOR, *KEY], "left")
    of_entity = _over_keys(of_keys, spec)
    parts = [*_parts(spec), *residuals.parts(spec), *varieties(spec), *sequences(spec)]
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
    brought to the samples, which stay where they are, instead of seven rows a sample to it: that of
    users' keys, which are many, to the lots that samples lie in, that of others to every core.
    """
    if LOT not in samples.columns and led_by_user(spec):
        samples = samples.withColumn(LOT, lot_of(F.col(column_name(spec.user))))
    for entity, known in _sides(counts, spec, days, entities):
        values = ", ".join(f"`{part}`" for part in _parts_of(spec, entity))
        lots = [LOT] if LOT in known.columns else []
        side = known.selectExpr(*lots, FOR, "key", f"struct({values}) AS `{_struct(entity)}`")
        key = joined_by_separator(F.col(column_name(column)) for column in entity)
        samples = matched(samples.withColumn(_OWN, key), side, {FOR: FOR, _OWN: "key"}).drop(_OWN)
    return samples


def _sides(
    counts: DataFrame, spec: Spec, days: DataFrame, entities: list[Entity]
) -> Iterator[tuple[Entity, DataFrame]]:
    """Yield each entity with what is known of its keys, ready to be joined to a large day."""
    priors = settle(_priors(counts, spec, days))
    by_user = [entity for entity in entities if entity in led_by_user(spec)]
    for entity in by_user:
        own = counts.where(F.col("entity") == entity_name(entity))
        parted = by_lot(own.withColumn(LOT, lot_of(F.col("key"))))
        yield entity, _rated(_history(parted, spec, days), priors, spec)
    others = {entity_name(entity): entity for entity in entities if entity not in by_user}
    if others:
        shared = _history(counts.where(F.col("entity").isin(list(others))), spec, days)
        rated = settle(_rated(shared, priors, spec))
        sizes = {row["entity"]: row["count"] for row in rated.groupBy("entity").count().collect()}
        for name, entity in others.items():
            yield entity, handed_out(rated.where(F.col("entity") == name), sizes.get(name, 0))


def _rated(history: DataFrame, priors: DataFrame, spec: Spec) -> DataFrame:
    """Return what is known of each key of a history: ``_for``, ``entity``, ``key``, the parts."""
    rated = history.join(F.broadcast(priors), FOR, "left")
    lots = [LOT] if LOT in history.columns else []
    return rated.selectExpr(FOR, *KEY, *lots, *named(_parts(spec)))


def _met(counts: DataFrame, keys: DataFrame, spec: Spec, days: DataFrame) -> Iterator[DataFrame]:
    """Yield what is known of whom the samples' keys met, and in which contexts."""
    if spec.features.residuals:
        yield residuals.residuals(counts, keys, spec, days)
    if spec.features.meetings:
        past = met(counts, keys, spec, days)
        if spec.features.distinct:
            yield variety(past, spec)
        if spec.features.sequences:
            yield latest(past, spec)


def windows(spec: Spec) -> list[int | str]:
    """Return the windows that the rates of ``spec`` look back on, each once."""
    return list(dict.fromkeys(days for rates in spec.features.rates for days in rates.windows))


def _history(counts: DataFrame, spec: Spec, days: DataFrame) -> DataFrame:
    """Sum each key's counts over the windows: ``n_<w>``, and ``<total>_<w>``, ``<known>_<w>``."""
    wanted = {f"{one}_{back}": (one, back) for one, back in _sums(spec)}
    lots = [LOT] if LOT in counts.columns else []
    return sums_over(counts, days, wanted, [*KEY, *lots])


def _sums(spec: Spec) -> list[tuple[str, int | str]]:
    """Return the columns of the counts and the windows over which rates want their sums."""
    of = measures(spec)
    found = [("n", back) for back in windows(spec)]
    for rates in spec.features.rates:
        for name, back in product(rates.of, rates.windows):
            found += [(of[name].total, back), (of[name].known, back)]
    return list(dict.fromkeys(found))


def _asked(spec: Spec) -> list[tuple[str, int | str]]:
    """Return the measures and windows of which rates are taken, each once."""
    return list(
        dict.fromkeys(
            pair for rates in spec.features.rates for pair in product(rates.of, rates.windows)
        )
    )


def _priors(counts: DataFrame, spec: Spec, days: DataFrame) -> DataFrame:
    """Return the overall rates of each day."""
    overall = _history(counts.where(F.col("entity") == OVERALL[0]), spec, days)
    of = measures(spec)
    shared = {
        f"p0_{name}_{back}": f"try_divide({of[name].total}_{back}, {of[name].known}_{back})"
        for name, back in _asked(spec)
    }
    return overall.selectExpr(FOR, *named(shared))


def _parts(spec: Spec) -> dict[str, str]:
    """Return what is known of a key: name -> SQL over its history."""
    of = measures(spec)
    found = {RECENCY: f"({START} - cast(last AS double)) / {DAY_SECONDS}D"}
    found |= {f"n_{back}": f"n_{back}" for back in windows(spec)}
    for rates in spec.features.rates:
        for name, back in product(rates.of, rates.windows):
            rate = _rate(name, of[name], back, rates.prior)
            found[_part(name, back, rates.prior)] = finely(rate)
    return found


def _part(name: str, back: int | str, prior: float) -> str:
    return f"{RATE} {name} {back} {prior}"


def _rate(name: str, of: Measure, back: int | str, prior: float) -> str:
    """Return the smoothed rate or mean of a key, null where its window holds nothing of it.

    Sums are in whole multiples of the window's unit, and of the measure's, which the last step
    takes off.
    """
    total, known, overall = f"{of.total}_{back}", f"{of.known}_{back}", f"p0_{name}_{back}"
    weighed = f"{prior * unit(back)}D"
    mean = f"({total} + {weighed} * {overall}) / ({known} + {weighed})"
    if of.known == "n":
        mean = f"least(1D, {mean})"
    there = f"{known} > 0 OR {total} > 0" if of.known == "n" else f"{known} > 0"
    return f"CASE WHEN {there} THEN {mean} / {of.unit}D END"


def _over_keys(of_keys: DataFrame, spec: Spec) -> DataFrame:
    """Return one row per sample and entity: the mean over the entity's keys in the sample."""
    several = multi_columns(spec)
    if all(several.isdisjoint(entity) for entity in spec.subjects):
        numbers = [*_parts(spec), *residuals.parts(spec)]
        found = {name: _as_double(f"`{name}`", name) for name in numbers}
        found |= {name: f"cast(`{name}` AS double)" for name in varieties(spec)}
        found |= {name: f"`{name}`" for name in sequences(spec)}
        return of_keys.selectExpr(*SAMPLE, "entity", *named(found))
    found = {RECENCY: f"min({RECENCY})"}
    for days in windows(spec):
        mean = f"cast(coalesce(sum(n_{days}), 0) AS double) / count(1)"
        found[f"n_{days}"] = mean + (f" / {unit(days)}D" if fades(days) else "")
    for name in varieties(spec):
        found[name] = f"cast(coalesce(sum(`{name}`), 0) AS double) / count(1)"
    # An entity with a sequence has one key in a sample.
    found |= {name: f"max(`{name}`)" for name in sequences(spec)}
    for name in filter(_is_fine, [*_parts(spec), *residuals.parts(spec)]):
        found[name] = f"cast(sum(`{name}`) AS double) / count(`{name}`) / {FINE}D"
    means = [F.expr(sql).alias(name) for name, sql in found.items()]
    return of_keys.groupBy(*SAMPLE, "entity").agg(*means)


def _as_double(value: str, part: str) -> str:
    """Return a part's value as SQL, of one key."""
    size = _unit_of(part)
    return f"cast({value} AS double)" + (f" / {size}D" if size != 1 else "")


def _unit_of(part: str) -> float:
    """Return what a 1 is in a part that is kept as a whole number."""
    if _is_fine(part):
        return FINE
    return unit(part.removeprefix("n_")) if part.startswith("n_") else 1.0


def _is_fine(part: str) -> bool:
    return part.startswith((f"{RATE} ", f"{residuals.RESIDUAL} "))


def _columns(spec: Spec, direct: Sequence[Entity]) -> dict[str, str]:
    """Return the columns of the layout: name -> SQL over ``KNOWN``, or the struct of an entity.

    Args:
        spec: declares them.
        direct: the entities with a struct of their own.
    """
    found: dict[str, str] = {}
    for rates in spec.features.rates:
        for entity, days in product(rates.by, rates.windows):
            shown = _value(entity, f"n_{days}", direct)
            found[count_name(entity, days)] = f"coalesce({shown}, 0D)"
            for name in rates.of:
                part = _part(name, days, rates.prior)
                called = rate_name if name in spec.tasks else mean_name
                found[called(name, entity, days)] = _value(entity, part, direct)
    for entity in spec.features.recency:
        found[recency_name(entity)] = _value(entity, RECENCY, direct)
    for compared in spec.features.residuals:
        for entity, days, name in product(compared.by, compared.days, compared.of):
            part = residuals.part_of(name, compared, days)
            found[residual_name(name, entity, compared.against, days)] = _of(entity, part)
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
            for days in rates.windows:
                found += [f"n_{days}", *(_part(task, days, rates.prior) for task in rates.of)]
    return list(dict.fromkeys(found))
