"""Reliability curves: how often what a model predicts comes true, in parts of equal size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from validation.cells import Judged
from validation.intervals import Floats
from validation.ranking import Ranked, rank
from validation.sums import bins_of


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Samples with neighbouring predictions."""

    predicted: float
    """Mean prediction."""
    observed: float
    """Share of positives."""
    low: float
    high: float
    """Wilson's interval of ``observed``, for as many independent samples as its users amount to."""
    n: int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The bins of a cell, lowest predictions first; the same that the calibration error adds up."""

    scenario: str
    """Empty: all of them."""
    task: str
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the curve as plain data, with five digits."""
        parts = ("predicted", "observed", "low", "high")
        rows = [[*(round(getattr(one, part), 5) for part in parts), one.n] for one in self.bins]
        return {"scenario": self.scenario, "task": self.task, "bins": rows}


def missed(bins: Sequence[Bin], confidence: float) -> list[bool]:
    """Return which bins are off beyond chance, though so many are looked at (Bonferroni).

    An interval is stretched from the observed share to where all bins together would hold.
    """
    alone = NormalDist().inv_cdf(0.5 + confidence / 2)
    together = NormalDist().inv_cdf(1 - (1 - confidence) / (2 * max(len(bins), 1)))
    found = []
    for one in bins:
        reach = one.high - one.observed if one.predicted > one.observed else one.observed - one.low
        found.append(abs(one.predicted - one.observed) > reach * together / alone)
    return found


def curves(probabilities: Floats, samples: Judged, *, confidence: float = 0.95) -> list[Curve]:
    """Return the curve of every cell and pooled task that has labels and finite predictions.

    Args:
        probabilities: [n, M].
        samples: what they are judged on.
        confidence: of the intervals.
    """
    parts = [*range(len(samples.layout.scenarios)), None]
    found = []
    for m, task in enumerate(samples.layout.tasks):
        chances, labels = probabilities[:, m], samples.labels[:, m]
        rows = np.flatnonzero(~np.isnan(labels) & np.isfinite(chances))
        whole = rank(chances, labels > 0, rows)
        for part in parts:
            own = whole.of(samples.members(part))
            if len(own.rows):
                bins = tuple(_bins(own, chances, samples, confidence))
                name = samples.names((part, m))["scenario"]
                found.append(Curve(scenario=name, task=task, bins=bins))
    return found


def _bins(own: Ranked, chances: Floats, samples: Judged, confidence: float) -> Iterator[Bin]:
    place = bins_of(own)
    for number in np.unique(place):
        inside = place == number
        positive, users = (
            own.positive[inside].astype(np.float64),
            samples.clusters[own.rows[inside]],
        )
        n, observed = len(positive), float(positive.mean())
        by_user = np.bincount(users, positive - observed)
        error = float(np.sqrt(by_user @ by_user)) / n
        # Samples of one user are alike: they count as the fewer samples that vary as much.
        alone = observed * (1 - observed) / error**2 if error else n
        low, high = wilson(observed, min(alone, n), confidence)
        yield Bin(
            predicted=float(chances[own.rows[inside]].mean()),
            observed=observed,
            low=low,
            high=high,
            n=n,
        )


def wilson(share: float, n: float, confidence: float) -> tuple[float, float]:
    """Return Wilson's interval of a share of ``n`` samples (Wilson 1927).

    >>> [round(end, 3) for end in wilson(0.0, 10, 0.95)]
    [0.0, 0.278]
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return max(middle - reach, 0.0), min(middle + reach, 1.0)
