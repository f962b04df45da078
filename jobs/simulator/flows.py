"""The planted truth: which of the four information flows decides a goal in a place, and how.

A flow is a representation (shared by all scenarios, or a scenario's own) read along a direction
(shared by all tasks, or a task's own). A cell's logit is the sum of its flows, each with a
coefficient: 1 carries signal, 0 does not reach the label here though it does elsewhere, and a
negative one turns against what the flow means elsewhere, so that borrowing it does harm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.spec import FLOWS
from jobs.simulator.shop import BASE_RATES, SCENARIOS, SPREAD, TASKS, Settings, cells
from jobs.simulator.world import LATENT, Floats, Ints, World

WIDTH = 8
SIGNAL, NOISE, HARM = 1.0, 0.0, -0.5
POSITION_SLOPE = -0.04
"""Change of the click's logit with each position further down."""

_SAMPLE = 20_000


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Everything that turns a user, an item and a place into probabilities."""

    user_side: Floats
    item_side: Floats
    """[1 + K, LATENT, WIDTH]: projections of the shared (0) and the scenarios' representations."""
    directions: Floats
    """[1 + M, WIDTH]: the shared (0) and the tasks' directions."""
    coefficients: Floats
    """[K, M, 4]: planted coefficient of each flow; NaN where the cell does not exist."""
    centre: Floats
    scale: Floats
    """[K, M, 4] each: mean and spread of the raw flows, by which they are standardised."""
    gain: Floats
    bias: Floats
    """[K, M] each: what brings a cell to its spread and its base rate."""

    def probabilities(
        self, world: World, day: int, users: Ints, items: Ints, places: Ints, positions: Ints
    ) -> Floats:
        """Return the true probabilities [n, M] of each task; NaN where a place lacks it."""
        found = np.full((len(users), len(TASKS)), np.nan)
        tastes = world.tastes(day)
        for k in range(len(SCENARIOS)):
            rows = np.flatnonzero(places == k)
            flows = self._raw_flows(k, tastes, world.goods.nature, users[rows], items[rows])
            for m in (m for place, m in cells() if place == k):
                logits = self.bias[k, m] + self.gain[k, m] * self._mixed(k, m, flows[m])
                if TASKS[m] == "click":
                    logits += POSITION_SLOPE * positions[rows]
                found[rows, m] = 1 / (1 + np.exp(-logits))
        return found

    def kind(self, k: int, m: int, flow: int) -> str:
        """Return ``signal``, ``noise`` or ``harm``."""
        coefficient = self.coefficients[k, m, flow]
        return {SIGNAL: "signal", NOISE: "noise"}.get(coefficient, "harm")

    def _mixed(self, k: int, m: int, flows: Floats) -> Floats:
        """Return the planted sum [n] of a cell's standardised flows [n, 4]."""
        weights = self.coefficients[k, m] / self.scale[k, m]
        mixed: Floats = (flows * weights).sum(axis=1) - float((self.centre[k, m] * weights).sum())
        return mixed

    def _raw_flows(
        self, k: int, tastes: Floats, nature: Floats, users: Ints, items: Ints
    ) -> Floats:
        """Return every task's four flows [M, n, 4] in scenario ``k``."""
        shared = self._represent(0, tastes, nature, users, items)
        own = self._represent(1 + k, tastes, nature, users, items)
        on_shared, on_own = shared @ self.directions.T, own @ self.directions.T
        return np.stack(
            [
                np.stack([on_shared[:, 0], on_own[:, m], on_shared[:, m], on_own[:, 0]], axis=1)
                for m in range(1, len(TASKS) + 1)
            ]
        )

    def _represent(
        self, side: int, tastes: Floats, nature: Floats, users: Ints, items: Ints
    ) -> Floats:
        """Return the representations [n, WIDTH]: what each side likes alone, and their match."""
        of_user = np.tanh(tastes @ self.user_side[side])[users]
        of_item = np.tanh(nature @ self.item_side[side])[items]
        seen: Floats = of_user + of_item + 0.8 * of_user * of_item
        return seen


def plant(settings: Settings, world: World) -> Truth:
    """Return the truth of that seed, standardised on the first day's population."""
    rng = np.random.default_rng([settings.seed, 1])
    sides = (1 + len(SCENARIOS), LATENT, WIDTH)
    shape = (len(SCENARIOS), len(TASKS))
    truth = Truth(
        user_side=rng.normal(0, 0.6, sides),
        item_side=rng.normal(0, 0.6, sides),
        directions=rng.normal(size=(1 + len(TASKS), WIDTH)),
        coefficients=_coefficients(rng, planted=settings.planted),
        centre=np.zeros((*shape, len(FLOWS))),
        scale=np.ones((*shape, len(FLOWS))),
        gain=np.ones(shape),
        bias=np.zeros(shape),
    )
    _standardise(truth, world, rng)
    return truth


def _coefficients(rng: np.random.Generator, *, planted: bool) -> Floats:
    """Return coefficients with one to three signals a cell, of which one from the shared part.

    The small scenarios could not be learnt from their own few rows alone. Unless ``planted``, all
    are signals.
    """
    found = np.full((len(SCENARIOS), len(TASKS), len(FLOWS)), np.nan)
    for k, m in cells():
        found[k, m] = np.where(rng.random(len(FLOWS)) < 0.25, HARM, NOISE)
        first = rng.choice([0, 2])
        others = [flow for flow in range(len(FLOWS)) if flow != first]
        found[k, m, [first, *rng.choice(others, rng.integers(0, 3), replace=False)]] = SIGNAL
    for flow in range(len(FLOWS)):
        if not (found[..., flow] == SIGNAL).any():
            found[0, 0, flow] = SIGNAL
    return found if planted else np.where(np.isnan(found), np.nan, SIGNAL)


def _standardise(truth: Truth, world: World, rng: np.random.Generator) -> None:
    """Fill the truth's centre, scale, gain and bias from a sample of the first day."""
    users, items = world.draw_users(rng, 0, _SAMPLE), world.draw_items(rng, 0, _SAMPLE)
    for k in range(len(SCENARIOS)):
        flows = truth._raw_flows(k, world.tastes(0), world.goods.nature, users, items)
        for m in (m for place, m in cells() if place == k):
            truth.centre[k, m], truth.scale[k, m] = flows[m].mean(axis=0), flows[m].std(axis=0)
            mixed = truth._mixed(k, m, flows[m])
            truth.gain[k, m] = SPREAD / mixed.std()
            rate = BASE_RATES[TASKS[m]][k]
            truth.bias[k, m] = _bias_for(float(rate or 0), truth.gain[k, m] * mixed)


def _bias_for(rate: float, logits: NDArray[np.float64]) -> float:
    """Return the bias at which the mean probability of ``logits`` is ``rate``, by bisection."""
    low, high = -12.0, 6.0
    for _ in range(50):
        middle = (low + high) / 2
        if (1 / (1 + np.exp(-logits - middle))).mean() < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2
