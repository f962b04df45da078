"""Measures of predictions, against the slow and obvious way to compute each."""

import time
from itertools import product

import numpy as np
import pytest

from features.spec import Layout
from validation.metrics import CellMetrics, auc, by_cell
from validation.sums import BIN_LABELS, BINS

SHOP = Layout(scenarios=("feed", "live"), tasks=("click", "buy"), columns=())


def pairwise_auc(scores, labels) -> float:
    ones, zeros = scores[labels == 1], scores[labels == 0]
    won = sum((one > zero) + 0.5 * (one == zero) for one, zero in product(ones, zeros))
    return won / (len(ones) * len(zeros))


def market(n=600, seed=1, users=80):
    """Return predictions, labels, scenario and users of a made-up market; the last task is rare."""
    rng = np.random.default_rng(seed)
    chances = np.clip(rng.beta(1, 3, (n, 2)).round(2), 0.01, 0.99) * [1.0, 0.3]
    labels = (rng.random((n, 2)) < chances).astype(float)
    return chances, labels, rng.integers(0, 2, n), rng.integers(0, users, n)


def cell(found: list[CellMetrics], scenario: str, task: str) -> CellMetrics:
    return next(it for it in found if (it.scenario, it.task) == (scenario, task))


def test_auc_counts_pairs_and_ties_for_half():
    rng = np.random.default_rng(3)
    scores, labels = rng.integers(0, 12, 150).astype(float), rng.integers(0, 2, 150)
    assert auc(scores, labels) == pytest.approx(pairwise_auc(scores, labels))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([0.1, 0.2, 0.8, 0.9], 1.0), ([0.9, 0.8, 0.2, 0.1], 0.0), ([0.5, 0.5, 0.5, 0.5], 0.5)],
)
def test_auc_of_perfect_reversed_and_constant_scores(scores, expected):
    assert auc(np.array(scores), np.array([0, 0, 1, 1])) == expected


def test_auc_of_a_single_class_is_none():
    assert auc(np.array([0.1, 0.9]), np.array([1, 1])) is None
    assert auc(np.array([0.1, 0.9]), np.array([0, 0])) is None
    assert auc(np.array([]), np.array([])) is None


def test_each_cell_has_the_measures_of_its_own_labels():
    chances, labels, scenario, users = market()
    labels[::7, 1] = np.nan
    found = cell(by_cell(chances, labels, scenario, users, SHOP), "live", "buy")
    rows = (scenario == 1) & ~np.isnan(labels[:, 1])
    p, y = chances[rows, 1], labels[rows, 1]
    loss = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    base = y.mean()
    assert (found.n, found.positives) == (rows.sum(), y.sum())
    assert found.auc.value == pytest.approx(pairwise_auc(p, y))
    assert found.logloss.value == pytest.approx(loss)
    assert found.ne.value == pytest.approx(
        loss / -(base * np.log(base) + (1 - base) * np.log(1 - base))
    )
    assert found.pcoc.value == pytest.approx(p.sum() / y.sum())
    assert found.note == "insufficient: 15 positives of 30"
    assert (found.auc.low, found.logloss.high) == (None, None)


def test_a_task_is_pooled_over_scenarios():
    chances, labels, scenario, users = market()
    found = cell(by_cell(chances, labels, scenario, users, SHOP), "", "click")
    assert found.n == 600
    assert found.auc.value == pytest.approx(pairwise_auc(chances[:, 0], labels[:, 0]))


def test_a_scenario_and_the_whole_are_means_over_tasks():
    found = by_cell(*market(), SHOP)
    feed, whole = cell(found, "feed", ""), cell(found, "", "")
    for name in ("auc", "logloss"):
        of_feed = [getattr(cell(found, "feed", task), name).value for task in SHOP.tasks]
        pooled = [getattr(cell(found, "", task), name).value for task in SHOP.tasks]
        assert getattr(feed, name).value == pytest.approx(np.mean(of_feed))
        assert getattr(whole, name).value == pytest.approx(np.mean(pooled))
    assert whole.n == 1200


def test_a_constant_prediction_of_the_base_rate_has_a_normalised_entropy_of_one():
    _, labels, scenario, users = market()
    chances = np.broadcast_to(labels.mean(axis=0), labels.shape)
    whole = cell(by_cell(chances, labels, scenario, users, SHOP), "", "")
    assert whole.ne.value == pytest.approx(1)
    assert whole.pcoc.value == pytest.approx(1)
    assert whole.auc.value == pytest.approx(0.5)


def test_a_cell_with_one_class_says_so_and_has_no_auc():
    chances, labels, scenario, users = market()
    labels[scenario == 0, 1] = 0
    found = cell(by_cell(chances, labels, scenario, users, SHOP), "feed", "buy")
    assert (found.auc, found.ne, found.pcoc) == (None, None, None)
    assert found.logloss is not None
    assert found.note == "insufficient: only negatives, no AUC"


