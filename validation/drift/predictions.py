"""Prediction drift: what two models say of the same samples, which never change."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from features.spec import Spec
from features.spec.policy import Drift, DriftMeasure
from validation.cells import SMALLEST
from validation.drift.reading import Reading, judged_by
from validation.intervals import Estimate, Floats, Ints, interval
from validation.stability import stability

PARTS = 10
"""Parts of equal size, by the earlier model, in which scores are compared."""
_SMOOTH = 0.5

Learned = Callable[[DriftMeasure, str, str], float]
"""(measure, scenario, task) → how far it moved on earlier nights anyway."""


def prediction_drift(
    spec: Spec,
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    scenario: Ints,
    users: NDArray[np.generic],
    learned: Learned,
) -> list[Reading]:
    """Compare two models' predictions of the probe samples, in every cell that both know.

    Args:
        spec: its cells, and in ``drift`` the limits.
        before: [n, M] predictions of the champion.
        after: [n, M] those of the challenger.
        scenario: [n] indices.
        users: [n] whom a sample belongs to; intervals take whole users.
        learned: how far a measure moved from night to night before.
    """
    found: list[Reading] = []
    clusters = np.unique(users, return_inverse=True)[1]
    for k, name in enumerate(spec.scenarios.names):
        for m, task in enumerate(spec.tasks):
            rows = np.flatnonzero(
                (scenario == k) & np.isfinite(before[:, m]) & np.isfinite(after[:, m])
            )
            if len(rows) and spec.has(name, task):
                old, new = (model[rows, m].astype(np.float64) for model in (before, after))
                found += _cell(spec.drift, name, task, old, new, clusters[rows], learned)
    return found


def _cell(
    policy: Drift,
    scenario: str,
    task: str,
    before: Floats,
    after: Floats,
    users: Ints,
    learned: Learned,
) -> Iterator[Reading]:
    usual, now = float(before.mean()), float(after.mean())
    mean = _mean(after / usual - 1, users)
    shifts = np.abs(_logit(after) - _logit(before))
    shift = _mean(shifts, users)
    where = f"{task} in {scenario}"
    told: Mapping[DriftMeasure, tuple[float, float | None, Estimate, str]] = {
        "prediction-mean": (
            now,
            usual,
            mean,
            f"{where}: predicted {now:.2%} on average, by the champion {usual:.2%}",
        ),
        "prediction-psi": (
            _shape(before, after),
            None,
            Estimate(),
            f"{where}: predictions are spread otherwise than the champion's",
        ),
        "logit-shift": (
            float(shifts.mean()),
            None,
            shift,
            f"{where}: a prediction is {shifts.mean():.2f} off the champion's, in logits",
        ),
    }
    for measure, (value, other, bounds, text) in told.items():
        moved = abs(now / usual - 1) if measure == "prediction-mean" else value
        reading = Reading(
            kind="prediction",
            measure=measure,
            scenario=scenario,
            task=task,
            value=value,
            usual=other,
            moved=moved,
            low=bounds.low,
            high=bounds.high,
            n=len(before),
            text=text,
        )
        yield judged_by(policy, reading, learned(measure, scenario, task))


def _shape(before: Floats, after: Floats) -> float:
    """Return the stability index of the scores, in the earlier model's parts of equal size."""
    edges = np.unique(np.quantile(before, np.arange(1, PARTS) / PARTS))
    shares = []
    for scores in (before, after):
        counts = np.bincount(np.searchsorted(edges, scores), minlength=len(edges) + 1) + _SMOOTH
        shares.append({str(part): n / counts.sum() for part, n in enumerate(counts)})
    return stability(*shares)


def _mean(values: Floats, users: Ints) -> Estimate:
    """Return the mean with its interval, for samples of which a user may have several."""
    off = np.bincount(users, values - values.mean())
    return interval(float(values.mean()), float(np.sqrt(off @ off)) / len(values), 0.95)


def _logit(chances: Floats) -> Floats:
    kept = np.clip(chances, SMALLEST, 1 - SMALLEST)
    return np.log(kept) - np.log1p(-kept)
