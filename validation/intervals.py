"""How sure a number is: intervals and tests for AUC and for means, clustered by user.

People bring several samples each, and those are alike: whole users are resampled, never rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SIGMAS = 3.0
"""Standard errors that a value may be off what is usual before it counts."""
REPLICATES = 1000
_CHUNK = 50


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with the interval around it; no bounds when nothing tells how it varies."""

    value: float | None = None
    """None: not known."""
    low: float | None = None
    high: float | None = None


UNKNOWN = Estimate()


def interval(value: float, error: float, confidence: float) -> Estimate:
    """Return the normal interval around ``value`` for a standard error.

    >>> round(interval(0.5, 0.1, 0.95).low, 3)
    0.304
    """
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * error
    return Estimate(value=value, low=round(value - reach, 9), high=round(value + reach, 9))


def prediction_reach(values: Sequence[float]) -> float:
    """Return how far from their mean one more value may be; of one value nothing is known.

    Half of Student's prediction interval: what lies outside is as rare as ``SIGMAS`` standard
    errors.
    """
    n = len(values)
    if n < 2:
        return math.inf
    inside = NormalDist().cdf(SIGMAS)
    return float(stdtrit(n - 1, inside)) * stdev(values) * math.sqrt(1 + 1 / n)


def p_value(difference: float, error: float) -> float:
    """Return the two-sided probability of so large a difference when there is none.

    >>> round(p_value(1.96, 1.0), 3)
    0.05
    """
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return math.erfc(abs(difference) / error / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979, step-down), in the given order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def bootstrap_sums(sums: Floats, *, replicates: int = REPLICATES, seed: int = 1) -> Floats:
    """Return what ``sums`` add up to when whole users are drawn anew.

    Each replicate weighs each user with a Poisson(1) number: the bootstrap's draw with
    replacement, in a form that adds up with one matrix product.

    Args:
        sums: [users, columns], each user's own sums.
        replicates: number of resamples.
        seed: of the draws; the same seed gives the same weights to the same users.

    Returns:
        [replicates, columns].
    """
    rng = np.random.default_rng(seed)
    found = np.empty((replicates, sums.shape[1]))
    for first in range(0, replicates, _CHUNK):
        rows = min(_CHUNK, replicates - first)
        draws = rng.integers(1 << 16, size=(rows, len(sums)), dtype=np.uint16)
        found[first : first + rows] = _POISSON[draws] @ sums
    return found


def _poisson_table() -> Floats:
    """Return the Poisson(1) quantile of each of the 2^16 equally likely draws.

    A look-up is ten times as fast as the generator's own, which a million users would feel.
    """
    chances = np.array([math.exp(-1) / math.factorial(count) for count in range(12)])
    middles = (np.arange(1 << 16) + 0.5) / (1 << 16)
    return np.searchsorted(np.cumsum(chances), middles).astype(np.float64)


_POISSON = _poisson_table()
