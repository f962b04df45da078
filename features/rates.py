"""Point-in-time features: smoothed rates, counts and recency from the counts of earlier days."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.counts import OVERALL, entity_columns, pairs
from features.days import start_of
from features.spec import Spec
from features.spec.layout import count_name, entity_name, rate_name, recency_name

DAY_SECONDS = 86_400


def add_rates(samples: DataFrame, counts: DataFrame, spec: Spec, day: date) -> DataFrame:
    """Add the rates, counts and recencies of the layout to one day's samples.

    A window is the last N whole days before ``day``, or all of them; what happened on ``day`` or
    later is not looked at. With n impressions and p positives of an entity's key in the window and
    p0 the rate of all facts in it, the rate is (p + prior * p0) / (n + prior), at most 1 (an
    outcome may come days after its impression); a key without history has no rate and the count 0.
    Rates of pairs are smoothed with the same p0. Where a multi-value column gives a sample several
    keys, rates are the mean over those with history, counts the mean over all, and recency that of
    the latest. Recency is the days from the last impression to the start of ``day``.

    Args:
        samples: one row per sample: ``sample_id`` and the columns of ``entity_columns`` under
            their ``column_name`` (arrays of strings where multi-value).
        counts: the table of daily counts (``ds`` and the columns of ``daily_counts``).
        spec: declares the rates and recencies.
        day: the samples' day.

    Returns:
        ``samples`` with the columns of ``rate_columns``, in that order, as doubles.
    """
    features = list(_features(spec))
    if not features:
        return samples
    keys = samples.select("sample_id", F.explode(pairs(spec)).alias("of")).select("sample_id", "of.*")
    past = counts.where(F.col("ds") < day.isoformat())
    history = _history(past.join(keys, ["entity", "key"], "left_semi"), spec, day)
    overall = _totals(past, spec, day)
    known = keys.join(history, ["entity", "key"], "left").crossJoin(F.broadcast(overall))
    found = known.groupBy("sample_id").agg(*(item.over_keys(spec, day) for item in features))
    return samples.join(found, "sample_id", "left")
