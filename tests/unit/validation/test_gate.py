"""The gate: what it lets through, in each mode, and what it says."""

import numpy as np
import pytest

from features.spec.policy import Gate
from validation.comparison import Comparison
from validation.gate import Check, calibration, decide, drift, sanity
from validation.intervals import Estimate
from validation.metrics import CellMetrics

FINE = [
    Check(name="finite", passed=True, sentence="0 of 10 predictions are not finite numbers"),
    Check(name="beats-constant", passed=True, sentence="", first_only=True),
]


def cell(scenario, task, verdict, difference=0.0, measure="logloss"):
    return Comparison(
        scenario=scenario, task=task, measure=measure, n=1000, positives=200, champion=0.5,
        challenger=0.5 + difference, difference=difference, low=difference - 0.001,
        high=difference + 0.001, p=0.01, p_worse=0.01, verdict=verdict,
    )  # fmt: skip


ALL_SAME = [cell("feed", "click", "same"), cell("live", "click", "same"), cell("", "", "same")]
ONE_WORSE = [
    cell("feed", "click", "better", -0.01),
    cell("live", "click", "worse", 0.02),
    cell("", "", "better", -0.004),
]


def test_a_challenger_that_is_worse_nowhere_is_promoted():
    decision = decide(Gate(), ALL_SAME, True, FINE)
    assert (decision.promote, decision.verdict) == (True, "promoted")
    assert decision.reasons == ["no worse than the champion in the 2 cells that could be judged"]


def test_one_worse_cell_rejects_and_is_named_with_its_numbers():
    decision = decide(Gate(tolerance=0.002), ONE_WORSE, True, FINE)
    assert (decision.promote, decision.verdict) == (False, "rejected")
    assert decision.reasons[1] == (
        "live × click: logloss is worse by 0.0200, more than the tolerance of 0.002 "
        "(difference +0.0200, interval +0.0190 … +0.0210, p = 0.01)"
    )
    assert "feed × click: logloss is better by 0.0100" in decision.reasons[2]


def test_auc_is_worse_when_it_falls():
    found = [cell("live", "click", "worse", -0.03, "auc"), cell("", "", "same", 0.0, "auc")]
    decision = decide(Gate(measure="auc"), found, True, FINE)
    assert "live × click: auc is worse by 0.0300" in decision.reasons[1]


def test_a_worse_whole_rejects_though_every_cell_is_within_the_tolerance():
    found = [cell("feed", "click", "same", 0.001), cell("", "", "worse", 0.001)]
    decision = decide(Gate(), found, True, FINE)
    assert decision.verdict == "rejected"
    assert decision.reasons[1].startswith("overall: logloss is worse by 0.0010 (")


def test_cells_with_too_few_labels_do_not_reject_and_are_named():
    found = [*ALL_SAME, cell("deals", "click", "insufficient")]
    decision = decide(Gate(), found, True, FINE)
    assert decision.promote
    assert decision.reasons[-1] == "not judged for want of labels: deals × click"


def test_nothing_is_promoted_when_nothing_could_be_judged():
    for found in ([], [cell("", "", "insufficient")]):
        decision = decide(Gate(minimum=30), found, True, FINE)
        assert decision.verdict == "rejected"
        assert "too few labels to judge" in decision.reasons[1]


def test_the_first_model_is_promoted_when_it_is_sound():
    decision = decide(Gate(), [], False, FINE)
    assert (decision.promote, decision.verdict) == (True, "first")


def test_the_first_model_must_beat_a_constant():
    worse = Check(name="beats-constant", passed=False, sentence="NE 1.2", first_only=True)
    decision = decide(Gate(), [], False, [FINE[0], worse])
    assert (decision.promote, decision.verdict) == (False, "rejected")
    assert "beats-constant: NE 1.2" in decision.reasons


def test_a_later_model_is_compared_with_the_champion_not_with_a_constant():
    worse = Check(name="beats-constant", passed=False, sentence="NE 1.2", first_only=True)
    assert decide(Gate(), ALL_SAME, True, [FINE[0], worse]).promote


@pytest.mark.parametrize("mode", ["enforce", "off"])
@pytest.mark.parametrize("champion_exists", [True, False])
def test_predictions_that_are_not_finite_are_never_promoted(mode, champion_exists):
    broken = Check(name="finite", passed=False, sentence="3 of 10 predictions are not finite")
    decision = decide(Gate(mode=mode), ALL_SAME, champion_exists, [broken])
    assert (decision.promote, decision.verdict) == (False, "rejected")
    assert decision.reasons[1] == "finite: 3 of 10 predictions are not finite"


@pytest.mark.parametrize(("found", "would"), [(ALL_SAME, True), (ONE_WORSE, False)])
def test_mode_report_says_what_it_would_do_and_promotes_nothing(found, would):
    decision = decide(Gate(mode="report"), found, True, FINE)
    assert (decision.promote, decision.verdict) == (False, "reported")
    assert decision.would_promote is would
    assert "nothing changes" in decision.reasons[0]


