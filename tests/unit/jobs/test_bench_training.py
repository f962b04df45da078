"""``autoifs bench training``: what it says; its figures are for a quiet machine."""

import pytest

from features.errors import UserError
from jobs.bench import training
from jobs.home import Home


@pytest.fixture
def home(tmp_path):
    return Home(root=tmp_path, cache=tmp_path / "cache")


def test_each_part_is_told_with_its_goals(home, monkeypatch):
    monkeypatch.setattr(training, "LARGE", 20_000)
    monkeypatch.setattr(training, "SMALL", 2_000)
    monkeypatch.setattr(training, "BATCH", 64)
    parts = ("loader", "answer", "optimiser")
    found = training.bench(home=home, parts=parts, rows=5_000, repeats=1)
    assert {goal["what"] for goal in found["goals"]} == {
        "loader ÷ a bare pyarrow scan",
        "loader ÷ a row-wise DataLoader",
        "folded answer ÷ shared bottom's",
        "dense Adam ÷ row-wise Adagrad, 5 M rows",
        "row-wise Adagrad, 5 M rows ÷ 0.5 M rows",
    }
    assert all(goal["figure"] > 0 for goal in found["goals"])
    assert "\n| loader ÷ a row-wise DataLoader " in found["markdown"]


def test_a_goal_may_be_the_least_that_is_wanted():
    assert training.Goal("ours ÷ theirs", 11, 10, least=True).met
    assert not training.Goal("ours ÷ theirs", 9, 10, least=True).met


def test_an_unknown_part_is_refused(home):
    with pytest.raises(UserError, match="--only tea: no such part"):
        training.bench(home=home, parts=("tea",), rows=5_000, repeats=1)
