"""Cells and their sums: the groups every measure is taken over, and each user's part in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.spec import Layout
from validation.intervals import Floats, Ints

SMALLEST = 1e-7
"""Probabilities are kept this far from 0 and 1 before their logarithm is taken."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Samples to judge predictions on, in a form that measures are quick to take from."""

    labels: Floats
    """[n, M]: 0, 1, or NaN where there is no label to judge."""
    scenario: Ints
    """[n]: index in the layout."""
    clusters: Ints
    """[n]: index of the user, from 0."""
    layout: Layout

    @property
    def users(self) -> int:
        """How many different users there are."""
        return int(self.clusters.max()) + 1 if len(self.clusters) else 0

    def rows(self, k: int | None, m: int) -> Ints:
        """Return the samples of a cell, or of a task over all scenarios when ``k`` is None."""
        known = ~np.isnan(self.labels[:, m])
        return np.flatnonzero(known if k is None else known & (self.scenario == k))

    def user_sums(self, values: Floats) -> Floats:
        """Return each user's sum of ``values`` [n, M] in each cell, as [users, K·M].

        Samples without a label count as 0.
        """
        scenarios, tasks = len(self.layout.scenarios), len(self.layout.tasks)
        filled = np.where(np.isnan(self.labels), 0.0, values)
        place = self.clusters * scenarios + self.scenario
        columns: list[Floats] = [
            np.bincount(place, weights=filled[:, m], minlength=self.users * scenarios).astype(
                np.float64
            )
            for m in range(tasks)
        ]
        return np.stack(columns, axis=1).reshape(self.users, scenarios * tasks)


def judged(
    labels: NDArray[np.floating],
    scenario: NDArray[np.integer],
    users: NDArray[np.generic] | Sequence[object],
    layout: Layout,
) -> Judged:
    """Return the samples ready to be judged.

    Raises:
        ValueError: when shapes disagree or a scenario index is not in the layout.
    """
    known: Floats = np.asarray(labels, dtype=np.float64)
    where: Ints = np.asarray(scenario, dtype=np.int64)
    clusters = np.unique(np.asarray(users), return_inverse=True)[1].astype(np.int64)
    if known.shape != (len(where), len(layout.tasks)) or len(clusters) != len(where):
        raise ValueError(
            f"labels {known.shape}, scenario {where.shape} and users {clusters.shape} must be "
            f"[n, {len(layout.tasks)}], [n] and [n]"
        )
    if len(where) and not 0 <= where.min() <= where.max() < len(layout.scenarios):
        raise ValueError(f"scenario indices must be in 0…{len(layout.scenarios) - 1}")
    return Judged(labels=known, scenario=where, clusters=clusters, layout=layout)


def losses(probabilities: NDArray[np.floating], labels: Floats) -> Floats:
    """Return each label's log loss in nats [n, M]; NaN without a label or a finite prediction."""
    sure = np.where(labels > 0, probabilities, 1.0 - np.asarray(probabilities, dtype=np.float64))
    found = -np.log(np.clip(sure, SMALLEST, 1.0))
    return np.where(np.isnan(labels) | ~np.isfinite(sure), np.nan, found)
