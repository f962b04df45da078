"""One look at rows that stay on disk: what a network has to know of them before it trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from features.spec.layout import Layout
from training.data import (
    Group,
    check_highest,
    floats_of,
    integers_of,
    labels_of,
    padded_tokens,
    scenarios_of,
    side_by_side,
    trained_columns,
)
from training.prepare import Moments, NumberStats
from training.rows import Tally

SLICE = 16_000
"""Rows looked at together."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What one pass over some rows found."""

    stats: NumberStats
    widths: tuple[int, ...]
    """Tokens of the longest row of each multi-value column."""
    tally: Tally


def survey(
    groups: Sequence[Group],
    layout: Layout,
    sizes: Mapping[str, int],
    cells: Sequence[Sequence[bool]],
) -> Survey:
    """Look at every row of ``groups`` once, a slice at a time.

    Args:
        groups: where the rows lie.
        layout: their scenarios, tasks and columns.
        sizes: tokens of each column's vocabulary.
        cells: [K][M] whether the scenario has the task; labels of other cells do not count.

    Raises:
        TrainingError: a value is not what the contract says, or a token is not in the vocabulary.
    """
    log = tuple(column.scale == "log1p" for column in layout.of("number"))
    bags = [column.name for column in layout.of("multi")]
    singles = [column.name for column in layout.of("category")]
    numbers = [column.name for column in layout.of("number")]
    moments, widths = Moments.none(len(numbers)), [1] * len(bags)
    rows = np.zeros(len(layout.scenarios))
    labels = np.zeros((len(layout.scenarios), len(layout.tasks)))
    for table in (
        part for group in groups for part in group.slices(trained_columns(layout), SLICE)
    ):
        for name in singles:
            check_highest(name, integers_of(table[name]), sizes)
        for place, name in enumerate(bags):
            tokens = padded_tokens(table[name])
            check_highest(name, tokens, sizes)
            widths[place] = max(widths[place], tokens.shape[1])
        values = side_by_side([floats_of(table[name]) for name in numbers], len(table), np.float32)
        moments = moments + Moments.of(values, log)
        scenario = scenarios_of(table, layout)
        rows += np.bincount(scenario, minlength=len(rows))
        labels += _per_scenario(~np.isnan(labels_of(table, layout)), scenario, len(rows))
    labels *= np.array(cells)
    return Survey(
        stats=moments.stats(log),
        widths=tuple(widths),
        tally=Tally(torch.from_numpy(rows), torch.from_numpy(labels)),
    )


def _per_scenario(
    known: NDArray[np.bool_], scenario: NDArray[np.int64], scenarios: int
) -> NDArray[np.float64]:
    """Return how many of ``known`` [n, M] each scenario has, [K, M]."""
    counts = [np.bincount(scenario, column, scenarios) for column in known.T]
    return np.stack(counts, axis=1)
