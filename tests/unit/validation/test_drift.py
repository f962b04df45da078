"""Mask drift between two models on the same samples."""

import numpy as np
import pytest

from features.spec import FLOWS, Layout
from features.spec.policy import Drift
from validation.drift import keep_rates, mask_drift, mask_readings

SHOP = Layout(scenarios=("feed", "live"), tasks=("click", "buy"), columns=())
SCENARIO = np.array([0] * 60 + [1] * 40)


def table_masks(*kept):
    """Return [100, 2, 4] strengths that are the same for all samples: task → strength of flows."""
    return np.broadcast_to(np.array(kept, dtype=float), (100, 2, 4)).copy()


def test_keep_rate_counts_and_strength_averages_pruned_flows_as_zero():
    strengths = table_masks([1, 0, 0.5, 0], [0, 0, 0, 1])
    strengths[:30, 0, 2] = 0
    rates = keep_rates(strengths, SCENARIO, SHOP)
    assert rates.n.tolist() == [60, 40]
    assert rates.keep[0, 0].tolist() == [1, 0, 0.5, 0]
    assert rates.strength[0, 0].tolist() == [1, 0, 0.25, 0]
    assert rates.keep[1, 0].tolist() == [1, 0, 1, 0]


def test_the_same_masks_agree_completely():
    masks = table_masks([1, 0, 1, 0], [0, 1, 0, 1])
    drift = mask_drift(masks, masks, SCENARIO, SHOP)
    assert (drift.agreement, drift.chance, drift.beyond_chance) == (1.0, 0.5, 1.0)
    assert all(one.flips == 0 and one.change.value == 0 for one in drift.flows)


def test_a_flipped_flow_is_found_in_its_cell_and_has_no_interval_when_all_samples_flip():
    before, after = table_masks([1, 0, 1, 0], [0, 1, 0, 1]), table_masks([1, 0, 1, 0], [0, 1, 0, 1])
    after[SCENARIO == 1, 0, 3] = 0.7
    drift = mask_drift(before, after, SCENARIO, SHOP)
    changed = [one for one in drift.flows if one.flips]
    assert [(one.scenario, one.task, one.flow) for one in changed] == [("live", "click", FLOWS[3])]
    assert (changed[0].keep_before, changed[0].keep_after, changed[0].flips) == (0, 1, 1)
    assert (changed[0].change.value, changed[0].change.low) == (1, None)
    assert changed[0].strength_after == pytest.approx(0.7)
    assert drift.agreement == pytest.approx(1 - 1 / 16)


def test_opposite_masks_agree_less_than_chance():
    masks = table_masks([1, 0, 1, 0], [0, 1, 0, 1])
    drift = mask_drift(masks, 1 - masks, SCENARIO, SHOP)
    assert (drift.agreement, drift.chance, drift.beyond_chance) == (0.0, 0.5, -1.0)


def test_unrelated_random_masks_agree_as_often_as_chance_expects():
    rng = np.random.default_rng(4)
    scenario = rng.integers(0, 2, 20_000)
    before, after = (rng.random((20_000, 2, 4)) < keep for keep in (0.3, 0.6))
    drift = mask_drift(before.astype(float), after.astype(float), scenario, SHOP, replicates=20)
    assert drift.chance == pytest.approx(0.3 * 0.6 + 0.7 * 0.4, abs=0.01)
    assert drift.agreement == pytest.approx(drift.chance, abs=0.01)
    assert drift.beyond_chance == pytest.approx(0, abs=0.02)


def test_masks_that_keep_everything_say_nothing_beyond_chance():
    masks = table_masks([1, 1, 1, 1], [1, 1, 1, 1])
    drift = mask_drift(masks, masks, SCENARIO, SHOP)
    assert (drift.agreement, drift.chance, drift.beyond_chance) == (1.0, 1.0, None)


