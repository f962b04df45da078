"""Point-in-time features: smoothed rates, counts and recency from the counts of earlier days."""

from datetime import date, timedelta
from itertools import product

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.cells import named
from features.counts import OVERALL, entity_keys, multi_columns
from features.days import start_of
from features.explode import explode_keys
from features.settle import gather, looked_up
from features.spec import Entity, Spec
from features.spec.layout import count_name, entity_name, rate_name, recency_name

DAY_SECONDS = 86_400.0
KEY = ["entity", "key"]
KNOWN = "_known"
"""Maps an entity to its values of a sample, while the sample's columns are made: a map is read by
generated code, a list needs lambdas, which Spark interprets row by row, five times as slow."""

RATE, RECENCY = "rate", "recency"
"""How the names of rates begin among what is known of a key, and the name of its recency."""

FINE = 2.0**40
"""Rates are added up as whole multiples of 1 / FINE: a sum of fractions would depend on the order
of the rows, and with it the content hash."""


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
    keys = gather(explode_keys(samples, ["sample_id"], entity_keys(spec), *KEY))
    # Only keys of the day are summed: the history holds ten times as many.
    history = _history(past.join(looked_up(keys), KEY, "left_semi"), spec, day)
    overall = _history(past.where(F.col("entity") == OVERALL[0]), spec, day)
    rated = history.join(F.broadcast(_priors(overall, spec, day)), F.lit(True), "left")
    parts = _parts(spec)
    rated = rated.selectExpr(*KEY, *named(parts))
    # Collected to one row per sample before the columns are made: three times as quick, measured,
    # as one conditional aggregate a column.
    of_keys = keys.join(looked_up(rated), KEY, "left")
    of_entity = _over_keys(of_keys, spec)
    values = ", ".join(f"`{part}`" for part in parts)
    facts = of_entity.groupBy("sample_id").agg(
        F.expr(f"map_from_entries(collect_list(struct(entity, struct({values}))))").alias(KNOWN)
    )
    known = samples.join(looked_up(facts), "sample_id", "left")
    return known.selectExpr(*samples.columns, *named(_columns(spec)))


def windows(spec: Spec) -> list[int | str]:
    """Return the windows that the rates of ``spec`` look back on, each once."""
    return list(dict.fromkeys(days for rates in spec.features.rates for days in rates.days))


def _history(past: DataFrame, spec: Spec, day: date) -> DataFrame:
    """Sum the counts of every key over every window: ``n_<w>``, ``n_<task>_<w>`` and ``last``."""
    names = ["n", *(f"n_{task}" for task in spec.tasks)]
    sums = [
        F.expr(f"coalesce(sum({_inside(name, days, day)}), 0)").alias(f"{name}_{days}")
        for days in windows(spec)
        for name in names
    ]
    return past.groupBy(*KEY).agg(F.max("last").alias("last"), *sums)


def _inside(name: str, days: int | str, day: date) -> str:
    if isinstance(days, str):
        return name
    return f"CASE WHEN ds >= '{day - timedelta(days=days)}' THEN {name} END"


def _priors(overall: DataFrame, spec: Spec, day: date) -> DataFrame:
    """Return what all keys share: the overall rates, and the start of the day in seconds.

    The latter as a column: a number in the code of the columns would have it compiled every day.
    """
    shared = {"start": f"{start_of(day, spec.timezone).timestamp()}D"} | {
        f"p0_{task}_{days}": f"try_divide(n_{task}_{days}, n_{days})"
        for task in spec.tasks
        for days in windows(spec)
    }
    return overall.selectExpr(*named(shared))


def _parts(spec: Spec) -> dict[str, str]:
    """Return what is known of a key: name -> SQL over its history."""
    found = {RECENCY: f"(start - cast(last AS double)) / {DAY_SECONDS}D"}
    found |= {f"n_{days}": f"n_{days}" for days in windows(spec)}
    for rates in spec.features.rates:
        for task, days in product(rates.of, rates.days):
            rate = _rate(task, days, rates.prior)
            found[_part(task, days, rates.prior)] = f"cast(round({rate} * {FINE}D) AS bigint)"
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
    if all(several.isdisjoint(entity) for entity in spec.entities):
        found = {
            name: f"cast(`{name}` AS double)" + (f" / {FINE}D" if _is_rate(name) else "")
            for name in _parts(spec)
        }
        return of_keys.selectExpr("sample_id", "entity", *named(found))
    found = {RECENCY: f"min({RECENCY})"}
    for days in windows(spec):
        found[f"n_{days}"] = f"cast(coalesce(sum(n_{days}), 0) AS double) / count(1)"
    for name in filter(_is_rate, _parts(spec)):
        found[name] = f"cast(sum(`{name}`) AS double) / count(`{name}`) / {FINE}D"
    means = [F.expr(sql).alias(name) for name, sql in found.items()]
    return of_keys.groupBy("sample_id", "entity").agg(*means)


def _is_rate(part: str) -> bool:
    return part.startswith(f"{RATE} ")


def _columns(spec: Spec) -> dict[str, str]:
    """Return the columns of the layout: name -> SQL over a sample's map ``KNOWN``."""
    found: dict[str, str] = {}
    for rates in spec.features.rates:
        for entity, days in product(rates.by, rates.days):
            found[count_name(entity, days)] = f"coalesce({_of(entity, f'n_{days}')}, 0D)"
            for task in rates.of:
                part = _part(task, days, rates.prior)
                found[rate_name(task, entity, days)] = _of(entity, part)
    for entity in spec.features.recency:
        found[recency_name(entity)] = _of(entity, RECENCY)
    return found


def _of(entity: Entity, part: str) -> str:
    return f"{KNOWN}['{entity_name(entity)}'].`{part}`"
