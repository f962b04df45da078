"""Calibration of each cell, shrunk toward its task's and that toward no change at all.

A cell's logit z becomes ``scale · z + shift`` (Platt 1999): the scale is a temperature, the shift
moves the level that a temperature can't. Both are found by maximum a posteriori on predictions of
days that the model was not trained on. A cell is expected near its task, and a task near (1, 0), up
to the spreads below: many labels overrule that, few don't, and none leave it as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from features.errors import TrainingError

Floats = NDArray[np.float64]
Line = tuple[float, float]
"""(scale, shift)."""

NO_CHANGE: Line = (1.0, 0.0)
SPREAD = (0.1, 0.25)
"""How much scale and shift differ between cells, as standard deviations: a quarter of a logit of
shift is about 22 % of a small probability."""
STEEPEST, FLATTEST = 10.0, 0.05
"""A scale stays between these, above 0: calibration never turns a ranking round."""
SMALLEST = 1e-7
"""Probabilities are kept this far from 0 and 1 before their logit is taken."""
_STEPS = 50
_STILL = 1e-10


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Every cell's line from logit to calibrated logit."""

    scenarios: tuple[str, ...]
    tasks: tuple[str, ...]
    scale: tuple[tuple[float, ...], ...]
    """[K][M]"""
    shift: tuple[tuple[float, ...], ...]
    """[K][M]"""
    labels: tuple[tuple[int, ...], ...]
    """[K][M] how many labels a cell's line was fitted on."""

    def __call__(
        self, probabilities: NDArray[np.floating], scenario: NDArray[np.integer]
    ) -> Floats:
        """Return calibrated probabilities [n, M]; NaN stays NaN.

        Args:
            probabilities: [n, M], in the order of ``tasks``.
            scenario: [n] indices in ``scenarios``.
        """
        return self.of_logits(_logits(probabilities), scenario)

    def of_logits(self, logits: NDArray[np.floating], scenario: NDArray[np.integer]) -> Floats:
        """Return calibrated probabilities [n, M] of logits [n, M]."""
        scale, shift = np.array(self.scale)[scenario], np.array(self.shift)[scenario]
        return _sigmoid(scale * np.asarray(logits, dtype=np.float64) + shift)

    def to_json(self) -> dict[str, Any]:
        """Return the calibration as JSON holds it."""
        return {
            "scenarios": list(self.scenarios),
            "tasks": list(self.tasks),
            "scale": [list(row) for row in self.scale],
            "shift": [list(row) for row in self.shift],
            "labels": [list(row) for row in self.labels],
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Calibration":
        """Return the calibration that :meth:`to_json` wrote."""
        return cls(
            scenarios=tuple(said["scenarios"]),
            tasks=tuple(said["tasks"]),
            scale=tuple(tuple(row) for row in said["scale"]),
            shift=tuple(tuple(row) for row in said["shift"]),
            labels=tuple(tuple(row) for row in said["labels"]),
        )


def fit(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.floating],
    scenario: NDArray[np.integer],
    scenarios: tuple[str, ...],
    tasks: tuple[str, ...],
) -> Calibration:
    """Fit the calibration of every cell.

    Args:
        probabilities: [n, M] predictions of a model that has not seen these labels.
        labels: [n, M] 0, 1 or NaN.
        scenario: [n] indices in ``scenarios``.
        scenarios: K names.
        tasks: M names.

    Raises:
        TrainingError: a prediction that has a label is not a number.
    """
    logits = _logits(probabilities)
    known = ~np.isnan(labels)
    _check(known, logits, tasks)
    lines: dict[tuple[int, int], Line] = {}
    counts = np.zeros((len(scenarios), len(tasks)), dtype=int)
    for m in range(len(tasks)):
        rows = np.flatnonzero(known[:, m])
        whole = fit_line(logits[rows, m], labels[rows, m], NO_CHANGE)
        for k in range(len(scenarios)):
            own = rows[scenario[rows] == k]
            counts[k, m] = len(own)
            lines[k, m] = fit_line(logits[own, m], labels[own, m], whole)

    def table(which: int) -> tuple[tuple[float, ...], ...]:
        places = [[(k, m) for m in range(len(tasks))] for k in range(len(scenarios))]
        return tuple(tuple(lines[place][which] for place in row) for row in places)

    return Calibration(
        scenarios=scenarios,
        tasks=tasks,
        scale=table(0),
        shift=table(1),
        labels=tuple(tuple(row) for row in counts.tolist()),
    )


def fit_line(logits: NDArray[np.floating], labels: NDArray[np.floating], expected: Line) -> Line:
    """Return the most likely (scale, shift) of labels, expected near ``expected``.

    The penalised log likelihood is concave, so that Newton's steps, halved while they overshoot,
    end at its only maximum.

    Args:
        logits: [n], finite.
        labels: [n] 0 or 1.
        expected: the middle of the prior; returned when there is no label.
    """
    middle, precision = np.array(expected), np.diag(1 / np.square(SPREAD))
    design = np.column_stack([np.asarray(logits, dtype=np.float64), np.ones(len(logits))])
    found = middle.copy()
    for _ in range(_STEPS):
        said = _sigmoid(design @ found)
        slope = design.T @ (labels - said) - precision @ (found - middle)
        bend = (design * (said * (1 - said))[:, None]).T @ design + precision
        step = np.linalg.solve(bend, slope)
        found, gained = _climb(design, labels, found, step, middle, precision)
        if gained < _STILL:
            break
    return float(np.clip(found[0], FLATTEST, STEEPEST)), float(found[1])


def _climb(
    design: Floats,
    labels: NDArray[np.floating],
    at: Floats,
    step: Floats,
    middle: Floats,
    precision: Floats,
) -> tuple[Floats, float]:
    """Return the end of a step that climbs, and how much was gained."""

    def height(line: Floats) -> float:
        z, off = design @ line, line - middle
        return float(labels @ z - np.logaddexp(0.0, z).sum() - off @ precision @ off / 2)

    before = height(at)
    for halvings in range(30):
        there = at + step / 2**halvings
        gained = height(there) - before
        if gained >= 0:
            return there, gained
    return at, 0.0


def _check(known: NDArray[np.bool_], logits: Floats, tasks: tuple[str, ...]) -> None:
    for m, task in enumerate(tasks):
        wrong = int((known[:, m] & ~np.isfinite(logits[:, m])).sum())
        if wrong:
            raise TrainingError(
                f"{wrong} predictions of {task} are not numbers, so it can't be calibrated; "
                "train again with a lower training.learning_rate"
            )


def _logits(probabilities: NDArray[np.floating]) -> Floats:
    kept: Floats = np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    return np.log(kept) - np.log1p(-kept)


def _sigmoid(logits: Floats) -> Floats:
    said: Floats = expit(logits)
    return said
