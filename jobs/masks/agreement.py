"""How much two masks have in common, against masks that have nothing to do with each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from features.spec import Layout
from validation.drift import mask_drift

Table = NDArray[np.floating]
"""[K, M, 4] share of samples that keep each flow, NaN where there is no cell or no sample."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of two masks, or the mean over pairs of several."""

    what: str
    agreement: float
    """Share of the flows that both keep or both prune."""
    chance: float
    """What to expect of unrelated masks that keep as much."""
    low: float
    high: float
    """Where 95 of 100 pairs of such masks lie."""
    pairs: int = 1


def agree(what: str, one: Table, other: Table, layout: Layout) -> Agreement:
    """Compare two tables; a flow counts as kept where most samples keep it."""
    places = np.arange(len(layout.scenarios))
    exists = np.asarray(~np.isnan(one + other).any(axis=2))
    first, second = ((np.nan_to_num(table) > 0.5).astype(float) for table in (one, other))
    found = mask_drift(first, second, places, layout, present=exists, replicates=2)
    return Agreement(
        what=what,
        agreement=found.agreement,
        chance=found.chance,
        low=found.chance_low,
        high=found.chance_high,
    )


def agree_all(what: str, tables: list[Table], layout: Layout) -> Agreement | None:
    """Return the mean over all pairs of tables; None for fewer than two."""
    return mean_of(what, [agree(what, *pair, layout) for pair in combinations(tables, 2)])


def mean_of(what: str, found: Sequence[Agreement]) -> Agreement | None:
    """Return the mean of agreements; None of none."""
    if not found:
        return None

    def mean(name: str) -> float:
        return float(np.mean([getattr(one, name) for one in found]))

    return Agreement(
        what=what,
        agreement=mean("agreement"),
        chance=mean("chance"),
        low=mean("low"),
        high=mean("high"),
        pairs=sum(one.pairs for one in found),
    )