def test_a_cell_without_labels_says_so():
    chances, labels, scenario, users = market()
    labels[scenario == 0, 1] = np.nan
    found = by_cell(chances, labels, scenario, users, SHOP)
    empty = cell(found, "feed", "buy")
    assert (empty.n, empty.auc, empty.logloss, empty.note) == (0, None, None, "no label to judge")
    assert [row["metric"] for row in empty.rows()] == ["n", "positives"]
    click = cell(found, "feed", "click")
    assert cell(found, "feed", "").auc.value == pytest.approx(click.auc.value)


def test_a_prediction_that_is_not_finite_leaves_its_cell_unmeasured():
    chances, labels, scenario, users = market()
    chances[np.flatnonzero(scenario == 1)[0], 0] = np.nan
    found = by_cell(chances, labels, scenario, users, SHOP)
    assert cell(found, "live", "click").auc is None
    assert cell(found, "live", "click").logloss is None
    assert cell(found, "live", "click").note == "a prediction is not finite"
    assert cell(found, "feed", "click").auc is not None


def test_a_confident_mistake_costs_much_but_not_everything():
    chances, labels = np.array([[0.0, 0.5]]), np.array([[1.0, 0.0]])
    found = by_cell(chances, labels, np.array([0]), np.array([1]), SHOP)
    assert cell(found, "feed", "click").logloss.value == pytest.approx(-np.log(1e-7))


def test_rows_are_those_of_the_metrics_table():
    found = cell(by_cell(*market(), SHOP), "feed", "click").rows()
    assert {row["metric"] for row in found} == {
        "auc", "gauc", "gauc_dropped", "logloss", "ne", "pcoc", "ece", "ece_by_chance", "n",
        "positives",
    }  # fmt: skip
    auc_row = next(row for row in found if row["metric"] == "auc")
    assert auc_row["low"] < auc_row["value"] < auc_row["high"]
    assert set(auc_row) == {
        "scenario", "task", "slice", "metric", "value", "low", "high", "n", "note",
    }  # fmt: skip


def test_users_may_be_named_by_text():
    chances, labels, scenario, users = market()
    named = by_cell(chances, labels, scenario, [f"u{user}" for user in users], SHOP)
    numbered = by_cell(chances, labels, scenario, users, SHOP)
    assert cell(named, "feed", "click").auc == cell(numbered, "feed", "click").auc


def test_shapes_that_disagree_are_refused():
    chances, labels, scenario, users = market()
    with pytest.raises(ValueError, match="must be"):
        by_cell(chances, labels[:, :1], scenario, users, SHOP)
    with pytest.raises(ValueError, match="scenario indices"):
        by_cell(chances, labels, scenario + 1, users, SHOP)


def grouped_auc(p, y, groups):
    """Return the impression-weighted AUC of groups with both classes, and the share left out."""
    held = [groups == group for group in np.unique(groups)]
    mixed = [rows for rows in held if 0 < y[rows].sum() < rows.sum()]
    seen = sum(rows.sum() for rows in mixed)
    won = sum(rows.sum() * pairwise_auc(p[rows], y[rows]) for rows in mixed)
    return won / seen, 1 - seen / len(y)


def test_gauc_ranks_within_a_users_day_and_says_what_it_leaves_out():
    chances, labels, scenario, users = market()
    days = np.random.default_rng(4).integers(0, 3, 600)
    found = by_cell(chances, labels, scenario, users, SHOP, days=days)
    for at, rows in (("live", scenario == 1), ("", scenario >= 0)):
        own = cell(found, at, "click")
        value, dropped = grouped_auc(chances[rows, 0], labels[rows, 0], (users * 3 + days)[rows])
        assert own.gauc.value == pytest.approx(value)
        assert own.dropped == pytest.approx(dropped)


def test_users_whose_days_are_of_one_class_leave_no_gauc():
    chances, labels = np.full((40, 1), 0.5), np.tile([[0.0], [1.0]], (20, 1))
    layout = Layout(scenarios=("feed",), tasks=("click",), columns=())
    found = by_cell(chances, labels, np.zeros(40, int), np.arange(40), layout)[0]
    assert (found.gauc, found.dropped) == (None, 1.0)


def test_few_users_days_of_both_classes_leave_a_gauc_without_bounds():
    chances, labels, scenario, users = market(2000)
    lone = np.where(users < 20, users, 1000 + np.arange(2000))
    found = cell(by_cell(chances, labels, scenario, lone, SHOP), "", "click")
    assert found.note == ""
    assert found.gauc.value is not None
    assert (found.gauc.low, found.auc.low is None) == (None, False)


