"""Properties of Spark code on hundreds of generated examples, at the price of a few jobs.

An example a Spark job would cost seconds each. So Hypothesis draws all examples first; each, a
small world, gets days or keys of its own in one frame; the code under test runs once over all of
them, and every world is then compared with a plain computation. As nothing is run again to shrink
a failure, worlds are drawn small, and the smallest that fails is the one that is named.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

World = TypeVar("World")

COUNT = 240
"""Worlds a property is tried on."""


def draw(worlds: SearchStrategy[World], count: int = COUNT) -> list[World]:
    """Return ``count`` worlds, the same in every run."""
    drawn: list[World] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(worlds)
    def collect(world: World) -> None:
        drawn.append(world)

    collect()
    return drawn


def hold(worlds: Sequence[World], holds: Callable[[int, World], None]) -> None:
    """Fail with the smallest of ``worlds``, by its text, for which ``holds`` raises."""
    failures = []
    for number, world in enumerate(worlds):
        try:
            holds(number, world)
        except AssertionError as complaint:
            failures.append((len(repr(world)), number, str(complaint)))
    if failures:
        _, number, complaint = min(failures)
        pytest.fail(
            f"{len(failures)} of {len(worlds)} worlds fail, the smallest of them, number "
            f"{number}: {worlds[number]!r}\n{complaint}",
            pytrace=False,
        )