def test_the_interval_of_instance_masks_holds_the_true_change():
    held = 0
    for run in range(200):
        rng = np.random.default_rng([2, run])
        before, after = (rng.random((300, 2, 4)) < keep for keep in (0.5, 0.6))
        drift = mask_drift(
            before.astype(float), after.astype(float), np.zeros(300, int), SHOP, replicates=200
        )
        held += drift.flows[0].change.low <= 0.1 <= drift.flows[0].change.high
    assert 0.91 <= held / 200 <= 0.985


def test_samples_of_one_user_count_together():
    rng = np.random.default_rng(8)
    habits = rng.random((30, 2, 4)) < 0.5
    before, after = np.zeros((300, 2, 4)), np.repeat(habits, 10, axis=0).astype(float)
    users = np.repeat(np.arange(30), 10)
    alone = mask_drift(before, after, np.zeros(300, int), SHOP).flows[0].change
    together = mask_drift(before, after, np.zeros(300, int), SHOP, users=users).flows[0].change
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_cells_that_do_not_exist_and_scenarios_without_samples_are_left_out():
    masks = table_masks([1, 0, 1, 0], [0, 1, 0, 1])
    present = np.array([[True, False], [True, True]])
    drift = mask_drift(masks[:60], masks[:60], SCENARIO[:60], SHOP, present=present)
    assert {(one.scenario, one.task) for one in drift.flows} == {("feed", "click")}


def test_shapes_that_disagree_are_refused():
    masks = table_masks([1, 0, 1, 0], [0, 1, 0, 1])
    with pytest.raises(ValueError, match="must both be"):
        mask_drift(masks, masks[:50], SCENARIO, SHOP)


def test_few_flows_agree_by_chance_more_or_less_often_and_many_hardly_vary():
    masks = table_masks([1, 0, 1, 0], [0, 1, 0, 1])
    few = mask_drift(masks, masks, SCENARIO, SHOP)
    assert (few.chance_low, few.chance_high) == (0.25, 0.75)
    wide = Layout(scenarios=tuple(f"s{n}" for n in range(40)), tasks=("click", "buy"), columns=())
    scenario = np.arange(40)
    whole = np.broadcast_to(masks[0], (40, 2, 4))
    many = mask_drift(whole, whole, scenario, wide)
    assert many.chance_high - many.chance_low < 0.25


def test_a_strength_that_moves_in_every_sample_alike_has_no_interval_and_others_do():
    before = table_masks([1, 0, 1, 0], [0, 1, 0, 1])
    after = before * 0.8
    after[:, 0, 0] *= np.random.default_rng(1).uniform(0.5, 1, 100)
    drift = mask_drift(before, after, SCENARIO, SHOP)
    varied, constant = drift.flows[0].strength_change, drift.flows[2].strength_change
    assert varied.low < varied.value < varied.high
    assert (constant.value, constant.low) == (pytest.approx(-0.2), None)


def test_readings_have_a_row_for_each_flow_and_warn_of_masks_no_better_than_chance():
    before = table_masks([1, 0, 1, 0], [0, 1, 0, 1])
    after = table_masks([0, 1, 1, 0], [1, 0, 0, 1])
    rows = mask_readings(Drift(), mask_drift(before, after, SCENARIO, SHOP), None)
    assert len([row for row in rows if row.measure == "keep-rate"]) == 16
    (agreement,) = [row for row in rows if row.measure == "agreement"]
    assert agreement.severity == "warn"
    same = mask_readings(Drift(), mask_drift(before, before, SCENARIO, SHOP), None)
    assert [row for row in same if row.severity] == []


def test_flips_since_the_last_search_are_told_from_a_declared_share_on():
    before = table_masks([1, 0, 1, 0], [0, 1, 0, 1])
    after = before.copy()
    after[:, 0, 0] = 0
    since = mask_drift(before, after, SCENARIO, SHOP)
    policy = Drift(warn={"flips": 0.1})
    (flips,) = [r for r in mask_readings(policy, since, since) if r.measure == "flips"]
    assert (flips.value, flips.severity) == (0.125, "warn")
    assert flips.text == "2 of 16 flows flipped since the search before"
