"""Reliability curves, against scikit-learn's and against how often they hold the truth."""

import numpy as np
import pytest

from features.spec import Layout
from validation.cells import judged
from validation.metrics import by_cell
from validation.reliability import curves, wilson

HABITS = np.random.default_rng(5).normal(0, 1.5, 400)
"""Draws of what a score can't see, to average over."""
SHOP = Layout(scenarios=("feed", "live"), tasks=("click",), columns=())


def market(seed=1, n=4000, users=4000):
    rng = np.random.default_rng(seed)
    chances = rng.beta(2, 5, n)
    labels = (rng.random(n) < chances).astype(float)
    return chances[:, None], labels[:, None], rng.integers(0, 2, n), rng.integers(0, users, n)


def test_bins_are_scikit_learns_of_equal_size_and_add_up_to_the_calibration_error():
    calibration = pytest.importorskip("sklearn.calibration")
    chances, labels, scenario, users = market()
    (whole,) = [
        it for it in curves(chances, judged(labels, scenario, users, SHOP)) if not it.scenario
    ]
    observed, predicted = calibration.calibration_curve(
        labels[:, 0], chances[:, 0], n_bins=len(whole.bins), strategy="quantile"
    )
    assert [one.predicted for one in whole.bins] == pytest.approx(predicted, abs=2e-3)
    assert [one.observed for one in whole.bins] == pytest.approx(observed, abs=1e-2)
    off = sum(one.n * abs(one.predicted - one.observed) for one in whole.bins) / 4000
    found = next(it for it in by_cell(chances, labels, scenario, users, SHOP) if not it.scenario)
    assert off == pytest.approx(found.ece.value)


def test_every_cell_has_a_curve_of_its_own_samples():
    chances, labels, scenario, users = market()
    labels[scenario == 1] = np.nan
    found = curves(chances, judged(labels, scenario, users, SHOP))
    assert [(it.scenario, sum(one.n for one in it.bins)) for it in found] == [
        ("feed", (scenario == 0).sum()),
        ("", (scenario == 0).sum()),
    ]


@pytest.mark.parametrize("each", [1, 8])
def test_a_bins_interval_holds_the_truth_though_users_bring_several_samples(each):
    held, count = 0, 0
    for run in range(60):
        rng = np.random.default_rng([3, run])
        habit = np.repeat(rng.normal(0, 1.5, 2400 // each), each)
        score = rng.normal(size=len(habit))
        truth = 1 / (1 + np.exp(-(score + habit)))
        labels = (rng.random(len(habit)) < truth).astype(float)
        shown = 1 / (1 + np.exp(-score))
        users = np.repeat(np.arange(2400 // each), each)
        samples = judged(labels[:, None], np.zeros(len(habit), int), users, SHOP)
        order = np.argsort(shown)
        (whole,) = [it for it in curves(shown[:, None], samples) if not it.scenario]
        ends = np.cumsum([0, *(one.n for one in whole.bins)])
        for one, low, high in zip(whole.bins, ends, ends[1:], strict=False):
            right = (1 / (1 + np.exp(-(score[order[low:high]][:, None] + HABITS)))).mean()
            held += one.low <= right <= one.high
            count += 1
    assert held / count > 0.92


def test_a_bin_without_positives_still_has_an_upper_end():
    assert wilson(0.0, 50, 0.95)[1] == pytest.approx(0.0713, abs=1e-3)
    assert wilson(1.0, 50, 0.95)[0] == pytest.approx(0.9287, abs=1e-3)
