"""Mask drift: what two models keep of each flow, measured on the same samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from features.spec import FLOWS, Layout
from features.spec.policy import Drift, DriftMeasure
from validation.drift.reading import Reading, judged_by
from validation.intervals import REPLICATES, Estimate, Floats, Ints, bootstrap_sums, interval


@dataclass(frozen=True, kw_only=True)
class FlowDrift:
    """One flow of one cell in two models."""

    scenario: str
    task: str
    flow: str
    n: int
    keep_before: float
    keep_after: float
    """Share of the cell's samples that keep the flow."""
    strength_before: float
    strength_after: float
    """Mean strength over the cell's samples, pruned ones as 0."""
    change: Estimate
    """Change of the keep rate; no bounds where both masks are the same for all samples."""
    strength_change: Estimate
    """Change of the mean strength; no bounds where it is the same for all samples."""
    flips: float
    """Share of the cell's samples that keep the flow in one model and not in the other."""


@dataclass(frozen=True, kw_only=True)
class MaskDrift:
    """How much two models' masks have in common."""

    flows: list[FlowDrift]
    agreement: float
    """Share of (sample, task, flow) on which both keep or both prune, cells weighing the same."""
    chance: float
    """Agreement to expect of two unrelated masks that keep as much as these two do."""
    chance_low: float = 1.0
    chance_high: float = 1.0
    """Where 95 of 100 pairs of such masks agree: few flows agree by chance more or less often."""

    @property
    def flipped(self) -> float:
        """Share of the flows that most samples keep in one model and not in the other."""
        return sum(one.flips > 0.5 for one in self.flows) / len(self.flows) if self.flows else 0.0

    @property
    def beyond_chance(self) -> float | None:
        """Agreement above chance, 1 when complete; None when chance alone is complete."""
        return None if self.chance >= 1 else (self.agreement - self.chance) / (1 - self.chance)


@dataclass(frozen=True, kw_only=True)
class KeepRates:
    """What a model keeps, [K, M, 4] each; NaN in scenarios without a sample."""

    keep: Floats
    strength: Floats
    n: Ints
    """[K] samples of each scenario."""


def keep_rates(
    strengths: NDArray[np.floating], scenario: NDArray[np.integer], layout: Layout
) -> KeepRates:
    """Return keep rates and mean strengths per cell and flow.

    Args:
        strengths: [n, M, 4] strength of each flow, 0 for a pruned one.
        scenario: [n] indices in ``layout.scenarios``.
        layout: names the scenarios and tasks.
    """
    strengths = np.asarray(strengths, dtype=np.float64)
    count = np.bincount(scenario, minlength=len(layout.scenarios)).astype(np.int64)
    keep = _cell_means(strengths != 0, scenario, count)
    return KeepRates(keep=keep, strength=_cell_means(strengths, scenario, count), n=count)


def mask_drift(
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    scenario: NDArray[np.integer],
    layout: Layout,
    *,
    users: NDArray[np.generic] | Sequence[object] | None = None,
    present: NDArray[np.bool_] | None = None,
    confidence: float = 0.95,
    replicates: int = REPLICATES,
    seed: int = 1,
) -> MaskDrift:
    """Compare what two models keep, on the same probe samples.

    Args:
        before: [n, M, 4] strengths in the earlier model, 0 for a pruned flow.
        after: [n, M, 4] strengths in the later model.
        scenario: [n] indices in ``layout.scenarios``.
        layout: names the scenarios and tasks.
        users: [n] whom a sample belongs to: resampled whole; left out: every sample by itself.
        present: [K, M] cells that exist; left out: all.
        confidence: of the intervals.
        replicates: resamples behind an interval.
        seed: of the resampling.

    Raises:
        ValueError: when shapes disagree.
    """
    shape = (len(scenario), len(layout.tasks), len(FLOWS))
    if before.shape != shape or after.shape != shape:
        raise ValueError(f"strengths {before.shape} and {after.shape} must both be {shape}")
    old, new = (keep_rates(model, scenario, layout) for model in (before, after))
    flipped = _cell_means((before != 0) != (after != 0), scenario, old.n)
    kept = (after != 0).astype(float) - (before != 0)
    errors, spreads = (
        _mean_errors(change, scenario, users, replicates, seed, len(layout.scenarios))
        for change in (kept, np.asarray(after, float) - before)
    )
    found = [
        FlowDrift(
            scenario=layout.scenarios[k],
            task=layout.tasks[m],
            flow=FLOWS[j],
            n=int(old.n[k]),
            keep_before=float(old.keep[k, m, j]),
            keep_after=float(new.keep[k, m, j]),
            strength_before=float(old.strength[k, m, j]),
            strength_after=float(new.strength[k, m, j]),
            change=_estimate(
                float(new.keep[k, m, j] - old.keep[k, m, j]), errors[k, m, j], confidence
            ),
            strength_change=_estimate(
                float(new.strength[k, m, j] - old.strength[k, m, j]), spreads[k, m, j], confidence
            ),
            flips=float(flipped[k, m, j]),
        )
        for k, m, j in _places(old.n, layout, present)
    ]
    return _summed(found)


def _places(
    counts: Ints, layout: Layout, present: NDArray[np.bool_] | None
) -> Iterator[tuple[int, int, int]]:
    """Yield scenario, task and flow of every cell that exists and has samples."""
    for k, m, j in np.ndindex(len(layout.scenarios), len(layout.tasks), len(FLOWS)):
        if counts[k] and (present is None or present[k, m]):
            yield k, m, j


