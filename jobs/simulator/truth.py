"""``truth.json``: what was planted, and how well the true probabilities themselves would do."""

from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.spec import FLOWS
from jobs.simulator.events import Day
from jobs.simulator.flows import Truth
from jobs.simulator.shop import BASE_RATES, SCENARIOS, TASKS, Settings, cells
from validation.metrics import auc


def describe(
    settings: Settings, start: date, truth: Truth, days: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the whole truth of a simulation."""
    return {
        "settings": {**vars(settings), "start": start.isoformat()},
        "scenarios": list(SCENARIOS),
        "tasks": list(TASKS),
        "flows": list(FLOWS),
        "cells": [_describe_cell(truth, k, m) for k, m in cells()],
        "days": days,
    }


def describe_day(day: date, events: Day, faults: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Return a day's faults by stream, and for each cell what the true probabilities reach.

    The labels are the outcomes that fell inside their window, wherever they arrived.
    """
    return {
        "ds": day.isoformat(),
        "faults": faults,
        "cells": [_ceiling(events, k, m) for k, m in cells()],
    }


def _describe_cell(truth: Truth, k: int, m: int) -> dict[str, Any]:
    return {
        "scenario": SCENARIOS[k],
        "task": TASKS[m],
        "base_rate": BASE_RATES[TASKS[m]][k],
        "flows": {
            name: {"kind": truth.kind(k, m, j), "coefficient": float(truth.coefficients[k, m, j])}
            for j, name in enumerate(FLOWS)
        },
    }


def _ceiling(events: Day, k: int, m: int) -> dict[str, Any]:
    rows = events.places == k
    chances, labels = events.probabilities[rows, m], events.labels[rows, m]
    area = auc(chances, labels)
    return {
        "scenario": SCENARIOS[k],
        "task": TASKS[m],
        "n": len(labels),
        "positives": int(labels.sum()),
        "mean_probability": round(float(chances.mean()), 6) if len(chances) else None,
        "auc": None if area is None else round(area, 6),
        "logloss": _logloss(chances, labels),
    }


def _logloss(chances: NDArray[np.float64], labels: NDArray[np.float64]) -> float | None:
    if len(labels) == 0:
        return None
    return round(float(-np.log(np.where(labels > 0, chances, 1 - chances)).mean()), 6)
