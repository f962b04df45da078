"""What the audit knows of staged days: a small JSON-able record each, taken in three jobs.

The record is kept with the published partition; those of earlier days are the audit's history.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
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


@dataclass(frozen=True)
class Measured:
    """What was taken of staged days in a few jobs, from which the measures of each are made."""

    spec: Spec
    complaints: list[str]
    """What is wrong with the columns; with any, only ``rows`` was taken."""
    rows: dict[str, int]
    """Day → its rows."""
    groups: dict[str, list[Row]]
    """Day → its scenarios' aggregates."""
    repeated: dict[str, Measures]
    """Day → repeated ids."""
    tokens: dict[str, list[Row]]
    """Day → counted tokens, the most frequent of a column first."""

    def of(self, day: date, history: Sequence[Measures]) -> Measures:
        """Return the measures of one of the days.

        Args:
            day: the day.
            history: the measures of the days before it, whose frequent tokens are compared.

        Returns:
            ``schema`` (complaints, one sentence each), ``rows`` and, when there are no complaints,
            ``duplicates``, ``scenarios`` (rows), ``cells`` (known labels and positives),
            ``maturity`` (rows per task that break it), ``nulls`` (share per feature), ``range``
            (rows per numeric feature out of it) and ``tokens`` (share of frequent tokens per
            category).
        """
        ds = day.isoformat()
        if self.complaints:
            return {"schema": self.complaints, "rows": self.rows.get(ds, 0)}
        layout = layout_of(self.spec)
        found = _of_groups(self.groups.get(ds, []), self.spec, layout)
        shares = _token_shares(self.tokens.get(ds, []), layout, found["rows"], history)
        repeated = self.repeated.get(ds, {"rows": 0, "example": None})
        return {"schema": [], **found, "duplicates": repeated, "tokens": shares}


def measure(staged: DataFrame, spec: Spec, history: Sequence[Measures]) -> Measured:
    """Measure staged days.

    Args:
        staged: their samples, as in the table ``samples``.
        spec: declares scenarios, tasks and features.
        history: the measures of earlier days; their frequent tokens are counted again.
    """
    complaints = schema_complaints(staged, spec)
    if complaints:
        counted = staged.groupBy("ds").count().collect() if "ds" in staged.columns else []
        return Measured(spec, complaints, {row[0]: row[1] for row in counted}, {}, {}, {})
    layout = layout_of(spec)
    groups = staged.groupBy("ds", "scenario").agg(F.count("*").alias("rows"), *_sums(spec, layout))
    by_day = _by_day(groups.collect())
    tokens = _by_day(_counted_tokens(staged, layout, history).collect())
    return Measured(spec, [], {}, by_day, _repeated(staged), tokens)


def _by_day(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["ds"], []).append(row)
    return found


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
    if derived in ("count", "recency", "distinct") and column.name.startswith(f"n_{derived}_"):
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


def _repeated(staged: DataFrame) -> dict[str, Measures]:
    """Return day → how many ``rows`` repeat another's sample_id, and one such id as ``example``."""
    repeated = staged.groupBy("ds", "sample_id").count().where("count > 1")
    rows, example = F.sum(F.col("count") - 1).alias("rows"), F.min("sample_id").alias("example")
    days = repeated.groupBy("ds").agg(rows, example).collect()
    return {row["ds"]: {"rows": row["rows"], "example": row["example"]} for row in days}


def _counted_tokens(staged: DataFrame, layout: Layout, history: Sequence[Measures]) -> DataFrame:
    """Return ``ds``, ``feature``, ``token``, ``count``, ``rank`` of tokens that may be compared.

    Those are frequent on one of the days, or on one of those before.
    """
    counts = tokens_of(staged, ["ds"], layout).groupBy("ds", "feature", "token").count()
    order = Window.partitionBy("ds", "feature").orderBy(F.desc("count"), "token")
    ranked = counts.withColumn("rank", F.row_number().over(order))
    everywhere = Window.partitionBy("feature", "token")
    kept = F.min("rank").over(everywhere) <= TOP
    before: dict[str, set[str]] = {}
    for day in history:
        for column, shares in day.get("tokens", {}).items():
            before.setdefault(column, set()).update(shares)
    for column, tokens in before.items():
        kept |= (F.col("feature") == column) & F.col("token").isin(sorted(tokens))
    chosen = ranked.withColumn("kept", kept).where("kept").drop("kept")
    return chosen.orderBy("ds", "rank")


def _token_shares(
    counted: Iterable[Row], layout: Layout, rows: int, history: Sequence[Measures]
) -> dict[str, dict[str, float]]:
    """Return column -> token -> share of rows, for tokens frequent on the day or in ``history``."""
    shares: dict[str, dict[str, float]] = {}
    before = {}
    for column in layout.named:
        shares[column.name] = {}
        before[column.name] = set(frequent_tokens(column.name, history))
    for row in counted:
        feature, token = row["feature"], row["token"]
        if row["rank"] <= TOP or token in before[feature]:
            shares[feature][token] = round(row["count"] / rows, 6)
    return shares


def frequent_tokens(column: str, history: Sequence[Measures]) -> list[str]:
    """Return the ``TOP`` tokens with the largest mean share in ``history``, largest first."""
    totals: dict[str, float] = {}
    for day in history:
        for token, share in day.get("tokens", {}).get(column, {}).items():
            totals[token] = totals.get(token, 0.0) + share
    return sorted(totals, key=lambda token: (-totals[token], token))[:TOP]
