"""Models judged on the same samples: what ``evaluate`` and ``settle`` have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from features.lake import Lake
from features.spec import Spec, layout_of
from jobs.scoring import Scored
from jobs.slices import slices_of
from training.data import Dataset, read_days
from validation.cells import Judged, judged
from validation.comparison import Comparison, compare_measured, differences
from validation.intervals import Estimate
from validation.metrics import CellMetrics, cell_metrics
from validation.reliability import curves
from validation.statistic import Measured, measure

Row = dict[str, Any]

PROVISIONAL, FINAL = "provisional", "final"
"""The ``stage`` of a night's metrics: of days up to its own, and of the day after it."""
_AGAINST = {"challenger": "champion", "uncalibrated": "challenger"}
"""Whom a model's measures are compared with, on the same samples."""


@dataclass(frozen=True, kw_only=True)
class Exam:
    """The samples that models are judged on."""

    samples: Dataset
    asked: Judged
    """The same, in the form that measures are taken from."""
    judge: Mapping[str, date]
    """Task → the day whose labels count; a task without one is not judged."""


@dataclass(frozen=True, kw_only=True)
class Model(Scored):
    """What a model says of the samples, with how good it is."""

    measured: Measured
    metrics: list[CellMetrics]


@dataclass(frozen=True)
class Trial:
    """The models that took an exam: role → model."""

    spec: Spec
    exam: Exam
    models: Mapping[str, Model]

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Challenger against champion in every cell; empty without a champion."""
        if "champion" not in self.models:
            return []
        gate = self.spec.gate
        return compare_measured(
            self.models["champion"].measured,
            self.models["challenger"].measured,
            self.exam.asked,
            measure=gate.measure,
            tolerance=gate.tolerance_of,
            confidence=gate.confidence,
            minimum=gate.minimum,
        )

    def metric_rows(self) -> list[Row]:
        """Return a row for each model, group and measure, with the difference to another model."""
        changes = {role: self._changes(role) for role in self.models}
        judge = self.exam.judge
        return [
            {
                "version": model.version,
                "role": model.role,
                "judged_on": judge[cell.task].isoformat() if cell.task else "",
                **row,
                **changes[role].get(_place(row), _NO_CHANGE),
            }
            for role, model in self.models.items()
            for cell in model.metrics
            if self._is_judged(cell.task)
            for row in cell.rows()
        ]

    def cells(self) -> list[Row]:
        """Return a row for every cell, pooled task, scenario and the whole, models side by side."""
        of = {
            role: {(cell.scenario, cell.task): cell for cell in model.metrics if not cell.slice}
            for role, model in self.models.items()
        }
        compared = {(one.scenario, one.task): one for one in self.comparisons}
        return [
            {
                "scenario": scenario,
                "task": task,
                "n": cell.n,
                "positives": cell.positives,
                "note": cell.note,
                "ne": cell.ne.value if cell.ne else None,
                "pcoc": cell.pcoc.value if cell.pcoc else None,
                **_estimates("", cell),
                **_estimates("champion_", of.get("champion", {}).get((scenario, task))),
                **_estimates("baseline_", of.get("baseline", {}).get((scenario, task))),
                **_difference(self.spec, compared.get((scenario, task))),
            }
            for (scenario, task), cell in of["challenger"].items()
            if not (scenario and task) or self.spec.has(scenario, task)
            if self._is_judged(task)
        ]

    def curves(self) -> list[Row]:
        """Return the reliability curves of challenger and champion."""
        return [
            {"role": role, **curve.to_json()}
            for role in ("challenger", "champion")
            if role in self.models
            for curve in curves(self.models[role].probabilities, self.exam.asked)
        ]

    def _is_judged(self, task: str) -> bool:
        """Return whether a task has its labels; a mean over tasks (no name) wants all of them."""
        judge = self.exam.judge
        return task in judge if task else len(judge) == len(self.spec.tasks)

    def _changes(self, role: str) -> dict[tuple[Any, ...], Row]:
        """Return a metric row's place → the model's difference there to whom it is held against."""
        other = _AGAINST.get(role, "")
        if other not in self.models:
            return {}
        found = differences(
            self.models[other].measured,
            self.models[role].measured,
            self.exam.asked,
            confidence=self.spec.gate.confidence,
            minimum=self.spec.gate.minimum,
        )
        return {
            _place({**self.exam.asked.names(group), "metric": name}): _change(one.change, one.p)
            for (name, group), one in found.items()
        }


def exam_of(spec: Spec, lake: Lake, judge: Mapping[str, date]) -> Exam:
    """Read the judge days; a task's labels count on its own day only."""
    layout, version = layout_of(spec), lake.open("encoded").version()
    days = sorted(set(judge.values()))
    samples = read_days(lake, layout, days, version)
    labels = samples.labels.copy()
    for m, task in enumerate(layout.tasks):
        counts = samples.ds == np.datetime64(judge[task]) if task in judge else False
        labels[~np.broadcast_to(counts, len(samples)), m] = np.nan
    samples = replace(samples, labels=labels)
    asked = judged(
        samples.labels,
        samples.scenario,
        samples.user,
        samples.layout,
        days=samples.ds,
        slices=slices_of(spec, lake, days, version),
    )
    return Exam(samples=samples, asked=asked, judge=judge)


