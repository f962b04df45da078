"""How good predictions are: per cell, per scenario, per task and overall, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.spec import Layout
from validation.cells import Judged, judged
from validation.intervals import REPLICATES, Estimate, Floats, auc_influence
from validation.statistic import (
    Group,
    Statistic,
    auc_statistics,
    cell_groups,
    logloss_statistics,
    with_means,
)


@dataclass(frozen=True, kw_only=True)
class CellMetrics:
    """The measures of one cell; ``''`` stands for all scenarios, or for the mean over tasks."""

    scenario: str
    task: str
    n: int
    """Labels judged."""
    positives: int
    auc: Estimate | None = None
    """None where only one class was seen, or a prediction was not finite."""
    logloss: Estimate | None = None
    """In nats a label."""
    ne: float | None = None
    """Log loss over that of always predicting the judged labels' own mean; below 1 is useful."""
    pcoc: float | None = None
    """Predicted over observed positives; 1 is calibrated."""
    note: str = ""
    """Why a measure is missing; empty when none is."""

    def rows(self) -> list[dict[str, str | float | int | None]]:
        """Return one row of the table ``metrics`` for each measure there is."""
        plain = {"ne": self.ne, "pcoc": self.pcoc, "n": self.n, "positives": self.positives}
        found = {"auc": self.auc, "logloss": self.logloss} | {
            name: Estimate(value=float(value)) for name, value in plain.items() if value is not None
        }
        return [
            {
                "scenario": self.scenario,
                "task": self.task,
                "metric": name,
                "value": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "n": self.n,
            }
            for name, estimate in found.items()
            if estimate is not None
        ]


def auc(scores: NDArray[np.floating], labels: NDArray[np.floating]) -> float | None:
    """Return the AUC of ``scores`` [n] (ties count half); None when there is only one class.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 0, 1, 1]))
    0.875
    """
    positive = np.asarray(labels) > 0
    if positive.all() or not positive.any():
        return None
    return auc_influence(np.asarray(scores, dtype=np.float64), positive)[0]


def by_cell(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.floating],
    scenario: NDArray[np.integer],
    users: NDArray[np.generic] | Sequence[object],
    layout: Layout,
    *,
    confidence: float = 0.95,
    replicates: int = REPLICATES,
    seed: int = 1,
) -> list[CellMetrics]:
    """Measure predictions in every cell, then per scenario, per task, and overall.

    A task over all scenarios is pooled: one AUC over all its samples. A scenario, and the whole,
    is the mean over tasks. A label to leave out (immature, or of another judge day) is NaN; a cell
    without labels has ``n = 0``.

    Args:
        probabilities: [n, M] predictions.
        labels: [n, M] 0, 1 or NaN.
        scenario: [n] indices in ``layout.scenarios``.
        users: [n] whom a sample belongs to; intervals take whole users.
        layout: names the scenarios and tasks.
        confidence: of the intervals.
        replicates: resamples behind the log loss's interval; 0 leaves all intervals out.
        seed: of the resampling.

    Returns:
        Cells scenario by scenario, ``('', task)`` for each, ``(scenario, '')``, then ``('', '')``.

    Raises:
        ValueError: when shapes disagree.
    """
    samples = judged(labels, scenario, users, layout)
    chances = np.asarray(probabilities, dtype=np.float64)
    areas = auc_statistics(chances, samples, intervals=replicates > 0)
    lost = logloss_statistics(chances, samples, replicates=replicates, seed=seed)
    areas, lost = (with_means(found, samples, found) for found in (areas, lost))
    plain: dict[Group, _Plain] = {
        group: _plain(chances, samples, group, lost.get(group)) for group in cell_groups(samples)
    }
    for k in (*range(len(layout.scenarios)), None):
        plain[k, None] = _together([plain[k, m] for m in range(len(layout.tasks))])
    return [
        CellMetrics(
            scenario="" if k is None else layout.scenarios[k],
            task="" if m is None else layout.tasks[m],
            auc=areas[k, m].estimate(confidence) if (k, m) in areas else None,
            logloss=lost[k, m].estimate(confidence) if (k, m) in lost else None,
            **vars(counted),
        )
        for (k, m), counted in plain.items()
    ]


@dataclass(frozen=True, kw_only=True)
class _Plain:
    """The measures without an interval."""

    n: int
    positives: int
    ne: float | None
    pcoc: float | None
    note: str


def _plain(chances: Floats, samples: Judged, group: Group, lost: Statistic | None) -> _Plain:
    """Return a cell's or pooled task's counts, normalised entropy and calibration."""
    k, m = group
    assert m is not None  # noqa: S101 (cells and pooled tasks only)
    rows = samples.rows(k, m)
    labels, predicted = samples.labels[rows, m], chances[rows, m]
    positives = int(labels.sum())
    entropy = _entropy(positives, len(rows))
    calibrated = positives > 0 and lost is not None
    return _Plain(
        n=len(rows),
        positives=positives,
        ne=lost.value / entropy if lost is not None and entropy > 0 else None,
        pcoc=float(predicted.sum()) / positives if calibrated else None,
        note=_note(positives, len(rows), bool(np.isfinite(predicted).all())),
    )


def _together(parts: list[_Plain]) -> _Plain:
    """Return the mean over tasks of what is known of them; labels add up."""
    return _Plain(
        n=sum(part.n for part in parts),
        positives=sum(part.positives for part in parts),
        ne=_mean_known([part.ne for part in parts]),
        pcoc=_mean_known([part.pcoc for part in parts]),
        note="; ".join(dict.fromkeys(part.note for part in parts if part.note)),
    )


def _mean_known(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _entropy(positives: int, n: int) -> float:
    """Return the log loss of the best constant prediction, in nats; 0 for a single class."""
    if positives in (0, n):
        return 0.0
    share = positives / n
    return -share * math.log(share) - (1 - share) * math.log(1 - share)


def _note(positives: int, n: int, finite: bool) -> str:
    if n == 0:
        return "no label to judge"
    if not finite:
        return "a prediction is not finite"
    if positives in (0, n):
        return f"only {'positives' if positives else 'negatives'}: no AUC"
    return ""
