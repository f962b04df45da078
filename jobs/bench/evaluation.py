"""``autoifs bench eval``: what judging a model costs, and how often its intervals are right."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from sklearn.metrics import roc_auc_score

from features.errors import UserError
from features.spec import Layout
from jobs.bench.coverage import GOAL as SHARES
from jobs.bench.coverage import MEASURES, WORLDS, coverage
from jobs.console import STDERR
from validation.cells import Judged, judged
from validation.comparison import differences
from validation.intervals import REPLICATES
from validation.metrics import CellMetrics, cell_metrics
from validation.statistic import measure

Result = dict[str, Any]
Arrays = dict[str, NDArray[Any]]

LAYOUT = Layout(scenarios=("feed", "search", "live"), tasks=("click", "purchase"), columns=())
GOAL = 2.0
"""Seconds for a million samples in six cells, with intervals."""
USERS, DAYS = 10, 2
"""Samples a user, and days they fall on."""
SEED = 7
CLOSE = 1e-9


def bench(*, rows: int, repeats: int, draws: int) -> Result:
    """Time all measures of made-up predictions, each step in seconds of one core.

    Args:
        rows: samples; each has a prediction for two tasks, so that 3 scenarios make 6 cells.
        repeats: how often everything is done; the medians are told.
        draws: how often each world is drawn to count how many intervals hold the truth.

    Returns:
        ``seconds`` of each step, ``ratio`` of all measures to scikit-learn's AUC alone,
        ``coverage`` (world → measure → share of 95 % intervals that hold the truth), and ``goal``
        with ``met``.

    Raises:
        UserError: an AUC that is not scikit-learn's.
    """
    shop = _market(rows)
    taken = [_once(shop) for _ in range(repeats)]
    seconds = {step: statistics.median(one[step] for one in taken) for step in taken[0]}
    _require_agreement(_areas(shop), _reference(shop))
    goal = GOAL * rows / 1_000_000
    found: Result = {
        "rows": rows,
        "cells": len(LAYOUT.scenarios) * len(LAYOUT.tasks),
        "seconds": {step: round(value, 3) for step, value in seconds.items()},
        "ratio": round(seconds["all measures"] / seconds["scikit-learn AUC"], 2),
        "ratio_with_intervals": round(seconds["with intervals"] / seconds["scikit-learn AUC"], 2),
        "goal": goal,
        "coverage": {world: coverage(draw, draws) for world, draw in WORLDS.items()},
    }
    found["met"] = seconds["with intervals"] <= goal and not _off(found["coverage"])
    _show(found)
    return found


def _require_agreement(ours: dict[str, float], theirs: dict[str, float]) -> None:
    for name, value in theirs.items():
        if abs(ours[name] - value) > CLOSE:
            raise UserError(
                f"the AUC of {name} is {ours[name]} and scikit-learn's is {value}; "
                "the times can't be compared"
            )


def _market(rows: int) -> Arrays:
    """Return 32-bit predictions of two models, labels, scenario, user and day."""
    random = np.random.default_rng(SEED)
    logits = random.normal([-1.0, -3.0], 1.0, (rows, 2))
    noise = random.normal(0.0, 0.3, (rows, 2))
    chances = 1 / (1 + np.exp(-logits))
    return {
        "before": (1 / (1 + np.exp(-logits - noise))).astype(np.float32).astype(np.float64),
        "after": chances.astype(np.float32).astype(np.float64),
        "labels": (random.random((rows, 2)) < chances).astype(np.float64),
        "scenario": random.choice(3, rows, p=[0.7, 0.2, 0.1]),
        "user": random.integers(0, max(rows // USERS, 1), rows),
        "day": random.integers(0, DAYS, rows),
    }


def _once(shop: Arrays) -> dict[str, float]:
    samples = _samples(shop)
    before, after = (measure(shop[model], samples) for model in ("before", "after"))
    return {
        "all measures": _timed(lambda: _measured(shop, replicates=0)),
        "with intervals": _timed(lambda: _measured(shop, replicates=REPLICATES)),
        "paired differences": _timed(
            lambda: differences(before, after, samples, confidence=0.95, minimum=30)
        ),
        "scikit-learn AUC": _timed(lambda: _reference(shop)),
    }


def _samples(shop: Arrays) -> Judged:
    return judged(shop["labels"], shop["scenario"], shop["user"], LAYOUT, days=shop["day"])


def _measured(shop: Arrays, replicates: int) -> list[CellMetrics]:
    """Do all that a model's evaluation does once its predictions are there."""
    samples = _samples(shop)
    return cell_metrics(measure(shop["after"], samples, replicates=replicates), samples)


def _timed(work: Callable[[], Any]) -> float:
    """Return the processor's seconds, which other work on the machine changes little."""
    started = time.process_time()
    work()
    return time.process_time() - started


def _areas(shop: Arrays) -> dict[str, float]:
    return {
        f"{cell.scenario} × {cell.task}": float(cell.auc.value)
        for cell in _measured(shop, replicates=0)
        if cell.scenario and cell.task and cell.auc and cell.auc.value is not None
    }


def _reference(shop: Arrays) -> dict[str, float]:
    """Return the AUC of each cell as scikit-learn finds it."""
    found = {}
    for k, scenario in enumerate(LAYOUT.scenarios):
        rows = shop["scenario"] == k
        for m, task in enumerate(LAYOUT.tasks):
            labels, chances = shop["labels"][rows, m], shop["after"][rows, m]
            if 0 < labels.sum() < len(labels):
                found[f"{scenario} × {task}"] = float(roc_auc_score(labels, chances))
    return found


def _off(shares: dict[str, dict[str, float]]) -> list[str]:
    """Return the measures whose intervals hold the truth too rarely or too often."""
    low, high = SHARES
    return [
        f"{measure} of {world}"
        for world, held in shares.items()
        for measure, share in held.items()
        if not low <= share <= high
    ]


def _show(found: Result) -> None:
    table = Table(
        "step", "CPU seconds", title=f"{found['rows']:,} samples in {found['cells']} cells"
    )
    for step, seconds in found["seconds"].items():
        table.add_row(step, f"{seconds:.3f}")
    STDERR.print(table)
    STDERR.print(
        f"all measures cost {found['ratio']} times scikit-learn's AUC of each cell, with intervals "
        f"{found['ratio_with_intervals']} times; goal {found['goal']:g} s with intervals"
    )
    held = Table("95 % intervals of", *found["coverage"], title="that hold the truth")
    for name in MEASURES:
        shares = (world.get(name) for world in found["coverage"].values())
        held.add_row(name, *("–" if share is None else f"{share:.1%}" for share in shares))
    STDERR.print(held)
    off = ", ".join(_off(found["coverage"]))
    STDERR.print(
        f"goal {SHARES[0]:.0%} to {SHARES[1]:.0%}: {f'missed by {off}' if off else 'met'}; "
        f"all goals {'met' if found['met'] else 'missed'}"
    )
