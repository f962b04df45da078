"""What the audit knows of a staged day: a small JSON-able record, taken in three small jobs.

The record is kept with the published partition; those of earlier days are the audit's history.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from features.spec import Layout, Spec, layout_of
from features.spec.layout import Column as Feature
from features.vocabulary import tokens_of

Measures = dict[str, Any]
TOP = 20
"""Most frequent tokens of a category whose shares are measured and compared."""

_TYPES = {"category": "string", "multi": "array<string>", "number": "double"}


def measure(staged: DataFrame, spec: Spec, history: list[Measures]) -> Measures:
    """Measure a staged day.

    Args:
        staged: the day's samples, as in the table ``samples``.
        spec: declares scenarios, tasks and features.
        history: the records of earlier days; their frequent tokens are counted again.

    Returns:
        ``schema`` (complaints, one sentence each), ``rows`` and, when there are no complaints,
        ``duplicates``, ``scenarios`` (rows), ``cells`` (known labels and positives), ``maturity``
        (rows per task that break it), ``nulls`` (share per feature), ``range`` (rows per numeric
        feature out of it) and ``tokens`` (share of frequent tokens per category).
    """
    complaints = schema_complaints(staged, spec)
    if complaints:
        return {"schema": complaints, "rows": staged.count()}
    layout = layout_of(spec)
    groups = staged.groupBy("scenario").agg(F.count("*").alias("rows"), *_sums(spec, layout))
    found = _of_groups(groups.collect(), spec, layout)
    tokens = _token_shares(staged, layout, found["rows"], history)
    return {"schema": [], **found, "duplicates": _duplicates(staged), "tokens": tokens}


def schema_complaints(staged: DataFrame, spec: Spec) -> list[str]:
    """Return a sentence for every column that is missing, superfluous or of another type."""
    expected = expected_types(spec)
    actual = {field.name: field.dataType.simpleString() for field in staged.schema.fields}
    missing = [f"column {name} is missing" for name in expected if name not in actual]
    extra = [f"column {name} is not in the spec" for name in actual if name not in expected]
    wrong = [
        f"column {name} is {actual[name]} instead of {kind}"
        for name, kind in expected.items()
        if actual.get(name, kind) != kind
    ]
    return missing + extra + wrong


def expected_types(spec: Spec) -> dict[str, str]:
    """Return the columns of ``samples`` with their Spark types, in order."""
    head = dict.fromkeys(("ds", "sample_id", "scenario", "user"), "string")
    labels: dict[str, str] = {}
    for task in spec.tasks:
        labels |= {f"label_{task}": "boolean", f"mature_{task}": "boolean"}
        labels |= {f"time_{task}": "timestamp"}
    features = {column.name: _TYPES[column.kind] for column in layout_of(spec).columns}
    lineage = {"source_file": "string", "as_of": "string"}
    return {**head, "event_time": "timestamp", **labels, **features, **lineage}


def _sums(spec: Spec, layout: Layout) -> list[Column]:
    """Return the aggregates of one scenario's rows."""
    found = {}
    for task in layout.tasks:
        found[f"known {task}"] = f"count(label_{task})"
        found[f"positives {task}"] = f"count_if(label_{task})"
        found[f"maturity {task}"] = f"count_if({_maturity_broken(spec, task)})"
    for column in layout.columns:
        found[f"nulls {column.name}"] = f"count_if({_is_null(column)})"
    for column in layout.of("number"):
        found[f"range {column.name}"] = f"count_if({_out_of_range(column)})"
    # As text: hundreds of aggregates built call by call take seconds.
    return [F.expr(sql).alias(name) for name, sql in found.items()]


def _maturity_broken(spec: Spec, task: str) -> str:
    """Return whether a label is known though its window was open, or not though it had closed."""
    having = [f"'{scenario}'" for scenario in spec.scenarios.names if spec.has(scenario, task)]
    closed = f"scenario IN ({', '.join(having)})" if having else "false"
    window = spec.tasks[task].window
    if window > timedelta(0):
        read_until = f"to_utc_timestamp(date_add(to_date(as_of), 1), '{spec.timezone}')"
        seconds = int(window.total_seconds())
        closed += f" AND event_time + INTERVAL {seconds} SECONDS <= {read_until}"
    closed = f"coalesce({closed}, false)"
    known = f"(label_{task} IS NOT NULL)"
    return f"{known} != {closed} OR coalesce(mature_{task}, false) != {closed}"


