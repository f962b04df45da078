"""Judge a night's model, the champion and the baseline on the same samples."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.errors import TrainingError
from features.lake import Lake
from features.spec import FLOWS, Layout, Spec, layout_of
from jobs.home import Home
from jobs.runs import results
from jobs.timing import Stopwatch
from jobs.train import registry_of
from training.artifact import Scorer, load
from training.data import Dataset, read_days
from training.registry import Registry
from validation.comparison import Comparison, compare
from validation.drift import MaskDrift, keep_rates, mask_drift
from validation.gate import sanity
from validation.metrics import CellMetrics, by_cell

Probabilities = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Model:
    """One of the models judged tonight, with what it says of the judged samples."""

    role: str
    """challenger, champion or baseline."""
    version: str
    probabilities: Probabilities
    """[n, M]; NaN in a cell the model does not know."""
    flows: NDArray[np.floating] | None
    """[n, M, 4] strengths, 0 for a pruned flow; None for a model without flows."""
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
        samples = _judged_samples(lake, layout_of(spec), judge)
    with watch.step("score"):
        models = _models(registry, version, samples, home)
    with watch.step("compare"):
        comparisons = _compare(spec, models, samples)
        drift = _drift(models, samples, spec)
    with watch.step("write"):
        _write(lake, day, judge, models, samples, layout_of(spec))
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


def _judged_samples(lake: Lake, layout: Layout, judge: Mapping[str, date]) -> Dataset:
    """Return the rows of all judge days; a task's labels count on its own judge day only."""
    version = lake.open("encoded").version()
    samples = read_days(lake, layout, sorted(set(judge.values())), version)
    labels = samples.labels.copy()
    for m, task in enumerate(layout.tasks):
        labels[samples.ds != np.datetime64(judge[task]), m] = np.nan
    return replace(samples, labels=labels)


def _models(registry: Registry, version: str, samples: Dataset, home: Home) -> dict[str, _Model]:
    """Score the samples with every model there is: role → model."""
    versions = {"challenger": (version, "challenger"), "baseline": (version, "baseline")}
    champion = registry.champion()
    if champion is not None and champion.version != version:
        versions["champion"] = (champion.version, "challenger")
    found = {}
    with home.scratch() as scratch:
        for role, (number, part) in versions.items():
            folder = registry.download(number, scratch / role, part)
            found[role] = _judge(role, number, load(folder), samples)
    return found


def _judge(role: str, version: str, scorer: Scorer, samples: Dataset) -> _Model:
    """Score the samples; the model may come from an older spec with other tasks."""
    scores, flows = scorer.score(samples), scorer.flows(samples)
    probabilities = np.full(samples.labels.shape, np.nan)
    strengths = None if flows is None else np.zeros((*samples.labels.shape, len(FLOWS)))
    for m, task in enumerate(samples.layout.tasks):
        if task not in scorer.layout.tasks:
            continue
        theirs = scorer.layout.tasks.index(task)
        probabilities[:, m] = scores[:, theirs]
        if strengths is not None and flows is not None:
            strengths[:, m] = np.nan_to_num(flows[:, theirs])
    return _Model(
        role=role,
        version=version,
        probabilities=probabilities,
        flows=strengths,
        metrics=by_cell(
            probabilities, samples.labels, samples.scenario, samples.user, samples.layout
        ),
    )


def _compare(spec: Spec, models: Mapping[str, _Model], samples: Dataset) -> list[Comparison]:
    if "champion" not in models:
        return []
    return compare(
        models["champion"].probabilities,
        models["challenger"].probabilities,
        samples.labels,
        samples.scenario,
        samples.user,
        samples.layout,
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


def _write(
    lake: Lake,
    day: date,
    judge: Mapping[str, date],
    models: Mapping[str, _Model],
    samples: Dataset,
    layout: Layout,
) -> None:
    """Replace the night's rows of ``metrics`` and ``masks``."""
    ds = day.isoformat()
    metrics = [
        {
            "ds": ds,
            "version": model.version,
            "role": model.role,
            "judged_on": judge[cell.task].isoformat() if cell.task else "",
            **row,
        }
        for model in models.values()
        for cell in model.metrics
        for row in cell.rows()
    ]
    masks = [
        {"ds": ds, "version": model.version, "role": model.role, **row}
        for model in models.values()
        if model.flows is not None
        for row in _mask_rows(model.flows, samples, layout)
    ]
    lake.replace("metrics", {"ds": ds}, pa.Table.from_pylist(metrics))
    if masks:
        lake.replace("masks", {"ds": ds}, pa.Table.from_pylist(masks))


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
        role: {(cell.scenario, cell.task): cell for cell in model.metrics}
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
            "ne": cell.ne,
            "pcoc": cell.pcoc,
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
