"""Champion against challenger on the same samples: who is better where, and how sure is that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from features.spec import Layout
from validation.cells import Judged, judged
from validation.intervals import REPLICATES, Floats, holm, p_value
from validation.statistic import (
    Group,
    Statistic,
    auc_statistics,
    cell_groups,
    logloss_statistics,
    with_means,
)

Measure = Literal["logloss", "auc"]
Verdict = Literal["better", "worse", "same", "insufficient"]

_ROUNDING = 9
"""Digits kept of differences: below that, two sums of the same terms differ by their order."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Challenger minus champion in a cell; ``''``: all scenarios, or the mean of the tasks."""

    scenario: str
    task: str
    measure: Measure
    n: int
    positives: int
    champion: float | None = None
    challenger: float | None = None
    difference: float | None = None
    """Challenger − champion, in the measure's unit: for logloss, better is below 0."""
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """Probability of so large a difference between equals, adjusted for the number of cells."""
    p_worse: float | None = None
    """The same against a challenger that is worse by exactly the tolerance."""
    verdict: Verdict

    @property
    def name(self) -> str:
        """How sentences call the cell."""
        if self.scenario and self.task:
            return f"{self.scenario} × {self.task}"
        return self.scenario or self.task or "overall"

    @property
    def worsening(self) -> float:
        """How much worse the challenger is, whatever the measure's direction; 0 when unknown."""
        difference = self.difference or 0.0
        return difference if self.measure == "logloss" else -difference


def compare(
    champion: NDArray[np.floating],
    challenger: NDArray[np.floating],
    labels: NDArray[np.floating],
    scenario: NDArray[np.integer],
    users: NDArray[np.generic] | Sequence[object],
    layout: Layout,
    *,
    measure: Measure = "logloss",
    tolerance: float = 0.0,
    confidence: float = 0.95,
    minimum: int = 30,
    replicates: int = REPLICATES,
    seed: int = 1,
) -> list[Comparison]:
    """Compare two models' predictions of the same samples.

    A cell is *worse* when the challenger is worse by more than ``tolerance`` and *better* when it
    is better at all, each beyond chance at ``confidence``, two-sided, with Holm's correction over
    the cells (and over the pooled tasks). *insufficient*: fewer than ``minimum`` positives or
    negatives, or a prediction that is not finite. The whole, ``('', '')``, is the mean over the
    pooled tasks that suffice and has no tolerance: a model must not be worse on the whole.

    Args:
        champion: [n, M] predictions of the model in use.
        challenger: [n, M] predictions of the model on trial.
        labels: [n, M] 0, 1 or NaN.
        scenario: [n] indices in ``layout.scenarios``.
        users: [n] whom a sample belongs to; errors are clustered by them.
        layout: names the scenarios and tasks.
        measure: ``logloss`` (user bootstrap) or ``auc`` (paired DeLong, clustered by user).
        tolerance: how much worse than the champion is still accepted, in the measure's unit.
        confidence: of intervals and verdicts.
        minimum: positives and negatives that a cell needs.
        replicates: resamples of the bootstrap.
        seed: of the resampling.

    Returns:
        Every cell that has labels, then the pooled tasks, then the whole.

    Raises:
        ValueError: when shapes disagree.
    """
    samples = judged(labels, scenario, users, layout)
    counts: dict[Group, tuple[int, int]] = {
        group: _counts(samples, group) for group in cell_groups(samples)
    }
    enough: set[Group] = {
        group for group, (n, ones) in counts.items() if min(ones, n - ones) >= minimum
    }
    take = _taker(measure, samples, replicates, seed)
    before, after = (
        with_means(take(np.asarray(model, dtype=np.float64)), samples, enough)
        for model in (champion, challenger)
    )
    counts[None, None] = _sum([counts[group] for group in counts if group[0] is None])
    if (None, None) in before and (None, None) in after:
        enough.add((None, None))
    return _Judge(measure, tolerance, confidence, layout).all(counts, before, after, enough)


@dataclass(frozen=True)
class _Judge:
    """What every comparison of one call shares."""

    measure: Measure
    tolerance: float
    confidence: float
    layout: Layout

    def all(
        self,
        counts: dict[Group, tuple[int, int]],
        before: dict[Group, Statistic],
        after: dict[Group, Statistic],
        enough: set[Group],
    ) -> list[Comparison]:
        """Return the judged comparison of every group that has labels."""
        known = [group for group, (n, _) in counts.items() if n > 0]
        found = {g: self._one(g, *counts[g], before.get(g), after.get(g)) for g in known}
        return self._families(found, enough)

    def _one(
        self,
        group: Group,
        n: int,
        positives: int,
        before: Statistic | None,
        after: Statistic | None,
    ) -> Comparison:
        """Return a group's numbers, not yet adjusted nor judged."""
        k, m = group
        found = Comparison(
            scenario="" if k is None else self.layout.scenarios[k],
            task="" if m is None else self.layout.tasks[m],
            measure=self.measure,
            n=n,
            positives=positives,
            champion=before.value if before else None,
            challenger=after.value if after else None,
            verdict="insufficient",
        )
        if before is None or after is None:
            return found
        change = after.minus(before)
        error = round(change.error or 0.0, _ROUNDING)
        bounds = change.estimate(self.confidence)
        difference = round(change.value, _ROUNDING)
        found = replace(found, difference=difference, low=bounds.low, high=bounds.high)
        beyond = found.worsening - (0.0 if group == (None, None) else self.tolerance)
        return replace(
            found,
            p=p_value(difference, error),
            p_worse=p_value(beyond, error) if beyond > 0 else 1.0,
        )

    def _families(self, found: dict[Group, Comparison], enough: set[Group]) -> list[Comparison]:
        """Adjust the p-values within cells, pooled tasks and the whole; add the verdicts."""
        members: dict[tuple[bool, bool], list[Group]] = {}
        for k, m in found:
            members.setdefault((k is None, m is None), []).append((k, m))
        for groups in members.values():
            judged_here = [g for g in groups if g in enough and found[g].p is not None]
            equal = holm([found[g].p or 0.0 for g in judged_here])
            worse = holm([found[g].p_worse or 0.0 for g in judged_here])
            for group, p, p_worse in zip(judged_here, equal, worse, strict=True):
                adjusted = replace(found[group], p=p, p_worse=p_worse)
                found[group] = replace(adjusted, verdict=self._verdict(adjusted))
        return list(found.values())

    def _verdict(self, one: Comparison) -> Verdict:
        chance = 1 - self.confidence
        if one.p_worse is not None and one.p_worse < chance:
            return "worse"
        if one.p is not None and one.p < chance and one.worsening < 0:
            return "better"
        return "same"


def _taker(
    measure: Measure, samples: Judged, replicates: int, seed: int
) -> Callable[[Floats], dict[Group, Statistic]]:
    if measure == "auc":
        return lambda model: auc_statistics(model, samples, intervals=True)
    return lambda model: logloss_statistics(model, samples, replicates=replicates, seed=seed)


def _counts(samples: Judged, group: tuple[int | None, int]) -> tuple[int, int]:
    labels = samples.labels[samples.rows(*group), group[1]]
    return len(labels), int(labels.sum())


def _sum(counts: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(n for n, _ in counts), sum(ones for _, ones in counts)
