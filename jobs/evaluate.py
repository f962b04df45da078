"""Judge a night's model, the champion and the baseline on the same samples."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.errors import RegistryError, TrainingError
from features.lake import Lake
from features.spec import FLOWS, Layout, Spec, layout_of
from jobs import drift as drifting
from jobs.home import Home
from jobs.runs import results
from jobs.scoring import answers, scores
from jobs.settle import settle
from jobs.timing import Stopwatch
from jobs.train import registry_of
from jobs.trial import PROVISIONAL, Model, Trial, exam_of, hold, write_metrics
from training.data import Dataset
from training.registry import Registry
from training.schedule import SEARCHED_ON
from validation.drift import MaskDrift, Reading, keep_rates, mask_drift, mask_readings
from validation.drift.predictions import prediction_drift
from validation.gate import sanity
from validation.reliability import curves

log = logging.getLogger(__name__)


def evaluate(*, spec: Spec, lake: Lake, home: Home, day: date) -> dict[str, Any]:
    """Judge the version registered for ``day``; write ``metrics``, ``masks``, ``drift``.

    Every task is judged on the newest day with mature labels of it; no model here was trained on
    that day's labels. While the version is already champion there is nothing to compare it with.
    Earlier nights' models are judged on the day after theirs once ``day`` brought its labels.

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
    watch = Stopwatch()
    with watch.step("settle"):
        settled = settle(spec=spec, lake=lake, home=home, day=day)
    if _is_current(said.get("evaluate"), version, registry):
        return {**said["evaluate"], "settled": settled, "skipped": True}
    judge = {task: date.fromisoformat(ds) for task, ds in said["train"]["split"]["judge"].items()}
    with watch.step("read"):
        exam = exam_of(spec, lake, judge)
        probe, drawn = drifting.probe(spec, lake, day)
    with watch.step("score"):
        scored = scores(registry, version, exam.samples, probe, home)
        searched = _searched_before(registry, version, exam.samples, home)
    with watch.step("measure"):
        trial = hold(spec, exam, scored)
    with watch.step("compare"):
        comparisons = trial.comparisons
    challenger, champion = trial.models["challenger"], trial.models.get("champion")
    with watch.step("drift"):
        flows = champion.flows if champion else None
        drift = _mask_drift(spec, flows, challenger.flows, exam.samples)
        since = _mask_drift(spec, searched, challenger.flows, exam.samples)
        readings = [*drifting.inputs(spec, lake, day), *_predictions(spec, lake, day, trial, probe)]
        readings += mask_readings(spec.drift, drift, since) if drift else []
    with watch.step("write"):
        write_metrics(lake, day, PROVISIONAL, trial.metric_rows())
        _write_masks(lake, day, trial.models, exam.samples)
        drifting.write(lake, day, readings, version, champion.version if champion else None)
    return {
        "version": version,
        "champion": champion.version if champion else None,
        "judged": {task: ds.isoformat() for task, ds in judge.items()},
        "probe_rows": len(exam.samples),
        "cells": trial.cells(),
        "masks": _masks(challenger, drift, exam.samples, layout_of(spec), spec),
        "agreement": drift.agreement if drift else None,
        "chance": drift.chance if drift else None,
        "chance_low": drift.chance_low if drift else None,
        "chance_high": drift.chance_high if drift else None,
        "flips_since_search": since.flipped if since else None,
        "drift": {
            "findings": drifting.findings(readings),
            "readings": len(readings),
            "probe": {"drawn": drawn, "rows": len(probe)},
        },
        "comparisons": [asdict(one) for one in comparisons],
        "checks": [
            asdict(one)
            for one in sanity(challenger.probabilities, exam.samples.labels, challenger.metrics)
        ],
        "reliability": _reliability(trial),
        "settled": settled,
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


def _present(spec: Spec) -> NDArray[np.bool_]:
    """Return which cells exist, [K, M]."""
    return np.array(
        [[spec.has(scenario, task) for task in spec.tasks] for scenario in spec.scenarios.names]
    )


def _mask_drift(
    spec: Spec,
    before: NDArray[np.floating] | None,
    after: NDArray[np.floating] | None,
    samples: Dataset,
) -> MaskDrift | None:
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


def _searched_before(
    registry: Registry, version: str, samples: Dataset, home: Home
) -> NDArray[np.floating] | None:
    """Return the flows, on the samples, of the newest model of the search before this one's."""
    own = registry.get(version).tags.get(SEARCHED_ON)
    earlier = [
        one
        for one in registry.list()
        if own and (one.tags.get(SEARCHED_ON) or own) < own and one.version != version
    ]
    if not earlier:
        return None
    last = max(earlier, key=lambda one: (one.tags.get("ds", ""), int(one.version)))
    try:
        found = answers(registry, {"searched": (last.version, "challenger")}, samples, home)
    except RegistryError as error:
        log.warning("flips since the last search are not known: %s", error)
        return None
    return found["searched"].flows


def _reliability(trial: Trial) -> list[dict[str, Any]]:
    """Return the reliability curves of challenger and champion."""
    return [
        {"role": role, **curve.to_json()}
        for role in ("challenger", "champion")
        if role in trial.models
        for curve in curves(trial.models[role].probabilities, trial.exam.asked)
    ]


def _predictions(spec: Spec, lake: Lake, day: date, trial: Trial, probe: Dataset) -> list[Reading]:
    """Compare what challenger and champion say of the probe samples."""
    models = [trial.models.get(role) for role in ("champion", "challenger")]
    before, after = (None if one is None else one.probe for one in models)
    if before is None or after is None:
        return []
    past = drifting.learned(lake, day)
    return prediction_drift(spec, before, after, probe.scenario, probe.user, past)


def _write_masks(lake: Lake, day: date, models: Mapping[str, Model], samples: Dataset) -> None:
    """Replace the night's rows of ``masks``."""
    ds = day.isoformat()
    masks = [
        {"ds": ds, "version": model.version, "role": model.role, **row}
        for model in models.values()
        if model.flows is not None
        for row in _mask_rows(model.flows, samples, samples.layout)
    ]
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


def _masks(
    challenger: Model,
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
