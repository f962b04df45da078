"""A day's samples as a few counts: what is kept of a day to compare later days with.

A profile has a count for each scenario, feature and bin. Tokens are bins of their own while they
are frequent; numbers fall into a grid that is the same for all days and features, fine enough for
any coarser bins that a comparison wants.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from validation.intervals import Ints

NULL, NEW, OTHER = "null", "new", "other"
"""Bins of values that are absent, of tokens first seen that day (counted with the known ones, and
there only when it is known which are new), and of tokens without a bin of their own."""
TOP = 64
"""Tokens of a scenario's feature that a day keeps apart: its most frequent ones."""
_FINENESS, _NEAR = 4, 1024
"""Bins of the grid each time a number doubles, and how near to 0 doubling begins (1/1024)."""

Counts = Mapping[str, int]
"""Bin → samples."""
Place = tuple[str, str]
"""Scenario and feature."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature's values of a day."""

    name: str
    values: NDArray[np.int64] | NDArray[np.float32]
    """[v] token indices, 0 for none or unknown; or numbers, NaN for null."""
    scenario: Ints
    """[v] index of each value's scenario; a multi-value feature has several values a sample."""
    tokens: bool
    first_new: int | None = None
    """The index from which tokens were first seen that day; None: nobody knows, as on days that
    were built before there was a vocabulary."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What is kept of a day."""

    rows: Counts = field(default_factory=dict)
    """Scenario → samples."""
    bins: Mapping[Place, Counts] = field(default_factory=dict)

    def frequent(self) -> dict[Place, set[str]]:
        """Return the tokens and bins that the profile keeps apart."""
        return {place: {*counts} - {NULL, NEW, OTHER} for place, counts in self.bins.items()}

    def table(self) -> Iterator[dict[str, str | int]]:
        """Yield the rows of the table ``profiles``; a scenario's samples have no feature."""
        for scenario, n in self.rows.items():
            yield {"scenario": scenario, "feature": "", "bin": "", "n": n}
        for (scenario, feature), counts in self.bins.items():
            for name, n in counts.items():
                yield {"scenario": scenario, "feature": feature, "bin": name, "n": n}


def read_profile(rows: Collection[Mapping[str, object]]) -> Profile:
    """Return the profile of which ``rows`` of the table ``profiles`` tell."""
    bins: dict[Place, dict[str, int]] = {}
    sizes: dict[str, int] = {}
    for row in rows:
        scenario, feature, n = str(row["scenario"]), str(row["feature"]), int(str(row["n"]))
        if feature:
            bins.setdefault((scenario, feature), {})[str(row["bin"])] = n
        else:
            sizes[scenario] = n
    return Profile(rows=sizes, bins=bins)


def profile_of(
    features: Iterable[Feature],
    scenario: Ints,
    scenarios: tuple[str, ...],
    kept: Mapping[Place, Collection[str]],
) -> Profile:
    """Count a day.

    Args:
        features: its features, one at a time.
        scenario: [n] index of each sample's scenario.
        scenarios: their names.
        kept: scenario and feature → tokens that earlier days keep apart, and so does this one.
    """
    sizes = np.bincount(scenario, minlength=len(scenarios))
    bins: dict[Place, Counts] = {}
    for feature in features:
        count = _count_tokens if feature.tokens else _count_numbers
        for k, name in enumerate(scenarios):
            own = feature.values[feature.scenario == k]
            if len(own):
                bins[name, feature.name] = count(own, feature, kept.get((name, feature.name), ()))
    rows = {name: int(n) for name, n in zip(scenarios, sizes, strict=True)}
    return Profile(rows=rows, bins=bins)


def grid(values: NDArray[np.floating]) -> Ints:
    """Return the bin of each number: 0 around 0, and four more each time it doubles.

    >>> grid(np.array([0.0, 0.5, 1.0, -1.0])).tolist()
    [0, 36, 40, -40]
    """
    size = np.floor(_FINENESS * np.log2(1 + np.abs(values.astype(np.float64)) * _NEAR))
    signed: Ints = (np.sign(values) * size).astype(np.int64)
    return signed


def edge(bin_: int) -> float:
    """Return the number nearest to 0 in a bin of the grid.

    >>> round(edge(40), 6), round(edge(-40), 6)
    (1.0, -1.0)
    """
    size = (2 ** (abs(bin_) / _FINENESS) - 1) / _NEAR
    return -size if bin_ < 0 else float(size)


def _count_numbers(
    values: NDArray[np.floating], feature: Feature, kept: Collection[str]
) -> dict[str, int]:
    known = values[~np.isnan(values)]
    found, counts = np.unique(grid(known), return_counts=True)
    bins = {str(b): int(n) for b, n in zip(found, counts, strict=True)}
    return _with(bins, {NULL: len(values) - len(known)})


def _count_tokens(values: Ints, feature: Feature, kept: Collection[str]) -> dict[str, int]:
    known = values[values > 0]
    found, counts = np.unique(known, return_counts=True)
    order = np.lexsort((found, -counts))
    apart = {str(token) for token in found[order[:TOP]]} | set(kept)
    bins, other = {}, 0
    for token, n in zip(found, counts, strict=True):
        if str(token) in apart:
            bins[str(token)] = int(n)
        else:
            other += int(n)
    if feature.first_new is not None:
        bins[NEW] = int((known >= feature.first_new).sum())
    return _with(bins, {NULL: len(values) - len(known), OTHER: other})


def _with(bins: dict[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {**bins, **{name: n for name, n in more.items() if n}}
