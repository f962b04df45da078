"""How often intervals hold the truth: many draws from worlds whose truth is known."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from features.spec import Layout
from validation.metrics import CellMetrics, by_cell

Drawn: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
"""Predictions, labels and users of samples, [n] each."""
Draw: TypeAlias = Callable[[Generator], Drawn]

ONE = Layout(scenarios=("all",), tasks=("click",), columns=())
MEASURES = ("auc", "gauc", "logloss", "ne", "pcoc", "ece")
"""All that have intervals."""
RUNS = 600
"""Draws: enough for a share of 95 % that is certain to less than a percent."""
WHOLE = 400
"""Draws that are put together for the truth."""
GOAL = (0.93, 0.97)
"""Shares between which a 95 % interval of so many draws must hold the truth."""


def lone_samples(random: Generator, n: int = 1000) -> Drawn:
    """Return samples of a user each; predictions are too high for the rare ones."""
    chances = random.beta(2, 5, n)
    return chances**0.7, (random.random(n) < chances).astype(float), np.arange(n)


def loyal_users(random: Generator, users: int = 150, each: int = 6) -> Drawn:
    """Return samples of few users: the score, and a habit it can't see, decide them all."""
    habit = np.repeat(random.normal(size=users), each)
    seen = np.repeat(random.normal(size=users), each) + 0.3 * random.normal(size=users * each)
    labels = random.random(users * each) < 1 / (1 + np.exp(-(seen + habit)))
    return 1 / (1 + np.exp(-2 * seen)), labels.astype(float), np.repeat(np.arange(users), each)


WORLDS: dict[str, Draw] = {"lone samples": lone_samples, "loyal users": loyal_users}


@cache
def coverage(draw: Draw, runs: int = RUNS) -> dict[str, float]:
    """Return measure → share of ``runs`` fresh draws whose 95 % interval holds the truth.

    A measure that a world has not, such as GAUC where no user has a day of both classes, is left
    out.
    """
    truth = true_values(draw)
    held = dict.fromkeys(truth, 0)
    for run in range(runs):
        found = measured(draw(np.random.default_rng([9, run])), replicates=200, seed=run)
        for name, value in truth.items():
            estimate = getattr(found, name)
            held[name] += estimate.low <= value <= estimate.high
    return {name: count / runs for name, count in held.items()}


@cache
def true_values(draw: Draw) -> dict[str, float]:
    """Return what the measures of ever more samples come to."""
    drawn = [draw(np.random.default_rng([1, i])) for i in range(WHOLE)]
    apart = np.cumsum([0, *(users.max() + 1 for *_, users in drawn[:-1])])
    chances, labels = (np.concatenate([one[i] for one in drawn]) for i in range(2))
    users = np.concatenate([one[2] + start for one, start in zip(drawn, apart, strict=True)])
    found = measured((chances, labels, users), replicates=0)
    return {name: getattr(found, name).value for name in MEASURES if getattr(found, name)}


def measured(drawn: Drawn, **options: Any) -> CellMetrics:
    """Return all measures of samples as a night would have them of a cell."""
    chances, labels, users = drawn
    place = np.zeros(len(labels), int)
    return by_cell(chances[:, None], labels[:, None], place, users, ONE, **options)[0]
