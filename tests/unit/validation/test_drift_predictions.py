"""Prediction drift: two models on the same samples."""

import numpy as np
import pytest

from features.spec.load import parse_spec
from validation.drift.predictions import prediction_drift

SPEC = parse_spec(
    """
product: shop
sources: {log: {path: "log.csv", time: {column: at}}}
impression: {source: log, key: [user_id, at]}
scenarios: {column: place, values: {feed: feed, live: live}}
tasks: {click: {label: clicked = 1}, buy: {label: bought = 1, scenarios: [feed]}}
features: {categories: [device]}
""",
    "shop.yaml",
)
RNG = np.random.default_rng(1)
LOGITS = RNG.normal(-1, 1, (4000, 2))
SCENARIO = (RNG.random(4000) < 0.3).astype(np.int64)
USERS = RNG.integers(0, 800, 4000)


def chances(logits):
    return 1 / (1 + np.exp(-logits))


def compared(after, learned=lambda *_: 0.0):
    found = prediction_drift(SPEC, chances(LOGITS), after, SCENARIO, USERS, learned)
    return {(one.measure, one.scenario, one.task): one for one in found}


def test_the_same_model_moves_nowhere_and_absent_cells_are_left_out():
    found = compared(chances(LOGITS))
    assert {one.moved for one in found.values()} == {0.0}
    assert {(scenario, task) for _, scenario, task in found} == {
        ("feed", "click"), ("feed", "buy"), ("live", "click"),
    }  # fmt: skip


def test_a_model_that_predicts_more_is_told_with_its_interval():
    moved = LOGITS + np.array([0.5, 0.0]) + RNG.normal(0, 0.05, LOGITS.shape)
    found = compared(chances(moved))
    one = found["prediction-mean", "feed", "click"]
    assert one.severity == "warn"
    assert one.low < one.value / one.usual - 1 < one.high
    assert found["logit-shift", "feed", "click"].value == pytest.approx(0.5, abs=0.02)
    assert found["prediction-mean", "feed", "buy"].severity == ""


def test_what_models_move_by_every_night_raises_the_limit():
    moved = chances(LOGITS + 0.5)
    assert compared(moved, lambda *_: 2.0)["prediction-mean", "feed", "click"].severity == ""


def test_scores_that_spread_out_are_another_shape_with_the_same_mean():
    found = compared(chances(-1 + 2 * (LOGITS + 1)))
    assert found["prediction-psi", "feed", "click"].severity == "warn"
