"""Judge a night's model, the champion and the baseline on the same samples."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.conditions import parse
from features.errors import TrainingError
from features.lake import Lake
from features.spec import FLOWS, Layout, Spec, layout_of
from jobs.home import Home
from jobs.runs import results
from jobs.scoring import Scored, scores
from jobs.timing import Stopwatch
from jobs.train import registry_of
from training.data import Dataset, read_days
from training.registry import Registry
from validation.cells import Bools, Judged, judged
from validation.comparison import Comparison, compare_measured, differences
from validation.drift import MaskDrift, keep_rates, mask_drift
from validation.gate import sanity
from validation.intervals import Estimate
from validation.metrics import CellMetrics, cell_metrics
from validation.statistic import Measured, measure


@dataclass(frozen=True, kw_only=True)
class _Model(Scored):
    """The same, with how good it is."""

    measured: Measured
    metrics: list[CellMetrics]


def evaluate(*, spec: Spec, lake: Lake, home: Home, day: date) -> dict[str, Any]:
    """Judge the version registered for ``day``; write the tables ``metrics`` and ``masks``.

    Every task is judged on the newest day with mature labels of it; no model here was trained on
    that day's labels. While the version is already champion there is nothing to compare it with.

    Raises:
        TrainingError: when the night has no trained, registered model.
    """
    said = results(lake, day)
    if "train" not in said or "register" not in said:
        raise TrainingError(
            f"{spec.product} has no registered model of {day}; run autoifs train and "
            f"autoifs register --ds {day} first"
        )
    version = str(said["register"]["version"])
    registry = registry_of(spec, home)
    if _is_current(said.get("evaluate"), version, registry):
        return {**said["evaluate"], "skipped": True}
    watch = Stopwatch()
    judge = {task: date.fromisoformat(ds) for task, ds in said["train"]["split"]["judge"].items()}
    with watch.step("read"):
        samples, slices = _judged_samples(spec, lake, judge)
        asked = judged(
            samples.labels,
            samples.scenario,
            samples.user,
            samples.layout,
            days=samples.ds,
            slices=slices,
        )
    with watch.step("score"):
        validation = _read_validation(spec, lake, said["train"]["split"])
        scored = scores(registry, version, samples, validation, home)
    with watch.step("measure"):
        models = {role: _measure(spec, one, asked) for role, one in scored.items()}
    with watch.step("compare"):
        comparisons = _compare(spec, models, asked)
        drift = _drift(models, samples, spec)
    with watch.step("write"):
        _write(lake, day, _metric_rows(spec, judge, models, asked), models, samples)
    challenger = models["challenger"]
    return {
        "version": version,
        "champion": models["champion"].version if "champion" in models else None,
        "judged": {task: ds.isoformat() for task, ds in judge.items()},
        "probe_rows": len(samples),
        "cells": _cells(spec, models, comparisons),
        "masks": _masks(challenger, drift, samples, layout_of(spec), spec),
        "agreement": drift.agreement if drift else None,
        "chance": drift.chance if drift else None,
        "comparisons": [asdict(one) for one in comparisons],
        "checks": [
            asdict(one)
            for one in sanity(challenger.probabilities, samples.labels, challenger.metrics)
        ],
        "steps": watch.seconds,
    }


def _is_current(before: Mapping[str, Any] | None, version: str, registry: Registry) -> bool:
    """Return whether the night was already judged against the champion of this moment."""
    champion = registry.champion()
    return (
        before is not None
        and before["version"] == version
        and champion is not None
        and champion.version in (version, before["champion"])
    )


def _judged_samples(
    spec: Spec, lake: Lake, judge: Mapping[str, date]
) -> tuple[Dataset, dict[str, Bools]]:
    """Return the rows of all judge days, and which of them are in each slice of the spec.

    A task's labels count on its own judge day only.
    """
    layout, version = layout_of(spec), lake.open("encoded").version()
    days = sorted(set(judge.values()))
    samples = read_days(lake, layout, days, version)
    labels = samples.labels.copy()
    for m, task in enumerate(layout.tasks):
        labels[samples.ds != np.datetime64(judge[task]), m] = np.nan
    return replace(samples, labels=labels), _slices(spec, lake, days, version)


def _slices(spec: Spec, lake: Lake, days: list[date], version: int) -> dict[str, Bools]:
    """Return slice → which rows of the days are in it, in the order of ``read_days``."""
    asked = {name: parse(text) for name, text in spec.evaluation.slices.items()}
    if not asked:
        return {}
    columns = dict.fromkeys(column for one in asked.values() for column in one.columns)
    wanted = [day.isoformat() for day in days]
    rows = lake.open("encoded", version).to_pyarrow_table(
        filters=[("ds", "in", wanted)], columns=["ds", "sample_id", *columns]
    )
    rows = rows.sort_by([("ds", "ascending"), ("sample_id", "ascending")])
    return {name: condition.holds(rows) for name, condition in asked.items()}


def _read_validation(spec: Spec, lake: Lake, split: Mapping[str, Any]) -> Dataset:
    """Return the days that the night's model was chosen on, but not trained on."""
    days = [date.fromisoformat(ds) for ds in split["validate"]]
    return read_days(lake, layout_of(spec), days, lake.open("encoded").version())