def _is_null(column: Feature) -> str:
    name = f"`{column.name}`"
    return f"{name} IS NULL OR size({name}) = 0" if column.kind == "multi" else f"{name} IS NULL"


def range_of(column: Feature) -> tuple[float | None, float | None]:
    """Return the lowest and highest value that a numeric feature may have; null is always allowed.

    >>> range_of(Feature(name="n_rate_click_item_1", kind="number", source="rate click item 1"))
    (0.0, 1.0)
    """
    derived = column.source.split(" ")[0]
    if derived == "rate" and column.name.startswith("n_rate_"):
        return 0.0, 1.0
    if derived in ("count", "recency") and column.name.startswith(f"n_{derived}_"):
        return 0.0, None
    return None, None


def _out_of_range(column: Feature) -> str:
    value = f"`{column.name}`"
    low, high = range_of(column)
    outside = [f"isnan({value})", f"abs({value}) = double('infinity')"]
    outside += [] if low is None else [f"{value} < {low}D"]
    outside += [] if high is None else [f"{value} > {high}D"]
    return " OR ".join(outside)


def _of_groups(groups: Iterable[Row], spec: Spec, layout: Layout) -> Measures:
    by_scenario = {str(row["scenario"]): row for row in groups}
    rows = sum(row["rows"] for row in by_scenario.values())

    def total(name: str) -> int:
        return sum(int(row[name]) for row in by_scenario.values())

    return {
        "rows": rows,
        "scenarios": {name: row["rows"] for name, row in sorted(by_scenario.items())},
        "cells": _cells(by_scenario, spec),
        "maturity": {task: total(f"maturity {task}") for task in layout.tasks},
        "nulls": {
            column.name: round(total(f"nulls {column.name}") / max(rows, 1), 6)
            for column in layout.columns
        },
        "range": {column.name: total(f"range {column.name}") for column in layout.of("number")},
    }


def _cells(by_scenario: Mapping[str, Row], spec: Spec) -> dict[str, dict[str, int]]:
    """Return ``scenario/task`` -> known labels and positives, for the cells that have rows."""
    return {
        f"{scenario}/{task}": {
            "known": by_scenario[scenario][f"known {task}"],
            "positives": by_scenario[scenario][f"positives {task}"],
        }
        for scenario in spec.scenarios.names
        for task in spec.tasks
        if scenario in by_scenario and spec.has(scenario, task)
    }


def _duplicates(staged: DataFrame) -> Measures:
    """Return how many ``rows`` repeat another's sample_id, and one such id as ``example``."""
    repeated = staged.groupBy("sample_id").count().where("count > 1")
    found = repeated.agg(F.sum(F.col("count") - 1).alias("rows"), F.min("sample_id")).collect()[0]
    return {"rows": found["rows"] or 0, "example": found[1]}


def _token_shares(
    staged: DataFrame, layout: Layout, rows: int, history: list[Measures]
) -> dict[str, dict[str, float]]:
    """Return column -> token -> share of rows, for tokens frequent on the day or in ``history``."""
    counts = tokens_of(staged, [], layout).groupBy("feature", "token").count()
    order = Window.partitionBy("feature").orderBy(F.desc("count"), "token")
    kept = F.col("rank") <= TOP
    shares: dict[str, dict[str, float]] = {}
    for column in layout.of("category", "multi"):
        shares[column.name] = {}
        before = frequent_tokens(column.name, history)
        kept |= (F.col("feature") == column.name) & F.col("token").isin(before)
    ranked = counts.withColumn("rank", F.row_number().over(order)).where(kept)
    for row in sorted(ranked.collect(), key=lambda row: row["rank"]):
        shares[row["feature"]][row["token"]] = round(row["count"] / rows, 6)
    return shares


def frequent_tokens(column: str, history: list[Measures]) -> list[str]:
    """Return the ``TOP`` tokens with the largest mean share in ``history``, largest first."""
    totals: dict[str, float] = {}
    for day in history:
        for token, share in day.get("tokens", {}).get(column, {}).items():
            totals[token] = totals.get(token, 0.0) + share
    return sorted(totals, key=lambda token: (-totals[token], token))[:TOP]