def _summed(found: list[FlowDrift]) -> MaskDrift:
    """Add the agreement over all flows and what chance would make of it."""
    if not found:
        return MaskDrift(flows=[], agreement=1.0, chance=1.0)
    old = float(np.mean([one.keep_before for one in found]))
    new = float(np.mean([one.keep_after for one in found]))
    low, high = _unrelated(len(found), old, new)
    return MaskDrift(
        flows=found,
        agreement=1 - float(np.mean([one.flips for one in found])),
        chance=old * new + (1 - old) * (1 - new),
        chance_low=low,
        chance_high=high,
    )


def _unrelated(flows: int, old: float, new: float) -> tuple[float, float]:
    """Return between which agreements lie 95 of 100 pairs of random masks that keep as many."""
    first, second = round(old * flows), round(new * flows)
    both = hypergeom(flows, first, second)
    low, high = (1 - (first + second - 2 * both.ppf(part)) / flows for part in (0.025, 0.975))
    return float(low), float(high)


def mask_readings(
    policy: Drift, found: MaskDrift | None, since_search: MaskDrift | None
) -> list[Reading]:
    """Return the rows of the table ``drift`` that compare challenger and champion.

    Args:
        policy: the spec's section ``drift``.
        found: challenger against champion; None without a champion, or without masks.
        since_search: the challenger's masks against those of the search before its own.
    """
    rows = []
    if found is not None and found.flows:
        rows = [reading for one in found.flows for reading in _flow_readings(one)]
        rows.append(_agreement(found))
    if since_search is not None and since_search.flows:
        rows.append(_flips(since_search))
    return [judged_by(policy, row) for row in rows]


def _flow_readings(one: FlowDrift) -> Iterator[Reading]:
    told: tuple[tuple[DriftMeasure, float, float, Estimate, str], ...] = (
        ("keep-rate", one.keep_after, one.keep_before, one.change, "kept by {:.0%}"),
        ("strength", one.strength_after, one.strength_before, one.strength_change, "{:.2f} strong"),
    )
    for measure, now, usual, change, words in told:
        yield Reading(
            kind="mask",
            measure=measure,
            scenario=one.scenario,
            task=one.task,
            subject=one.flow,
            value=now,
            usual=usual,
            moved=abs(now - usual),
            low=change.low,
            high=change.high,
            n=one.n,
            text=f"flow {one.flow} of {one.task} in {one.scenario} is {words.format(now)}, "
            f"in the champion {words.format(usual)}",
        )


def _agreement(found: MaskDrift) -> Reading:
    return Reading(
        kind="mask",
        measure="agreement",
        value=found.agreement,
        usual=found.chance,
        moved=max(found.chance_high - found.agreement, 0.0) if found.chance_high < 1 else 0.0,
        low=found.chance_low,
        high=found.chance_high,
        n=len(found.flows),
        text=f"the masks agree with the champion's on {found.agreement:.0%} of the flows, "
        f"unrelated ones of their size on {found.chance_low:.0%} to {found.chance_high:.0%}",
    )


def _flips(since: MaskDrift) -> Reading:
    n = len(since.flows)
    return Reading(
        kind="mask",
        measure="flips",
        value=since.flipped,
        moved=since.flipped,
        n=n,
        text=f"{round(since.flipped * n)} of {n} flows flipped since the search before",
    )


def _cell_means(
    values: NDArray[np.floating] | NDArray[np.bool_], scenario: NDArray[np.integer], count: Ints
) -> Floats:
    """Return the mean of ``values`` [n, M, 4] in each scenario, as [K, M, 4]."""
    sums = np.stack([values[scenario == k].sum(axis=0) for k in range(len(count))]).astype(float)
    with np.errstate(invalid="ignore"):
        return sums / count[:, None, None]


def _estimate(change: float, error: float, confidence: float) -> Estimate:
    return interval(change, error, confidence) if error > 0 else Estimate(value=change)


def _mean_errors(
    changed: Floats,
    scenario: NDArray[np.integer],
    users: NDArray[np.generic] | Sequence[object] | None,
    replicates: int,
    seed: int,
    scenarios: int,
) -> Floats:
    """Return the standard errors of the means of ``changed`` [n, M, 4] in each scenario.

    [K, M, 4]; 0 where nothing varies.
    """
    errors = np.zeros((scenarios, *changed.shape[1:]))
    who = (
        np.arange(len(scenario))
        if users is None
        else np.unique(np.asarray(users), return_inverse=True)[1]
    )
    for k in range(scenarios):
        rows = np.flatnonzero(scenario == k)
        if len(rows) == 0:
            continue
        values = changed[rows].reshape(len(rows), -1)
        errors[k] = _resampled_errors(values, who[rows], replicates, seed).reshape(errors[k].shape)
    return errors


def _resampled_errors(values: Floats, users: Ints, replicates: int, seed: int) -> Floats:
    """Return the standard errors of the column means of ``values`` when users are resampled."""
    constant = (values == values[0]).all(axis=0)
    if constant.all():
        return np.zeros(values.shape[1])
    clusters = np.unique(users, return_inverse=True)[1]
    sums = np.zeros((int(clusters.max()) + 1, values.shape[1] + 1))
    np.add.at(sums, clusters, np.column_stack([values, np.ones(len(values))]))
    drawn = bootstrap_sums(sums, replicates=replicates, seed=seed)
    spread: Floats = np.std(drawn[:, :-1] / np.maximum(drawn[:, -1:], 1), axis=0, ddof=1)
    return np.where(constant, 0.0, spread)
