"""What searches find on data whose flows are known, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from jobs.home import Home
from jobs.masks import study
from jobs.masks.known import planted
from jobs.masks.study import FOUND, NONE, RANDOM, TRUTH, Outcome, Pair, expected_auc
from jobs.masks.verdict import agreements, goals, verdicts
from training.settings import prepare_torch

KINDS = (NONE, TRUTH, FOUND, RANDOM, study.BOXED, study.PAPERS, study.PAPERS_NONE)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    prepare_torch()


def outcome(name: str, auc: float, logloss: float, kept: float = 1.0) -> Outcome:
    table = np.full((4, 3, 4), 1.0).tolist()
    return Outcome(
        name=name,
        auc=auc,
        logloss=logloss,
        kept=kept,
        strength=kept,
        shrink=None,
        table=table,
        seconds=2.0,
    )


def pair(data: int, found: float, **changed: float) -> Pair:
    """A pair whose gap is 0.010 of AUC and 0.020 of log loss."""
    aucs = {name: 0.80 for name in KINDS} | {TRUTH: 0.81, FOUND: found, RANDOM: 0.79}
    losses = {name: 0.50 for name in KINDS} | {TRUTH: 0.48, FOUND: 0.484, RANDOM: 0.52}
    held = {name: outcome(name, aucs[name], losses[name]) for name in KINDS}
    held[FOUND] = replace(held[FOUND], kept=0.5, **changed)
    return Pair(data=data, seed=1, outcomes=held)


def test_the_gap_that_is_closed_is_that_of_the_means_with_an_error_over_data_sets():
    found = {one.name: one for one in verdicts([pair(1, 0.806), pair(2, 0.810)])}
    closed = found[FOUND].closed_auc
    assert closed.value == pytest.approx(0.8) and closed.high == pytest.approx(1.0)
    assert found[FOUND].closed_logloss.value == pytest.approx(0.8)
    assert found[NONE].closed_auc.value == 0.0 and found[TRUTH].closed_auc.value == 1.0
    assert found[FOUND].beats_random == 2 and found[RANDOM].beats_random == 0
    assert found[FOUND].beats_none == 2 and found[RANDOM].beats_none == 0


def test_a_data_set_whose_truth_is_no_better_than_none_pruned_has_no_gap_to_close():
    without = pair(3, 0.79)
    without.outcomes[TRUTH] = outcome(TRUTH, 0.79, 0.47)
    found = {one.name: one for one in verdicts([pair(1, 0.806), without])}
    assert found[FOUND].closed_auc.value == pytest.approx(0.6)
    assert found[FOUND].closed_logloss.value == pytest.approx(0.032 / 0.05)


def test_masks_of_several_seeds_are_alike_where_they_keep_the_same_however_strongly():
    weak, other = pair(1, 0.81), pair(1, 0.81)
    kept = np.zeros((4, 3, 4))
    kept[..., :2] = 1
    weak.outcomes[FOUND].table[:] = (0.1 * kept).tolist()
    other.outcomes[FOUND].table[:] = kept.tolist()
    found = agreements([weak, replace(other, seed=2)])[0]
    assert (found.what, found.agreement, found.pairs) == ("crossfit, other seeds", 1.0, 1)
    assert found.chance < 0.7


def test_goals_say_what_was_measured_and_whether_it_is_enough():
    assert [one.met for one in goals([pair(1, 0.809), pair(2, 0.810)])] == [True] * 5
    missed = goals([pair(1, 0.805), pair(2, 0.785)])
    assert [one.met for one in missed] == [False, False, True, False, False]
    assert [one.figure for one in missed[:4]] == ["-50% and 80%", "1 of 2", "50%", "1 of 2"]


def test_the_expected_auc_is_the_mean_over_labels_that_are_drawn():
    random = np.random.default_rng(1)
    chances, scores = random.uniform(size=200), random.normal(size=200)
    order = scores[:, None] > scores
    drawn = []
    for _ in range(400):
        labels = random.uniform(size=200) < chances
        drawn.append(order[labels][:, ~labels].mean())
    assert expected_auc(scores, chances) == pytest.approx(np.mean(drawn), abs=0.005)


@pytest.mark.slow
def test_masks_that_were_found_beat_random_ones_as_sparse_and_a_second_run_trains_nothing(
    tmp_path, monkeypatch
):
    home = Home(root=tmp_path, cache=tmp_path)
    given = {"home": home, "data": 1, "seeds": 2, "quick": True}
    found = planted(**given, out=tmp_path / "planted.md")
    assert {"2 of 2"} == {one["figure"] for one in found["goals"] if "random" in one["what"]}
    removed = next(one for one in found["goals"] if "removed" in one["what"])
    assert int(removed["figure"].rstrip("%")) >= 25
    assert (tmp_path / "planted.md").read_text() == found["message"]

    monkeypatch.setattr(study, "build", None)
    assert planted(**given)["goals"] == found["goals"], "what was trained is kept"