def hold(spec: Spec, exam: Exam, scored: Mapping[str, Scored]) -> Trial:
    """Measure every model on the exam's samples."""
    return Trial(spec, exam, {role: _measured(spec, one, exam) for role, one in scored.items()})


def write_metrics(lake: Lake, day: date, stage: str, rows: Sequence[Row]) -> None:
    """Replace the rows of a night and stage in the table ``metrics``."""
    where = {"ds": day.isoformat(), "stage": stage}
    table = typed(pa.Table.from_pylist([{**where, **row} for row in rows]))
    if lake.exists("metrics") and "stage" not in _columns(lake, "metrics"):
        # A table of an earlier release holds provisional rows only; this commit adds the column.
        where.pop("stage")
    lake.replace("metrics", where, table)


def _columns(lake: Lake, table: str) -> set[str]:
    return {field.name for field in lake.open(table).schema().fields}


def typed(rows: pa.Table) -> pa.Table:
    """Return ``rows`` with numbers where a night has none, as on the first without a champion."""
    kinds = [
        pa.field(field.name, pa.float64()) if pa.types.is_null(field.type) else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(kinds))


def _measured(spec: Spec, one: Scored, exam: Exam) -> Model:
    found, gate = measure(one.probabilities, exam.asked), spec.gate
    return Model(
        **vars(one),
        measured=found,
        metrics=cell_metrics(found, exam.asked, confidence=gate.confidence, minimum=gate.minimum),
    )


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["scenario"], row["task"], row["slice"], row["metric"]


def _change(change: Estimate, p: float | None) -> Row:
    return {"diff": change.value, "diff_low": change.low, "diff_high": change.high, "diff_p": p}


_NO_CHANGE = _change(Estimate(), None)


def _estimates(prefix: str, cell: CellMetrics | None) -> Row:
    found: Row = {}
    for name in ("auc", "logloss"):
        estimate = getattr(cell, name) if cell else None
        found[f"{prefix}{name}"] = estimate.value if estimate else None
        found[f"{prefix}{name}_low"] = estimate.low if estimate else None
        found[f"{prefix}{name}_high"] = estimate.high if estimate else None
    return found


def _difference(spec: Spec, one: Comparison | None) -> Row:
    if one is None:
        return {"difference": None, "diff_low": None, "diff_high": None, "verdict": "none"}
    return {
        "difference": one.difference,
        "diff_low": one.low,
        "diff_high": one.high,
        "verdict": _verdict(spec, one),
    }


def _verdict(spec: Spec, one: Comparison) -> str:
    """Return how the report calls a comparison: *same* is sure or unsure by its interval."""
    if one.verdict != "same" or one.low is None or one.high is None:
        return one.verdict
    worst = one.high if one.measure == "logloss" else -one.low
    allowed = spec.gate.tolerance_of(one.scenario, one.task)
    return "within" if worst <= allowed else "unsure"
