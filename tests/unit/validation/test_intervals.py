"""Intervals and tests, against brute force and against how often they hold the truth."""

from itertools import product

import numpy as np
import pytest

from features.spec import Layout
from validation.comparison import compare
from validation.intervals import (
    auc_influence,
    bootstrap_sums,
    clustered_error,
    holm,
    interval,
    p_value,
)
from validation.metrics import by_cell

ONE = Layout(scenarios=("all",), tasks=("click",), columns=())


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
    error = clustered_error(parts, np.arange(120))
    assert error**2 == pytest.approx(delong_variance(scores, labels))


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


def coverage(draw, truth, measure, runs=400):
    """Return how often the interval of ``runs`` fresh samples holds the truth."""
    held = 0
    for run in range(runs):
        chances, labels, users = draw(np.random.default_rng([9, run]))
        found = by_cell(
            chances[:, None], labels[:, None], np.zeros(len(labels), int), users, ONE,
            replicates=200, seed=run,
        )[0]  # fmt: skip
        estimate = getattr(found, measure)
        held += estimate.low <= truth <= estimate.high
    return held / runs


def lone_samples(rng, n=600):
    chances = rng.beta(2, 5, n)
    return chances, (rng.random(n) < chances).astype(float), np.arange(n)


def loyal_users(rng, users=150, each=6):
    """Users whose samples share most of what decides them: the score, and a habit it can't see."""
    habit = np.repeat(rng.normal(size=users), each)
    seen = np.repeat(rng.normal(size=users), each) + 0.3 * rng.normal(size=users * each)
    labels = rng.random(users * each) < 1 / (1 + np.exp(-(seen + habit)))
    return 1 / (1 + np.exp(-seen)), labels.astype(float), np.repeat(np.arange(users), each)


def true_values(draw):
    chances, labels, _ = (
        np.concatenate(parts)
        for parts in zip(*[draw(np.random.default_rng([1, i])) for i in range(400)], strict=True)
    )
    area, _ = auc_influence(chances, labels > 0)
    loss = -np.where(labels > 0, np.log(chances), np.log(1 - chances)).mean()
    return {"auc": area, "logloss": loss}


@pytest.mark.parametrize("measure", ["auc", "logloss"])
@pytest.mark.parametrize("draw", [lone_samples, loyal_users])
def test_a_95_percent_interval_holds_the_truth_in_93_to_97_percent_of_samples(draw, measure):
    assert 0.92 <= coverage(draw, true_values(draw)[measure], measure) <= 0.98


def test_intervals_that_ignore_users_would_hold_the_truth_too_rarely():
    def nobody(rng):
        chances, labels, users = loyal_users(rng)
        return chances, labels, np.arange(len(users))

    truth = true_values(loyal_users)["auc"]
    assert coverage(nobody, truth, "auc") < 0.90


def test_holm_adjusts_step_by_step_and_never_reverses_an_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_difference_without_spread_is_certain():
    assert p_value(0.0, 0.0) == 1.0
    assert p_value(0.1, 0.0) == 0.0
    assert p_value(1.959964, 1.0) == pytest.approx(0.05, abs=1e-6)
    assert interval(1.0, 0.0, 0.95).low == 1.0
