"""Cells, slices and their sums: the groups every measure is taken over, and who is in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.spec import Layout
from validation.intervals import Floats, Ints

SMALLEST = 1e-7
"""Probabilities are kept this far from 0 and 1 before their logarithm is taken."""
BUCKETS = 4096
"""At most so many groups of users are resampled: more would cost time and change no interval."""

Bools = NDArray[np.bool_]
Part = int | None
"""A scenario's index, then a slice's after the last scenario; None stands for all samples."""
Cell = tuple[Part, int]
Group = tuple[Part, int | None]
"""(part, task) indices; None for the task stands for the mean over tasks."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """What a group has to be judged by."""

    n: int = 0
    """Labels."""
    positives: int = 0
    users: int = 0

    def lacks(self, minimum: int) -> str:
        """Return which of positives, negatives and users are fewer than ``minimum``; or nothing.

        >>> Count(n=50, positives=4, users=40).lacks(30)
        '4 positives of 30'
        """
        held = {"positives": self.positives, "negatives": self.n - self.positives}
        few = {**held, "users": self.users}
        return ", ".join(f"{had} {what} of {minimum}" for what, had in few.items() if had < minimum)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Samples to judge predictions on, in a form that measures are quick to take from."""

    labels: Floats
    """[n, M]: 0, 1, or NaN where there is no label to judge."""
    scenario: Ints
    """[n]: index in the layout."""
    clusters: Ints
    """[n]: index of the user, from 0."""
    days: Ints
    """[n]: index of the day, from 0."""
    layout: Layout
    slices: Mapping[str, Bools] = field(default_factory=dict)
    """Name → [n] which samples are in it; they may overlap."""

    @cached_property
    def users(self) -> int:
        """How many different users there are."""
        return int(self.clusters.max()) + 1 if len(self.clusters) else 0

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every scenario, every slice, then all samples."""
        return (*range(len(self.layout.scenarios) + len(self.slices)), None)

    @property
    def cells(self) -> list[Cell]:
        """Every part with every task."""
        return [(part, m) for part in self.parts for m in range(len(self.layout.tasks))]

    def names(self, group: Group) -> dict[str, str]:
        """Return ``scenario``, ``task`` and ``slice`` of a group; empty where it takes all."""
        part, m = group
        scenarios = self.layout.scenarios
        within = part is not None and part < len(scenarios)
        return {
            "scenario": scenarios[part] if part is not None and within else "",
            "task": "" if m is None else self.layout.tasks[m],
            "slice": "" if part is None or within else list(self.slices)[part - len(scenarios)],
        }

    def members(self, part: Part) -> Bools | None:
        """Return which samples [n] are in ``part``; None: all of them."""
        if part is None:
            return None
        inside = len(self.layout.scenarios)
        if part < inside:
            shown: Bools = self.scenario == part
            return shown
        return list(self.slices.values())[part - inside]

    @cached_property
    def counts(self) -> dict[Group, Count]:
        """What every part and task, and every part over its tasks, has to be judged by."""
        found: dict[Group, Count] = {cell: self._count(*cell) for cell in self.cells}
        for part in self.parts:
            tasks = [found[part, m] for m in range(len(self.layout.tasks))]
            found[part, None] = Count(
                n=sum(one.n for one in tasks),
                positives=sum(one.positives for one in tasks),
                users=max(one.users for one in tasks),
            )
        return found

    def _count(self, part: Part, m: int) -> Count:
        known, members = ~np.isnan(self.labels[:, m]), self.members(part)
        rows = np.flatnonzero(known if members is None else known & members)
        seen = np.zeros(self.users, dtype=bool)
        seen[self.clusters[rows]] = True
        return Count(n=len(rows), positives=int(self.labels[rows, m].sum()), users=int(seen.sum()))

    @cached_property
    def buckets(self) -> Ints:
        """[n]: index of the group of users that is resampled whole, from 0.

        A user each while there are at most BUCKETS, and else a random share of them: users are
        independent, so their groups are, and vary as they do.
        """
        if self.users <= BUCKETS:
            return self.clusters
        shuffled = np.random.default_rng(self.users).permutation(self.users) % BUCKETS
        return shuffled[self.clusters]

    @property
    def drawn(self) -> int:
        """How many groups of users are resampled."""
        return min(self.users, BUCKETS)

    @cached_property
    def user_days(self) -> Ints:
        """[n]: index of the user's day, from 0 though not without gaps."""
        width = int(self.days.max()) + 1 if len(self.days) else 1
        return self.clusters * width + self.days


def judged(
    labels: NDArray[np.floating],
    scenario: NDArray[np.integer],
    users: NDArray[np.generic] | Sequence[object],
    layout: Layout,
    *,
    days: NDArray[np.generic] | Sequence[object] | None = None,
    slices: Mapping[str, Bools] | None = None,
) -> Judged:
    """Return the samples ready to be judged; without ``days`` they are all of one day.

    Raises:
        ValueError: when shapes disagree or a scenario index is not in the layout.
    """
    known: Floats = np.asarray(labels, dtype=np.float64)
    where: Ints = np.asarray(scenario, dtype=np.int64)
    clusters = _numbered(users)
    dates = np.zeros(len(where), dtype=np.int64) if days is None else _numbered(days)
    masks = {name: np.asarray(mask, dtype=bool) for name, mask in (slices or {}).items()}
    if known.shape != (len(where), len(layout.tasks)) or len(clusters) != len(where):
        raise ValueError(
            f"labels {known.shape}, scenario {where.shape} and users {clusters.shape} must be "
            f"[n, {len(layout.tasks)}], [n] and [n]"
        )
    for name, values in {"days": dates, **masks}.items():
        if values.shape != where.shape:
            raise ValueError(f"{name} {values.shape} must be [{len(where)}], a value a sample")
    if len(where) and not 0 <= where.min() <= where.max() < len(layout.scenarios):
        raise ValueError(f"scenario indices must be in 0…{len(layout.scenarios) - 1}")
    return Judged(
        labels=known, scenario=where, clusters=clusters, days=dates, layout=layout, slices=masks
    )


def losses(probabilities: NDArray[np.floating], labels: Floats) -> Floats:
    """Return each label's log loss in nats; NaN without a label or a finite prediction."""
    sure = np.where(labels > 0, probabilities, 1.0 - np.asarray(probabilities, dtype=np.float64))
    found = -np.log(np.clip(sure, SMALLEST, 1.0))
    return np.where(np.isnan(labels) | ~np.isfinite(sure), np.nan, found)


def _numbered(values: NDArray[np.generic] | Sequence[object]) -> Ints:
    """Return the index of each value among the different ones, from 0."""
    return np.unique(np.asarray(values), return_inverse=True)[1].astype(np.int64)