def _measure(spec: Spec, one: Scored, asked: Judged) -> _Model:
    measured = measure(one.probabilities, asked)
    gate = spec.gate
    return _Model(
        **vars(one),
        measured=measured,
        metrics=cell_metrics(measured, asked, confidence=gate.confidence, minimum=gate.minimum),
    )


def _compare(spec: Spec, models: Mapping[str, _Model], asked: Judged) -> list[Comparison]:
    if "champion" not in models:
        return []
    return compare_measured(
        models["champion"].measured,
        models["challenger"].measured,
        asked,
        measure=spec.gate.measure,
        tolerance=spec.gate.tolerance,
        confidence=spec.gate.confidence,
        minimum=spec.gate.minimum,
    )


def _present(spec: Spec) -> NDArray[np.bool_]:
    """Return which cells exist, [K, M]."""
    return np.array(
        [[spec.has(scenario, task) for task in spec.tasks] for scenario in spec.scenarios.names]
    )


def _drift(models: Mapping[str, _Model], samples: Dataset, spec: Spec) -> MaskDrift | None:
    after = models["challenger"].flows
    before = models["champion"].flows if "champion" in models else None
    if before is None or after is None:
        return None
    return mask_drift(
        before,
        after,
        samples.scenario,
        samples.layout,
        users=samples.user,
        present=_present(spec),
    )


def _metric_rows(
    spec: Spec, judge: Mapping[str, date], models: Mapping[str, _Model], asked: Judged
) -> list[dict[str, Any]]:
    """Return a row for every model, group and measure, with the difference to another model."""
    changes = {role: _changes(spec, models, role, asked) for role in models}
    return [
        {
            "version": model.version,
            "role": model.role,
            "judged_on": judge[cell.task].isoformat() if cell.task else "",
            **row,
            **changes[role].get(_place(row), _NO_CHANGE),
        }
        for role, model in models.items()
        for cell in model.metrics
        for row in cell.rows()
    ]


_AGAINST = {"challenger": "champion", "calibrated": "challenger"}
"""Whom a model's measures are compared with, on the same samples."""


def _changes(
    spec: Spec, models: Mapping[str, _Model], role: str, asked: Judged
) -> dict[tuple[Any, ...], dict[str, float | None]]:
    """Return a metric row's place → the model's difference there to the one it is held against."""
    other = _AGAINST.get(role, "")
    if other not in models:
        return {}
    found = differences(
        models[other].measured,
        models[role].measured,
        asked,
        confidence=spec.gate.confidence,
        minimum=spec.gate.minimum,
    )
    return {
        _place({**asked.names(group), "metric": name}): _change(one.change, one.p)
        for (name, group), one in found.items()
    }


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["scenario"], row["task"], row["slice"], row["metric"]


