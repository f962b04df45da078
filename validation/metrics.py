"""How good predictions are: per cell, slice, scenario and task, and overall, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.spec import Layout
from validation.cells import Bools, Count, Group, Judged, judged
from validation.intervals import REPLICATES, Estimate
from validation.ranking import auc_influence
from validation.statistic import Measured, Statistic, measure

MINIMUM = 30
"""Positives, negatives and users below which an interval would pretend to know."""
ESTIMATES = ("auc", "gauc", "logloss", "ne", "pcoc", "ece")


@dataclass(frozen=True, kw_only=True)
class CellMetrics:
    """The measures of one cell; ``''`` stands for all scenarios, or for the mean over tasks.

    A measure is None where it can't be taken, and has no bounds where too little is behind it.
    """

    scenario: str
    task: str
    slice: str = ""
    """A slice of the spec, over all scenarios; empty: all samples."""
    n: int
    """Labels judged."""
    positives: int
    auc: Estimate | None = None
    """None where only one class was seen, or a prediction was not finite."""
    gauc: Estimate | None = None
    """Mean AUC of the users' days that have both classes, weighted by their impressions."""
    dropped: float | None = None
    """Share of impressions in users' days of a single class, which ``gauc`` leaves out."""
    logloss: Estimate | None = None
    """In nats a label."""
    ne: Estimate | None = None
    """Log loss over that of always predicting the judged labels' own mean; below 1 is useful."""
    pcoc: Estimate | None = None
    """Predicted over observed positives; 1 is calibrated."""
    ece: Estimate | None = None
    """Expected calibration error, in bins of equal size."""
    ece_by_chance: float | None = None
    """What it would be for predictions that are right on average in every bin."""
    note: str = ""
    """Why a measure or its bounds are missing; empty when none is."""

    def rows(self) -> list[dict[str, str | float | int | None]]:
        """Return one row of the table ``metrics`` for each measure there is."""
        plain = {
            "gauc_dropped": self.dropped,
            "ece_by_chance": self.ece_by_chance,
            "n": self.n,
            "positives": self.positives,
        }
        found = {name: getattr(self, name) for name in ESTIMATES} | {
            name: Estimate(value=float(value)) for name, value in plain.items() if value is not None
        }
        return [
            {
                "scenario": self.scenario,
                "task": self.task,
                "slice": self.slice,
                "metric": name,
                "value": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "n": self.n,
                "note": self.note,
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
    days: NDArray[np.generic] | Sequence[object] | None = None,
    slices: Mapping[str, Bools] | None = None,
    confidence: float = 0.95,
    minimum: int = MINIMUM,
    replicates: int = REPLICATES,
    seed: int = 1,
) -> list[CellMetrics]:
    """Measure predictions in every cell, then per scenario, per slice, per task, and overall.

    A task over all scenarios is pooled: one AUC over all its samples. A scenario, a slice and the
    whole are means over tasks. A label to leave out (immature, or of another judge day) is NaN; a
    cell without labels has ``n = 0``.

    Args:
        probabilities: [n, M] predictions.
        labels: [n, M] 0, 1 or NaN.
        scenario: [n] indices in ``layout.scenarios``.
        users: [n] whom a sample belongs to; intervals take whole users.
        layout: names the scenarios and tasks.
        days: [n] the day of each sample; left out: all are of one.
        slices: name → [n] which samples are in it.
        confidence: of the intervals.
        minimum: positives, negatives and users without which a value has no interval.
        replicates: resamples behind an interval other than the AUC's; 0 leaves all intervals out.
        seed: of the resampling.

    Returns:
        Cells scenario by scenario, then those of slices, ``('', task)`` for each, then the means.

    Raises:
        ValueError: when shapes disagree.
    """
    samples = judged(labels, scenario, users, layout, days=days, slices=slices)
    chances = np.asarray(probabilities, dtype=np.float64)
    found = measure(chances, samples, replicates=replicates, seed=seed)
    return cell_metrics(found, samples, confidence=confidence, minimum=minimum)


def cell_metrics(
    found: Measured, samples: Judged, *, confidence: float = 0.95, minimum: int = MINIMUM
) -> list[CellMetrics]:
    """Return what was measured, group by group, in the order of :func:`by_cell`."""
    means = {name: found.with_means(name, samples, samples.counts) for name in ESTIMATES}
    notes = {cell: _note(found, cell, samples.counts[cell], minimum) for cell in samples.cells}

    def one(group: Group) -> CellMetrics:
        parts = [group] if group in notes else [cell for cell in notes if cell[0] == group[0]]
        count, said = samples.counts[group], [notes[part] for part in parts if notes[part]]
        taken = {name: means[name].get(group) for name in ESTIMATES}
        shown = {
            name: _estimate(
                taken[name],
                confidence,
                not said and all(found.suffices(name, part, minimum) for part in parts),
            )
            for name in ESTIMATES
        }
        names = samples.names(group)
        return CellMetrics(
            scenario=names["scenario"],
            task=names["task"],
            slice=names["slice"],
            n=count.n,
            positives=count.positives,
            auc=shown["auc"],
            gauc=shown["gauc"],
            dropped=_dropped(found, parts),
            logloss=shown["logloss"],
            ne=shown["ne"],
            pcoc=shown["pcoc"],
            ece=shown["ece"],
            ece_by_chance=taken["ece"].by_chance if taken["ece"] else None,
            note="; ".join(dict.fromkeys(said)),
        )

    return [one(group) for group in (*samples.cells, *((part, None) for part in samples.parts))]


def _estimate(taken: Statistic | None, confidence: float, enough: bool) -> Estimate | None:
    if taken is None:
        return None
    return taken.estimate(confidence) if enough else Estimate(value=taken.value)


def _dropped(found: Measured, parts: Sequence[Group]) -> float | None:
    """Return the share of impressions in users' days of one class."""
    sums = [found.totals[part] for part in parts if part in found.totals]
    labels = sum(float(one.n) for one in sums)
    return 1 - sum(float(one.ranked) for one in sums) / labels if labels else None


def _note(found: Measured, cell: Group, count: Count, minimum: int) -> str:
    if count.n == 0:
        return "no label to judge"
    if cell not in found.totals:
        return "a prediction is not finite"
    if count.positives in (0, count.n):
        return f"insufficient: only {'positives' if count.positives else 'negatives'}, no AUC"
    lacks = count.lacks(minimum)
    return f"insufficient: {lacks}" if lacks else ""
