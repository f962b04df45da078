"""Intervals and tests, against brute force and against how often they hold the truth."""

from itertools import product

import numpy as np
import pytest

from jobs.bench.coverage import (
    GOAL,
    MEASURES,
    ONE,
    coverage,
    lone_samples,
    loyal_users,
    measured,
    true_values,
)
from validation.comparison import compare
from validation.intervals import (
    bootstrap_sums,
    holm,
    interval,
    p_value,
)
from validation.metrics import by_cell
from validation.ranking import auc_influence


def wins(scores, labels):
    """Return the [positives, negatives] matrix of who ranks above whom, ties for half."""
    ones, zeros = scores[labels == 1], scores[labels == 0]
    matrix = np.array([float(a > b) + 0.5 * (a == b) for a, b in product(ones, zeros)])
    return matrix.reshape(len(ones), len(zeros))


def delong_variance(scores, labels, other=None):
    """Return DeLong's variance of the AUC, or of its difference to another score's."""
    matrix = wins(scores, labels) - (0 if other is None else wins(other, labels))
    of_ones, of_zeros = matrix.mean(axis=1), matrix.mean(axis=0)
    return of_ones.var(ddof=1) / len(of_ones) + of_zeros.var(ddof=1) / len(of_zeros)


def test_delong_error_is_that_of_the_full_matrix_of_pairs():
    rng = np.random.default_rng(5)
    scores, labels = rng.integers(0, 20, 120).astype(float), rng.integers(0, 2, 120)
    area, parts = auc_influence(scores, labels == 1)
    assert area == pytest.approx(wins(scores, labels).mean())
    assert (parts**2).sum() == pytest.approx(delong_variance(scores, labels))


def test_the_paired_delong_difference_is_that_of_the_full_matrix_of_pairs():
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 150)
    one = rng.normal(labels * 0.8)
    other = one + rng.normal(0, 0.7, 150)
    found = compare(
        other[:, None], one[:, None], labels[:, None], np.zeros(150, int), np.arange(150), ONE,
        measure="auc",
    )[0]  # fmt: skip
    error = delong_variance(one, labels, other) ** 0.5
    assert found.difference == pytest.approx(wins(one, labels).mean() - wins(other, labels).mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * error, rel=1e-4)


def test_poisson_weights_have_mean_and_variance_one_per_user():
    drawn = bootstrap_sums(np.eye(5), replicates=20_000)
    assert drawn.mean(axis=0) == pytest.approx(np.ones(5), abs=0.04)
    assert drawn.var(axis=0) == pytest.approx(np.ones(5), abs=0.06)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.03


def test_resampling_is_the_same_for_the_same_seed():
    sums = np.random.default_rng(1).normal(size=(40, 3))
    assert (bootstrap_sums(sums, seed=4) == bootstrap_sums(sums, seed=4)).all()
    assert (bootstrap_sums(sums, seed=4) != bootstrap_sums(sums, seed=5)).any()


def test_the_log_loss_interval_is_that_of_the_users_own_sums():
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(200), 5)
    chances = np.repeat(rng.beta(2, 5, 200), 5)
    labels = (rng.random(1000) < chances).astype(float)
    found = by_cell(chances[:, None], labels[:, None], np.zeros(1000, int), users, ONE)[0]
    loss = -np.where(labels > 0, np.log(chances), np.log(1 - chances))
    by_user = np.bincount(users, loss - loss.mean())
    error = np.sqrt((by_user**2).sum()) / 1000
    assert (found.logloss.high - found.logloss.low) / 2 == pytest.approx(1.96 * error, rel=0.08)


def nobodies(random):
    """Return the loyal users' samples, each as if it were someone else's."""
    chances, labels, _ = loyal_users(random)
    return chances, labels, np.arange(len(labels))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("draw", [lone_samples, loyal_users])
def test_a_95_percent_interval_holds_the_truth_in_93_to_97_percent_of_samples(draw, measure):
    if measure == "gauc" and draw is lone_samples:
        pytest.skip("nobody there has a day with both classes")
    assert GOAL[0] <= coverage(draw)[measure] <= GOAL[1]


@pytest.mark.long
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("draw", [lone_samples, loyal_users])
def test_a_95_percent_interval_holds_the_truth_in_94_to_96_percent_of_many_samples(draw, measure):
    if measure == "gauc" and draw is lone_samples:
        pytest.skip("nobody there has a day with both classes")
    assert 0.94 <= coverage(draw, runs=6000)[measure] <= 0.96


def test_intervals_that_ignore_users_would_hold_the_truth_too_rarely():
    truth, held = true_values(loyal_users)["auc"], 0
    for run in range(200):
        found = measured(nobodies(np.random.default_rng([9, run])), replicates=2)
        held += found.auc.low <= truth <= found.auc.high
    assert held / 200 < 0.90


def test_holm_adjusts_step_by_step_and_never_reverses_an_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_difference_without_spread_is_certain():
    assert p_value(0.0, 0.0) == 1.0
    assert p_value(0.1, 0.0) == 0.0
    assert p_value(1.959964, 1.0) == pytest.approx(0.05, abs=1e-6)
    assert interval(1.0, 0.0, 0.95).low == 1.0