def _change(change: Estimate, p: float | None) -> dict[str, float | None]:
    return {"diff": change.value, "diff_low": change.low, "diff_high": change.high, "diff_p": p}


_NO_CHANGE = _change(Estimate(), None)


def _write(
    lake: Lake,
    day: date,
    metrics: list[dict[str, Any]],
    models: Mapping[str, _Model],
    samples: Dataset,
) -> None:
    """Replace the night's rows of ``metrics`` and ``masks``."""
    ds = day.isoformat()
    masks = [
        {"ds": ds, "version": model.version, "role": model.role, **row}
        for model in models.values()
        if model.flows is not None
        for row in _mask_rows(model.flows, samples, samples.layout)
    ]
    rows = pa.Table.from_pylist([{"ds": ds, **row} for row in metrics])
    lake.replace("metrics", {"ds": ds}, _typed(rows))
    if masks:
        lake.replace("masks", {"ds": ds}, pa.Table.from_pylist(masks))


def _typed(rows: pa.Table) -> pa.Table:
    """Return ``rows`` with numbers where a night has none, as on the first without a champion."""
    kinds = [
        pa.field(field.name, pa.float64()) if pa.types.is_null(field.type) else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(kinds))


def _mask_rows(
    flows: NDArray[np.floating], samples: Dataset, layout: Layout
) -> list[dict[str, Any]]:
    rates = keep_rates(flows, samples.scenario, layout)
    return [
        {
            "scenario": scenario,
            "task": task,
            "flow": flow,
            "keep_rate": float(rates.keep[k, m, j]),
            "strength": float(rates.strength[k, m, j]),
            "n": int(rates.n[k]),
        }
        for k, scenario in enumerate(layout.scenarios)
        if rates.n[k]
        for m, task in enumerate(layout.tasks)
        for j, flow in enumerate(FLOWS)
    ]


def _cells(
    spec: Spec, models: Mapping[str, _Model], comparisons: list[Comparison]
) -> list[dict[str, Any]]:
    """Return a row for every cell, pooled task, scenario and the whole, all models side by side."""
    of = {
        role: {(cell.scenario, cell.task): cell for cell in model.metrics if not cell.slice}
        for role, model in models.items()
    }
    compared = {(one.scenario, one.task): one for one in comparisons}
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
            **_difference(spec, compared.get((scenario, task))),
        }
        for (scenario, task), cell in of["challenger"].items()
        if not (scenario and task) or spec.has(scenario, task)
    ]


def _estimates(prefix: str, cell: CellMetrics | None) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in ("auc", "logloss"):
        estimate = getattr(cell, name) if cell else None
        found[f"{prefix}{name}"] = estimate.value if estimate else None
        found[f"{prefix}{name}_low"] = estimate.low if estimate else None
        found[f"{prefix}{name}_high"] = estimate.high if estimate else None
    return found


def _difference(spec: Spec, one: Comparison | None) -> dict[str, Any]:
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
    return "within" if worst <= spec.gate.tolerance else "unsure"


def _masks(
    challenger: _Model,
    drift: MaskDrift | None,
    samples: Dataset,
    layout: Layout,
    spec: Spec,
) -> list[dict[str, Any]]:
    """Return a row for every flow of every cell, with the champion's beside it."""
    if challenger.flows is None:
        return []
    before = {(one.scenario, one.task, one.flow): one for one in drift.flows} if drift else {}
    rows = []
    for row in _mask_rows(challenger.flows, samples, layout):
        if not spec.has(row["scenario"], row["task"]):
            continue
        one = before.get((row["scenario"], row["task"], row["flow"]))
        rows.append(
            {
                **row,
                "champion_keep_rate": one.keep_before if one else None,
                "champion_strength": one.strength_before if one else None,
                "flip": bool(one and one.flips > 0.5),
            }
        )
    return rows
