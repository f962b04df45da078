"""Point-in-time features: smoothed rates, counts and recency from the counts of earlier days."""

from datetime import date, timedelta
from itertools import product

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.counts import OVERALL, multi_columns, pairs
from features.days import start_of
from features.spec import Entity, Spec
from features.spec.layout import count_name, entity_name, rate_name, recency_name

DAY_SECONDS = 86_400.0
KEY = ["entity", "key"]
ONE, MANY = "_one", "_many"
"""Hold a sample's counts while features are made: ``ONE`` maps an entity to the counts of its only
key, ``MANY`` lists the counts of entities that may have several. A map is read by generated code;
a list needs lambdas, which Spark interprets row by row, five times as slow."""


def add_rates(samples: DataFrame, counts: DataFrame, spec: Spec, day: date) -> DataFrame:
    """Add the rates, counts and recencies of the layout to one day's samples.

    A window is the last N whole days before ``day``, or all of them; what happened on ``day`` or
    later is not looked at. With n impressions and p positives of an entity's key in the window,
    and p0 the rate of all facts in it, the rate is (p + prior * p0) / (n + prior), at most 1 (an
    outcome may come days after its impression); a key without history has no rate and the count 0.
    Pairs such as user × place are smoothed with the same p0. Where a multi-value column gives a
    sample several keys, its rate is the mean over those with history, its count the mean over all,
    its recency that of the latest. Recency is the days from the last impression to the start of
    ``day`` in the spec's time zone, null when there was none.

    Args:
        samples: one row per sample: ``sample_id`` and the columns of ``entity_columns`` under
            their ``column_name`` (arrays of strings where multi-value).
        counts: the table of daily counts: ``ds`` and the columns of ``daily_counts``.
        spec: declares the rates and recencies.
        day: the samples' day.

    Returns:
        ``samples`` with one double for each rate, count and recency column of the layout.
    """
    if not spec.entities:
        return samples
    past = counts.where(F.col("ds") < day.isoformat())
    of = F.explode(pairs(spec)).alias("of")
    keys = samples.select("sample_id", of).select("sample_id", "of.*")
    # Only keys of the day are summed: the history holds ten times as many.
    history = _history(past.join(keys, KEY, "left_semi"), spec, day)
    # Collected to one row per sample before the features are made: three times as quick, measured,
    # as one conditional aggregate a feature.
    facts = keys.join(history, KEY, "left").groupBy("sample_id").agg(*_collected(history, spec))
    overall = _history(past.where(F.col("entity") == OVERALL[0]), spec, day)
    known = samples.join(facts, "sample_id", "left")
    known = known.join(F.broadcast(_priors(overall, spec)), F.lit(True), "left")
    added = {**_rates(spec), **_recencies(spec, day)}
    known = known.select("*", *_by_entity(spec))
    return known.select(*samples.columns, *(F.expr(sql).alias(name) for name, sql in added.items()))


def windows(spec: Spec) -> list[int | str]:
    """Return the windows that the rates of ``spec`` look back on, each once."""
    return list(dict.fromkeys(days for rates in spec.features.rates for days in rates.days))


def _history(past: DataFrame, spec: Spec, day: date) -> DataFrame:
    """Sum the counts of every key over every window: ``n_<w>``, ``n_<task>_<w>`` and ``last``."""
    names = ["n", *(f"n_{task}" for task in spec.tasks)]
    sums = [
        F.coalesce(F.sum(F.when(_inside(days, day), F.col(name))), F.lit(0)).alias(f"{name}_{days}")
        for days in windows(spec)
        for name in names
    ]
    return past.groupBy(*KEY).agg(F.max("last").alias("last"), *sums)


def _inside(days: int | str, day: date) -> Column:
    if isinstance(days, str):
        return F.lit(True)
    return F.col("ds") >= (day - timedelta(days=days)).isoformat()


def _collected(history: DataFrame, spec: Spec) -> list[Column]:
    """Gather a sample's facts: a map of the entities with one key, a list of the others."""
    counts = F.struct(*(name for name in history.columns if name not in KEY))
    several = F.col("entity").isin([entity_name(entity) for entity in _several(spec)])
    pair = F.struct("entity", counts.alias("counts"))
    listed = F.struct("entity", *(name for name in history.columns if name not in KEY))
    return [
        F.map_from_entries(F.collect_list(F.when(~several, pair))).alias(ONE),
        F.collect_list(F.when(several, listed)).alias(MANY),
    ]


def _several(spec: Spec) -> list[Entity]:
    """Return the entities of which a sample may have several keys."""
    multi = multi_columns(spec)
    return [entity for entity in spec.entities if not multi.isdisjoint(entity)]


def _priors(overall: DataFrame, spec: Spec) -> DataFrame:
    rates = [
        F.try_divide(F.col(f"n_{task}_{days}"), F.col(f"n_{days}")).alias(f"p0_{task}_{days}")
        for task in spec.tasks
        for days in windows(spec)
    ]
    return overall.select(*rates)


def _by_entity(spec: Spec) -> list[Column]:
    """Split a sample's facts by entity: columns named by the entity's place in the spec."""
    several = _several(spec)
    return [
        (_listed(entity) if entity in several else F.element_at(ONE, entity_name(entity))).alias(
            _facts(spec, entity)
        )
        for entity in spec.entities
    ]


def _listed(entity: Entity) -> Column:
    return F.filter(MANY, lambda fact: fact["entity"] == entity_name(entity))


def _rates(spec: Spec) -> dict[str, str]:
    """Return the rate and count columns of the layout: name -> SQL over a sample's facts."""
    found = {}
    for rates in spec.features.rates:
        for entity, days in product(rates.by, rates.days):
            count = _over_keys(spec, entity, f"coalesce({{f}}.n_{days}, 0)")
            found[count_name(entity, days)] = f"coalesce({count}, 0D)"
            for task in rates.of:
                rate = _over_keys(spec, entity, _rate(task, days, rates.prior))
                found[rate_name(task, entity, days)] = rate
    return found


def _rate(task: str, days: int | str, prior: float) -> str:
    """Return the smoothed rate of a fact, null where its window holds neither n nor positives."""
    n, positives, overall = f"{{f}}.n_{days}", f"{{f}}.n_{task}_{days}", f"p0_{task}_{days}"
    rate = f"({positives} + {prior}D * {overall}) / ({n} + {prior}D)"
    return f"CASE WHEN {n} > 0 OR {positives} > 0 THEN least(1D, {rate}) END"


def _over_keys(spec: Spec, entity: Entity, value: str) -> str:
    """Return ``value`` of the entity's only key, or its mean over the keys that have it."""
    facts = _facts(spec, entity)
    if entity not in _several(spec):
        return f"cast({value.format(f=facts)} AS double)"
    values = f"array_compact(transform({facts}, f -> {value.format(f='f')}))"
    return f"try_divide(aggregate({values}, 0D, (total, each) -> total + each), size({values}))"


def _recencies(spec: Spec, day: date) -> dict[str, str]:
    start = start_of(day, spec.timezone).timestamp()
    since = f"({start}D - cast({{f}}.last AS double)) / {DAY_SECONDS}D"
    return {
        recency_name(entity): (
            f"array_min(transform({_facts(spec, entity)}, f -> {since.format(f='f')}))"
            if entity in _several(spec)
            else since.format(f=_facts(spec, entity))
        )
        for entity in spec.features.recency
    }


def _facts(spec: Spec, entity: Entity) -> str:
    return f"_facts_{spec.entities.index(entity)}"