def test_the_calibration_error_is_that_of_bins_of_equal_size():
    chances, labels, scenario, users = market()
    found = cell(by_cell(chances, labels, scenario, users, SHOP), "", "click")
    p, y = chances[:, 0], labels[:, 0]
    below = np.array([(p < one).sum() for one in p])
    count = min(int(min(y.sum(), (1 - y).sum())) // BIN_LABELS, BINS)
    bins = below * count // len(p)
    off = sum(abs((p - y)[bins == number].sum()) for number in range(count))
    assert count > 2
    assert found.ece.value == pytest.approx(off / len(p))


def test_a_calibrated_model_has_no_more_calibration_error_than_chance_gives():
    chances, labels, scenario, users = market(20_000, users=20_000)
    right = cell(by_cell(chances, labels, scenario, users, SHOP), "", "click")
    wrong = cell(by_cell(chances * 0.8, labels, scenario, users, SHOP), "", "click")
    assert right.ece.low == 0
    assert right.ece.value == pytest.approx(right.ece_by_chance, rel=0.5)
    assert wrong.ece.low > wrong.ece_by_chance
    assert wrong.pcoc.high < 0.9


def test_a_slice_has_the_measures_of_its_own_samples_over_all_scenarios():
    chances, labels, scenario, users = market()
    new = users < 20
    found = by_cell(chances, labels, scenario, users, SHOP, slices={"new_users": new})
    own = [it for it in found if it.slice == "new_users"]
    assert [(it.scenario, it.task) for it in own] == [("", "click"), ("", "buy"), ("", "")]
    assert own[0].n == new.sum()
    assert own[0].auc.value == pytest.approx(pairwise_auc(chances[new, 0], labels[new, 0]))
    assert own[0].pcoc.value == pytest.approx(chances[new, 0].sum() / labels[new, 0].sum())
    assert own[0].rows()[0]["slice"] == "new_users"


def test_a_slice_changes_nothing_outside_it():
    plain = by_cell(*market(), SHOP)
    sliced = by_cell(*market(), SHOP, slices={"none": np.zeros(600, bool)})
    assert [it for it in sliced if not it.slice] == plain
    assert {it.note for it in sliced if it.slice} == {"no label to judge"}


def test_a_cell_of_few_users_is_insufficient_however_many_labels_they_bring():
    chances, labels, scenario, users = market(2000)
    found = cell(by_cell(chances, labels, scenario, users % 5, SHOP), "feed", "click")
    assert found.note == "insufficient: 5 users of 30"
    assert found.auc.low is None


def test_many_users_resampled_in_groups_have_the_interval_of_each_by_itself(monkeypatch):
    rng = np.random.default_rng(6)
    chances = rng.beta(2, 5, (12_000, 2))
    labels = (rng.random((12_000, 2)) < chances).astype(float)
    case = chances, labels, rng.integers(0, 2, 12_000), rng.integers(0, 9000, 12_000), SHOP
    grouped = cell(by_cell(*case), "", "click")
    monkeypatch.setattr("validation.cells.BUCKETS", 10**6)
    alone = cell(by_cell(*case), "", "click")
    for name in ("gauc", "logloss", "ne", "pcoc"):
        one, other = getattr(grouped, name), getattr(alone, name)
        assert one.value == pytest.approx(other.value)
        assert one.high - one.low == pytest.approx(other.high - other.low, rel=0.12)


@pytest.mark.parametrize("scale", ["plain", "rounded", "32 bits"])
def test_measures_are_those_of_scikit_learn(scale):
    metrics = pytest.importorskip("sklearn.metrics")
    chances, labels, scenario, users = market(3000)
    chances = chances.round(1).clip(0.1, 0.9) if scale == "rounded" else chances
    chances = chances.astype(np.float32) if scale == "32 bits" else chances
    for one in by_cell(chances, labels, scenario, users, SHOP, replicates=0):
        if not one.task:
            continue
        places = {"feed": scenario == 0, "live": scenario == 1, "": scenario >= 0}
        at, m = places[one.scenario], SHOP.tasks.index(one.task)
        p, y = chances[at, m], labels[at, m]
        assert one.auc.value == pytest.approx(metrics.roc_auc_score(y, p))
        assert one.logloss.value == pytest.approx(metrics.log_loss(y, p))


@pytest.mark.benchmark
def test_a_million_predictions_in_six_cells_take_two_seconds():
    rng = np.random.default_rng(1)
    n = 1_000_000
    layout = Layout(scenarios=("a", "b", "c"), tasks=("click", "buy"), columns=())
    chances = rng.random((n, 2))
    labels = (rng.random((n, 2)) < chances).astype(float)
    scenario, users = rng.integers(0, 3, n), rng.integers(0, 100_000, n)
    started = time.process_time()
    by_cell(chances, labels, scenario, users, layout)
    assert time.process_time() - started < 2
