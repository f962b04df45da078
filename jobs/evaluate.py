"""Judge a night's model, the champion and the baseline on the same samples."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

import pyarrow as pa

from features.errors import RegistryError, TrainingError
from features.lake import Lake
from features.spec import Spec
from jobs import drift as drifting
from jobs.home import Home
from jobs.masking import Strengths, drift_of, mask_rows, masks_of, said_of
from jobs.runs import results
from jobs.scoring import answers, scores
from jobs.settle import settle
from jobs.timing import Stopwatch
from jobs.train import registry_of
from jobs.trial import PROVISIONAL, Model, Trial, exam_of, hold, write_metrics
from training.data import Dataset
from training.registry import Registry
from training.schedule import SEARCHED_ON
from validation.drift import Reading, mask_readings
from validation.drift.predictions import prediction_drift
from validation.gate import sanity

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
        drift = drift_of(spec, flows, challenger.flows, exam.samples)
        since = drift_of(spec, searched, challenger.flows, exam.samples)
        readings = [*drifting.inputs(spec, lake, day), *_predictions(spec, lake, day, trial, probe)]
        readings += mask_readings(spec.drift, drift, since)
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
        "masks": masks_of(spec, challenger.flows, drift, exam.samples),
        **said_of(drift),
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
        "reliability": trial.curves(),
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


def _searched_before(
    registry: Registry, version: str, samples: Dataset, home: Home
) -> Strengths | None:
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
        for row in mask_rows(model.flows, samples)
    ]
    if masks:
        lake.replace("masks", {"ds": ds}, pa.Table.from_pylist(masks))
