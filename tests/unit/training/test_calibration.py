"""Calibration: what it mends, whom it trusts how far, and that it keeps every ranking."""

import json

import numpy as np
import pytest

from features.errors import TrainingError
from training.calibration import NO_CHANGE, SPREAD, Calibration, fit, fit_line

SCENARIOS, TASKS = ("feed", "live"), ("click", "buy")


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def market(n=40_000, seed=1, live=0.2):
    """Return true logits, labels and scenario; a share ``live`` of samples is in the second."""
    rng = np.random.default_rng(seed)
    logits = rng.normal([-1.0, -2.5], 1.0, (n, 2))
    labels = (rng.random((n, 2)) < sigmoid(logits)).astype(float)
    return logits, labels, (rng.random(n) < live).astype(int)


def pcoc(chances, labels, rows):
    return chances[rows].sum(axis=0) / labels[rows].sum(axis=0)


def test_a_distorted_model_is_set_right_in_every_cell_on_fresh_labels():
    logits, labels, scenario = market()
    fresh, their_labels, there = market(seed=2)

    def wrong(logits, scenario):
        return sigmoid(logits * 1.4 - 0.3 * scenario[:, None])

    found = fit(wrong(logits, scenario), labels, scenario, SCENARIOS, TASKS)
    before = wrong(fresh, there)
    after = found(before, there)
    for k in range(2):
        off = np.abs(pcoc(before, their_labels, there == k) - 1)
        assert off.max() > 0.12
        assert pcoc(after, their_labels, there == k) == pytest.approx(np.ones(2), abs=0.06)
    assert np.array(found.scale) == pytest.approx(np.full((2, 2), 1 / 1.4), abs=0.06)


def test_a_calibrated_model_is_left_as_it_is():
    logits, labels, scenario = market()
    found = fit(sigmoid(logits), labels, scenario, SCENARIOS, TASKS)
    assert np.array(found.scale) == pytest.approx(np.ones((2, 2)), abs=0.07)
    assert np.array(found.shift) == pytest.approx(np.zeros((2, 2)), abs=0.12)


def test_a_cell_leaves_its_task_as_far_as_its_labels_reach():
    """The live tab is over-predicted: with more labels of it the shift gets nearer to the truth."""
    shifts = []
    for share in (0.0005, 0.005, 0.05, 0.5):
        logits, labels, scenario = market(live=share)
        chances = sigmoid(logits + 0.5 * scenario[:, None])
        found = fit(chances, labels, scenario, SCENARIOS, TASKS)
        shifts.append(found.shift[1][0] - found.shift[0][0])
    assert shifts == sorted(shifts, reverse=True)
    assert abs(shifts[0]) < SPREAD[1], "twenty labels say little"
    assert shifts[-1] == pytest.approx(-0.5, abs=0.08)


def test_a_cell_without_labels_takes_the_line_of_its_task():
    logits, labels, scenario = market()
    labels[scenario == 1, 1] = np.nan
    found = fit(sigmoid(logits + 1), labels, scenario, SCENARIOS, TASKS)
    rows = scenario == 0
    whole = fit_line((logits + 1)[rows, 1], labels[rows, 1], NO_CHANGE)
    assert (found.scale[1][1], found.shift[1][1]) == pytest.approx(whole)
    assert found.labels[1][1] == 0


def test_no_label_at_all_changes_nothing():
    logits, labels, scenario = market(500)
    found = fit(sigmoid(logits), np.full_like(labels, np.nan), scenario, SCENARIOS, TASKS)
    assert found(sigmoid(logits), scenario) == pytest.approx(sigmoid(logits))


@pytest.mark.parametrize("one", [0.0, 1.0])
def test_labels_of_a_single_class_move_a_cell_but_not_without_end(one):
    scale, shift = fit_line(np.full(10_000, -1.0), np.full(10_000, one), NO_CHANGE)
    assert np.isfinite([scale, shift]).all()
    assert abs(shift) < 40 * SPREAD[1]


def test_the_line_is_the_maximum_of_the_penalised_likelihood():
    logits, labels, _ = market(2000)
    z, y = logits[:, 0] * 1.7 + 0.4, labels[:, 0]

    def height(scale, shift):
        said = scale * z + shift
        prior = ((scale - 1) / SPREAD[0]) ** 2 + (shift / SPREAD[1]) ** 2
        return y @ said - np.logaddexp(0, said).sum() - prior / 2

    scale, shift = fit_line(z, y, NO_CHANGE)
    for nearby in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert height(scale, shift) > height(scale + nearby[0], shift + nearby[1])


def test_the_order_within_a_cell_is_kept_even_when_labels_contradict_it():
    logits, labels, scenario = market()
    found = fit(sigmoid(-4 * logits), labels, scenario, SCENARIOS, TASKS)
    chances = np.linspace(0.01, 0.99, 50)[:, None].repeat(2, axis=1)
    for k in range(2):
        assert (np.diff(found(chances, np.full(50, k)), axis=0) > 0).all()


def test_predictions_of_0_and_1_and_none_are_answered():
    found = Calibration(
        scenarios=("feed",), tasks=("click",), scale=((2.0,),), shift=((0.5,),), labels=((9,),)
    )
    said = found(np.array([[0.0], [1.0], [np.nan], [0.5]]), np.zeros(4, int))[:, 0]
    assert 0 <= said[0] < 1e-6
    assert said[1] == pytest.approx(1)
    assert np.isnan(said[2])
    assert said[3] == pytest.approx(sigmoid(0.5))


def test_a_calibration_is_the_same_after_json():
    logits, labels, scenario = market(3000)
    found = fit(sigmoid(logits), labels, scenario, SCENARIOS, TASKS)
    assert Calibration.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_predictions_that_are_not_numbers_are_refused_with_their_task():
    logits, labels, scenario = market(100)
    logits[3, 1] = np.nan
    with pytest.raises(TrainingError, match="1 predictions of buy are not numbers"):
        fit(sigmoid(logits), labels, scenario, SCENARIOS, TASKS)
