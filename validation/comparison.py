"""Champion against challenger on the same samples: who is better where, and how sure is that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from features.spec import Layout
from validation.cells import Count, Group, Judged, judged
from validation.intervals import REPLICATES, Estimate, holm, p_value
from validation.statistic import Measured, Statistic
from validation.statistic import measure as take

Measure = Literal["logloss", "auc"]
Verdict = Literal["better", "worse", "same", "insufficient"]
Tolerance = float | Callable[[str, str], float]
"""How much worse a cell may be: one number, or a function of scenario and task."""

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
    tolerance: Tolerance = 0.0,
    confidence: float = 0.95,
    minimum: int = 30,
    replicates: int = REPLICATES,
    seed: int = 1,
) -> list[Comparison]:
    """Compare two models' predictions of the same samples.

    A cell is *worse* when the challenger is worse by more than ``tolerance`` and *better* when it
    is better at all, each beyond chance at ``confidence``, two-sided, with Holm's correction over
    the cells (and over the pooled tasks). *insufficient*: fewer than ``minimum`` positives,
    negatives or users, or a prediction that is not finite. The whole, ``('', '')``, is the mean
    over the pooled tasks that suffice and has no tolerance: a model must not be worse on the whole.

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
        minimum: positives, negatives and users that a cell needs.
        replicates: resamples of the bootstrap.
        seed: of the resampling.

    Returns:
        Every cell that has labels, then the pooled tasks, then the whole.

    Raises:
        ValueError: when shapes disagree.
    """
    samples = judged(labels, scenario, users, layout)
    before, after = (
        take(np.asarray(model, dtype=np.float64), samples, replicates=replicates, seed=seed)
        for model in (champion, challenger)
    )
    return compare_measured(
        before,
        after,
        samples,
        measure=measure,
        tolerance=tolerance,
        confidence=confidence,
        minimum=minimum,
    )


def compare_measured(
    before: Measured,
    after: Measured,
    samples: Judged,
    *,
    measure: Measure,
    tolerance: Tolerance,
    confidence: float,
    minimum: int,
) -> list[Comparison]:
    """Compare as :func:`compare` what was measured of both models on the same samples."""
    enough = _enough(samples, minimum)
    old, new = (found.with_means(measure, samples, enough) for found in (before, after))
    if (None, None) in old and (None, None) in new:
        enough.add((None, None))
    scenarios = range(len(samples.layout.scenarios))
    groups = [cell for cell in samples.cells if cell[0] is None or cell[0] in scenarios]
    judge = _Judge(measure, tolerance, confidence, samples)
    return judge.all([*groups, (None, None)], old, new, enough)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Challenger minus champion in any measure."""

    change: Estimate
    p: float
    """Probability of so large a difference between equals, adjusted within cells, slices, …"""


def differences(
    before: Measured, after: Measured, samples: Judged, *, confidence: float, minimum: int
) -> dict[tuple[str, Group], Difference]:
    """Return (measure, group) → the paired difference, of every group that suffices.

    Args:
        before: of the champion.
        after: of the challenger, on the same samples with the same seed.
        samples: what both were measured on.
        confidence: of the intervals.
        minimum: positives, negatives and users that a cell needs.
    """
    found: dict[tuple[str, Group], Difference] = {}
    for name in after.statistics:
        enough = {cell for cell in _enough(samples, minimum) if after.suffices(name, cell, minimum)}
        old, new = (model.with_means(name, samples, enough) for model in (before, after))
        shared = [group for group in new if group in old and (group in enough or group[1] is None)]
        for family in _families(shared, samples):
            changes = [new[group].minus(old[group]) for group in family]
            chances = holm([_p_value(change) for change in changes])
            for group, change, p in zip(family, changes, chances, strict=True):
                found[name, group] = Difference(change=change.estimate(confidence), p=p)
    return found


def _p_value(change: Statistic) -> float:
    """Return the probability of so large a difference between equals, by its own error."""
    return p_value(round(change.value, _ROUNDING), round(change.error or 0.0, _ROUNDING))


def _enough(samples: Judged, minimum: int) -> set[Group]:
    """Return the cells, slices and pooled tasks that have what it takes to be judged."""
    return {cell for cell in samples.cells if not samples.counts[cell].lacks(minimum)}


def _families(groups: Sequence[Group], samples: Judged) -> list[list[Group]]:
    """Return cells, slices, pooled tasks and the means of each: those tested together."""
    scenarios = len(samples.layout.scenarios)
    members: dict[tuple[str, bool], list[Group]] = {}
    for part, m in groups:
        kind = "all" if part is None else "scenario" if part < scenarios else "slice"
        members.setdefault((kind, m is None), []).append((part, m))
    return list(members.values())


@dataclass(frozen=True)
class _Judge:
    """What every comparison of one call shares."""

    measure: Measure
    tolerance: Tolerance
    confidence: float
    samples: Judged

    def all(
        self,
        groups: Sequence[Group],
        before: dict[Group, Statistic],
        after: dict[Group, Statistic],
        enough: set[Group],
    ) -> list[Comparison]:
        """Return the judged comparison of every group that has labels."""
        counts = self.samples.counts
        known = [group for group in groups if counts[group].n > 0]
        found = {g: self._one(g, counts[g], before.get(g), after.get(g)) for g in known}
        return self._judged(found, enough)

    def _one(
        self,
        group: Group,
        count: Count,
        before: Statistic | None,
        after: Statistic | None,
    ) -> Comparison:
        """Return a group's numbers, not yet adjusted nor judged."""
        names = self.samples.names(group)
        found = Comparison(
            scenario=names["scenario"],
            task=names["task"],
            measure=self.measure,
            n=count.n,
            positives=count.positives,
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
        beyond = found.worsening - self._allowed(found)
        return replace(
            found,
            p=p_value(difference, error),
            p_worse=p_value(beyond, error) if beyond > 0 else 1.0,
        )

    def _allowed(self, one: Comparison) -> float:
        """Return how much worse a group may be; on the whole a model must not be."""
        if not (one.scenario or one.task):
            return 0.0
        allowed = self.tolerance
        return allowed(one.scenario, one.task) if callable(allowed) else allowed

    def _judged(self, found: dict[Group, Comparison], enough: set[Group]) -> list[Comparison]:
        """Adjust the p-values within cells, pooled tasks and the whole; add the verdicts."""
        for groups in _families(list(found), self.samples):
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
