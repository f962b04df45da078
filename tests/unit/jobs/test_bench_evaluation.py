"""``autoifs bench eval``: what it says, and that it refuses to compare unequal answers."""

import pytest

from features.errors import UserError
from jobs.bench import evaluation


def test_the_benchmark_says_seconds_and_ratios_of_six_cells():
    found = evaluation.bench(rows=4000, repeats=1, draws=2)
    assert (found["rows"], found["cells"], found["goal"]) == (4000, 6, 0.008)
    assert set(found["seconds"]) == {
        "all measures", "with intervals", "paired differences", "scikit-learn AUC",
    }  # fmt: skip
    assert found["ratio"] > 0
    assert {world: set(held) for world, held in found["coverage"].items()} == {
        "lone samples": {"auc", "logloss", "ne", "pcoc", "ece"},
        "loyal users": {"auc", "gauc", "logloss", "ne", "pcoc", "ece"},
    }
    assert all(0 <= share <= 1 for held in found["coverage"].values() for share in held.values())


def test_intervals_that_hold_the_truth_too_rarely_or_too_often_miss_the_goal():
    shares = {"lone samples": {"auc": 0.95, "ne": 0.90}, "loyal users": {"auc": 0.99}}
    assert evaluation._off(shares) == ["ne of lone samples", "auc of loyal users"]


def test_an_auc_that_is_not_the_references_is_told_with_its_cell(monkeypatch):
    monkeypatch.setattr(evaluation, "roc_auc_score", lambda labels, chances: 0.5)
    with pytest.raises(UserError, match=r"the AUC of feed × click is 0\.7"):
        evaluation.bench(rows=4000, repeats=1, draws=1)