def test_mode_off_promotes_without_a_comparison():
    decision = decide(Gate(mode="off"), ONE_WORSE, True, FINE)
    assert (decision.promote, decision.verdict) == (True, "promoted")
    assert "was not compared" in decision.reasons[0]


def test_sanity_counts_wrong_predictions_and_reads_the_overall_entropy():
    whole = CellMetrics(scenario="", task="", n=4, positives=2, ne=Estimate(value=0.8))
    predicted, labels = np.array([[0.1, np.nan], [np.inf, 0.2]]), np.array([[0, 1], [1, 0]])
    finite, beats = sanity(predicted, labels, [whole])
    assert (finite.passed, finite.sentence) == (False, "2 of 4 predictions are not finite numbers")
    assert beats.passed
    assert not sanity(np.array([[0.5]]), np.array([[1.0]]), [])[1].passed


def test_a_cell_that_does_not_exist_is_asked_for_no_prediction():
    absent = np.array([[0.1, np.nan], [0.3, 0.2]]), np.array([[0, np.nan], [1, 0]])
    finite, _ = sanity(*absent, [])
    assert finite.passed


def measured(metric, value, low, high, scenario="live", task="click", **more):
    names = {"scenario": scenario, "task": task, "slice": ""}
    return {**names, "metric": metric, "value": value, "low": low, "high": high, **more}


def test_a_cell_whose_probabilities_are_out_of_bounds_beyond_doubt_rejects_and_is_named():
    gate = Gate.model_validate({"calibration": {"pcoc": [0.8, 1.25], "ece": 0.05}})
    rows = [
        measured("pcoc", 1.42, 1.31, 1.54),
        measured("ece", 0.09, 0.06, 0.12, scenario="feed"),
        measured("pcoc", 1.3, 1.2, 1.4, scenario="search"),
        measured("pcoc", 9.0, None, None, task="buy"),
        measured("pcoc", 9.0, 8.0, 9.5, scenario=""),
        measured("pcoc", 9.0, 8.0, 9.5, slice="new_users"),
        measured("auc", 0.5, 0.4, 0.6),
    ]
    decision = decide(gate, ALL_SAME, True, [*FINE, *calibration(gate, rows)])
    assert decision.verdict == "rejected"
    assert decision.reasons[1:] == [
        "calibration: live × click: predicted over observed positives is 1.42 "
        "(interval 1.31 … 1.54, allowed 0.8 … 1.25)",
        "calibration: feed × click: the calibration error is 0.09 "
        "(interval 0.06 … 0.12, allowed at most 0.05)",
    ]
    assert [check.passed for check in calibration(gate, rows[2:])] == [True]


def test_drift_of_severity_stop_rejects_and_a_warning_does_not():
    found = list(
        drift(
            [
                {"severity": "warn", "text": "the device moved"},
                {"severity": "stop", "text": "search: half of the queries are unknown"},
            ]
        )
    )
    decision = decide(Gate(), ALL_SAME, True, [*FINE, *found])
    assert decision.reasons[1:] == ["drift: search: half of the queries are unknown"]
    assert decide(Gate(), [], False, [*FINE, *found]).verdict == "rejected"


def test_a_gate_that_is_off_asks_for_sound_files_and_finite_numbers_only():
    off = Gate(mode="off")
    found = [
        *calibration(off, [measured("pcoc", 9.0, 8.0, 9.5)]),
        *drift([{"severity": "stop", "text": "x"}]),
    ]
    assert decide(off, ONE_WORSE, True, [*FINE, *found]).promote
    broken = Check(name="artifact", passed=False, sentence="model.json is not as it was saved")
    assert not decide(off, ONE_WORSE, True, [*FINE, broken]).promote


def test_a_cell_may_have_a_tolerance_of_its_own():
    gate = Gate(tolerance=0.002, tolerances={"live": 0.01, "live/click": 0.015, "buy": 0.5})
    assert gate.tolerance_of("live", "click") == 0.015
    assert gate.tolerance_of("live", "buy") == 0.01
    assert gate.tolerance_of("feed", "buy") == 0.5
    assert gate.tolerance_of("", "") == 0.002
    decision = decide(gate, ONE_WORSE, True, FINE)
    assert "worse by 0.0200, more than the tolerance of 0.015 (" in decision.reasons[1]


def test_a_slices_mean_does_not_stand_for_the_whole():
    def mean(name, ne):
        return CellMetrics(
            scenario="", task="", slice=name, n=9, positives=4, ne=ne and Estimate(value=ne)
        )

    predicted, labels = np.array([[0.5]]), np.array([[1.0]])
    for slices_ne in (None, 1.4):
        found = [mean("new_users", slices_ne), mean("", 0.8)]
        assert sanity(predicted, labels, found)[1].passed
