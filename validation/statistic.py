"""A measure with its uncertainty, in a form in which means and differences keep theirs.

AUC and log loss are taken in every cell and, pooled over scenarios, of every task; a scenario and
the whole are means over tasks. What two models do on the same samples is strongly alike, so the
error of a difference comes from the samples, never from two separate errors.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from validation.cells import Judged, losses
from validation.intervals import (
    Estimate,
    Floats,
    auc_influence,
    bootstrap_sums,
    interval,
)

Group = tuple[int | None, int | None]
"""(scenario, task) indices; None stands for all scenarios, or for the mean over tasks."""


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """A value and how it varies."""

    value: float
    variation: Floats
    """Each user's part in the error, or the value in each resample; empty: not asked for."""
    resampled: bool
    """Which of the two ``variation`` is."""

    @property
    def error(self) -> float | None:
        """The standard error; None when the variation was not asked for."""
        if len(self.variation) == 0:
            return None
        if self.resampled:
            return float(np.nanstd(self.variation, ddof=1))
        return float(np.sqrt(self.variation @ self.variation))

    def estimate(self, confidence: float) -> Estimate:
        """Return the value with its interval."""
        error = self.error
        if error is None:
            return Estimate(value=self.value)
        return interval(self.value, error, confidence)

    def minus(self, other: "Statistic") -> "Statistic":
        """Return the difference to the same measure of another model on the same samples."""
        return Statistic(
            value=self.value - other.value,
            variation=self.variation - other.variation,
            resampled=self.resampled,
        )


def auc_statistics(
    probabilities: Floats, samples: Judged, *, intervals: bool
) -> dict[Group, Statistic]:
    """Return the AUC of every cell and task that has both classes and finite predictions."""
    found: dict[Group, Statistic] = {}
    for group in cell_groups(samples):
        rows = samples.rows(*group)
        scores, positive = probabilities[rows, group[1]], samples.labels[rows, group[1]] > 0
        if positive.all() or not positive.any() or not np.isfinite(scores).all():
            continue
        area, parts = auc_influence(scores, positive)
        users = samples.clusters[rows]
        sums = np.bincount(users, parts, samples.users) if intervals else np.empty(0)
        by_user: Floats = sums.astype(np.float64)
        found[group] = Statistic(value=area, variation=by_user, resampled=False)
    return found


def logloss_statistics(
    probabilities: Floats, samples: Judged, *, replicates: int, seed: int
) -> dict[Group, Statistic]:
    """Return the log loss of every cell and task that has labels and finite predictions."""
    found: dict[Group, Statistic] = {}
    lost = losses(probabilities, samples.labels)
    resampled = _resampled_means(lost, samples, replicates, seed) if replicates else {}
    for group in cell_groups(samples):
        values = lost[samples.rows(*group), group[1]]
        if len(values) and np.isfinite(values).all():
            found[group] = Statistic(
                value=float(values.mean()),
                variation=resampled.get(group, np.empty(0)),
                resampled=True,
            )
    return found


def with_means(
    found: dict[Group, Statistic], samples: Judged, among: Container[Group]
) -> dict[Group, Statistic]:
    """Return ``found`` and the means over tasks: per scenario, and of the pooled tasks.

    Args:
        found: statistics of cells and pooled tasks.
        samples: what they were taken on.
        among: the cells and pooled tasks that may enter a mean.
    """
    means: dict[Group, Statistic] = {}
    for k in (*range(len(samples.layout.scenarios)), None):
        parts = [found[k, m] for m in _tasks(samples) if (k, m) in found and (k, m) in among]
        if parts:
            means[k, None] = _mean(parts)
    return {**found, **means}


def cell_groups(samples: Judged) -> list[tuple[int | None, int]]:
    """Return every cell, then every task over all scenarios."""
    scenarios = (*range(len(samples.layout.scenarios)), None)
    return [(k, m) for k in scenarios for m in _tasks(samples)]


def _tasks(samples: Judged) -> Iterable[int]:
    return range(len(samples.layout.tasks))


def _mean(parts: list[Statistic]) -> Statistic:
    return Statistic(
        value=sum(part.value for part in parts) / len(parts),
        variation=np.mean([part.variation for part in parts], axis=0),
        resampled=parts[0].resampled,
    )


def _resampled_means(
    lost: Floats, samples: Judged, replicates: int, seed: int
) -> dict[Group, NDArray[np.float64]]:
    """Return the mean loss of each cell and pooled task in each resample of the users."""
    sums = samples.user_sums(np.nan_to_num(lost))
    counts = samples.user_sums(np.ones_like(lost))
    drawn = bootstrap_sums(np.hstack([sums, counts]), replicates=replicates, seed=seed)
    shape = (replicates, 2, len(samples.layout.scenarios), len(samples.layout.tasks))
    cells = drawn.reshape(shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = cells[:, 0] / cells[:, 1]
        pooled = cells[:, 0].sum(axis=1) / cells[:, 1].sum(axis=1)
    return {(k, m): pooled[:, m] if k is None else means[:, k, m] for k, m in cell_groups(samples)}
