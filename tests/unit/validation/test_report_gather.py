"""From the records of a night to the report's values."""

from datetime import UTC, datetime
from typing import Any

import pytest

from features.spec import Spec, load_spec
from validation.report import ReportData, render
from validation.report.gather import gather, night
from validation.report.records import Records, Run

NIGHT = "2026-01-14"
WRITTEN = datetime(2026, 1, 15, tzinfo=UTC)

EVALUATED: dict[str, Any] = {
    "version": "8",
    "champion": "7",
    "judged": {"click": NIGHT, "purchase": "2026-01-11"},
    "probe_rows": 500,
    "cells": [
        {
            "scenario": "feed",
            "task": "click",
            "n": 400,
            "positives": 60,
            "auc": 0.72,
            "auc_low": 0.69,
            "auc_high": 0.75,
            "logloss": 0.36,
            "ne": 0.91,
            "pcoc": 1.02,
            "champion_logloss": 0.37,
            "baseline_auc": 0.71,
            "difference": -0.01,
            "diff_low": -0.02,
            "diff_high": 0.0,
            "verdict": "better",
        },
        {"scenario": "deals", "task": "like", "n": 0, "positives": 0, "verdict": "insufficient"},
    ],
    "masks": [
        {
            "scenario": "feed",
            "task": "click",
            "flow": "shared_shared",
            "keep_rate": 1.0,
            "strength": 0.8,
            "champion_keep_rate": 0.0,
            "champion_strength": 0.0,
            "flip": True,
        }
    ],
    "agreement": 0.75,
    "chance": 0.5,
}
GATE = {"verdict": "promoted", "reasons": ["it is better"], "version": "8", "previous": "7"}
TRAIN = {
    "split": {
        "train": ["2026-01-12"],
        "validate": ["2026-01-13"],
        "judge": {"click": NIGHT, "purchase": "2026-01-11"},
    },
    "challenger": {
        "looks": [{"stage": "train", "step": 3, "train_loss": 0.3, "validation": 0.25}],
    },
    "rows": {"train": 100, "validate": 20},
    "seed": 1,
}
SAMPLES = {
    "ds": NIGHT,
    "rows": 99,
    "as_of": NIGHT,
    "quarantined": {"no-device": 2},
    "steps": {"spark": 4.0, "read": 5.0},
}
AUDIT = {
    "passed": True,
    "findings": [{"check": "label-rate", "severity": "warn", "message": "click moved by 60%"}],
}
PUBLISHED = {
    NIGHT: {
        "rows": 100,
        "measures": {
            "scenarios": {"feed": 60, "live": 40},
            "cells": {
                "feed/click": {"known": 60, "positives": 10},
                "live/click": {"known": 40, "positives": 5},
                "live/purchase": {"known": 0, "positives": 0},
            },
        },
        "version": 4,
        "content_hash": "1f",
    }
}


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load_spec("bazaar")


def _run(step: str, result: dict[str, Any], ds: str = NIGHT, ended: str = "00:20:00") -> Run:
    return Run(ds=ds, step=step, ended=f"2026-01-15T{ended}+00:00", seconds=10.0, result=result)


def _full() -> list[Run]:
    return [
        _run("audit", AUDIT, ended="00:09:00"),
        _run("samples", SAMPLES, ended="00:10:00"),
        _run("train", TRAIN, ended="00:11:00"),
        _run("evaluate", EVALUATED, ended="00:12:00"),
        _run("gate", GATE, ended="00:13:00"),
        _run("report", {}, ended="00:14:00"),
    ]


def _gather(spec: Spec, runs: list[Run], **records: Any) -> ReportData:
    records = {"published": PUBLISHED, **records}
    return gather(spec, NIGHT, Records(runs=runs, **records), written=WRITTEN)


def test_a_whole_night_is_gathered_and_renders(spec: Spec) -> None:
    data = _gather(spec, _full())
    assert data.decision.outcome == "promoted"
    assert (data.decision.version, data.decision.champion) == ("8", "7")
    assert data.quality is not None
    feed = data.quality.cells[0]
    assert (feed.challenger.auc.low, feed.difference.high) == (0.69, 0.0)
    assert feed.baseline.auc.value == 0.71
    assert "it is better" in render(data).lower()


@pytest.mark.parametrize(
    ("gate", "outcome"),
    [
        ({"verdict": "promoted"}, "promoted"),
        ({"verdict": "first"}, "first champion"),
        ({"verdict": "rejected"}, "rejected"),
        ({"verdict": "waiting"}, "waiting"),
        ({"verdict": "reported"}, "reported"),
        ({"verdict": "unchanged"}, "unchanged"),
        ({"verdict": "a word of a later release"}, "undecided"),
    ],
)
def test_every_word_of_the_gate_has_its_outcome(
    spec: Spec, gate: dict[str, str], outcome: str
) -> None:
    assert _gather(spec, [_run("gate", gate)]).decision.outcome == outcome


def test_after_a_promotion_the_report_names_the_champion_before_it(spec: Spec) -> None:
    gate = {**GATE, "previous": None, "champion": "8", "verdict": "first"}
    decision = _gather(spec, [_run("evaluate", EVALUATED), _run("gate", gate)]).decision
    assert decision.champion is None


def test_a_number_that_is_none_is_shown_as_unknown(spec: Spec) -> None:
    cell = {**EVALUATED["cells"][0], "auc": float("nan"), "diff_high": float("inf")}
    data = _gather(spec, [_run("evaluate", {**EVALUATED, "cells": [cell]})])
    assert data.quality is not None
    assert data.quality.cells[0].challenger.auc.value is None
    assert data.quality.cells[0].difference.high is None
    assert "nan" not in render(data).lower()


def test_a_cell_the_spec_does_not_have_is_absent_whatever_the_records_say(spec: Spec) -> None:
    quality = _gather(spec, _full()).quality
    assert quality is not None
    deals = [cell for cell in quality.cells if (cell.scenario, cell.task) == ("deals", "like")]
    assert [cell.exists for cell in deals] == [False]


def test_every_day_of_the_window_is_listed_with_what_it_was_used_for(spec: Spec) -> None:
    days = _gather(spec, _full()).data.days
    assert [(day.ds, day.uses, day.judged) for day in days] == [
        ("2026-01-11", ("judge",), ("purchase",)),
        ("2026-01-12", ("train",), ()),
        ("2026-01-13", ("validate",), ()),
        ("2026-01-14", ("judge",), ("click",)),
    ]


def test_days_before_the_training_window_are_left_out(spec: Spec) -> None:
    published = {"2025-11-01": {"rows": 5}, "2026-01-10": {"rows": 7, "version": 3}}
    days = _gather(spec, _full(), published=published).data.days
    assert days[0].ds == "2026-01-10"
    assert (days[0].rows, days[0].version) == (7, 3)


def test_a_day_shows_what_its_published_partition_holds(spec: Spec) -> None:
    day = _gather(spec, _full()).data.days[-1]
    assert (day.rows, day.version) == (100, 4)
    assert day.scenarios == {"feed": 60, "live": 40}
    assert day.labels == {"click": 0.15, "like": None, "purchase": None}
    assert (day.quarantined, day.as_of) == ({"no-device": 2}, NIGHT)


def test_findings_are_unknown_until_the_nights_samples_were_audited(spec: Spec) -> None:
    assert _gather(spec, [_run("evaluate", EVALUATED)]).data.findings is None
    findings = _gather(spec, _full()).data.findings
    assert findings is not None
    assert (findings[0].severity, findings[0].text) == ("warn", "click moved by 60%")


def test_a_day_that_the_night_restated_shows_its_time_and_its_findings(spec: Spec) -> None:
    moved = {"findings": [{"check": "volume", "severity": "warn", "message": "fewer rows"}]}
    runs = [
        *_full(),
        _run("audit", moved, ds="2026-01-11", ended="00:10:20"),
        _run("samples", {"rows": 90, "as_of": NIGHT}, ds="2026-01-11", ended="00:10:30"),
        _run("samples", {"rows": 80, "as_of": "2026-01-13"}, ds="2026-01-12", ended="00:10:40"),
    ]
    data = _gather(spec, runs)
    assert [step.name for step in data.steps][:2] == ["samples", "samples of 11 Jan"]
    assert data.data.findings is not None
    assert [finding.ds for finding in data.data.findings] == [NIGHT, "2026-01-11"]


def test_the_report_and_the_audit_are_no_steps_of_their_own(spec: Spec) -> None:
    steps = _gather(spec, _full()).steps
    assert [step.name for step in steps] == ["samples", "train", "evaluate", "gate"]
    assert [step.rows for step in steps] == [99, 120, 500, None]
    assert steps[0].parts == (("spark", 4.0), ("read", 5.0))


def test_the_training_is_told_look_by_look(spec: Spec) -> None:
    looks = _gather(spec, _full()).looks
    assert [(look.stage, look.step, look.validation_loss) for look in looks] == [("train", 3, 0.25)]


def _row(ds: str, value: float, **other: Any) -> dict[str, Any]:
    named = {"scenario": "", "task": "click", "role": "challenger", "metric": "logloss"}
    return {**named, "stage": "provisional", "version": "8", **other, "ds": ds, "value": value}


def test_trends_hold_the_challengers_of_the_last_nights_as_the_next_day_judged_them(
    spec: Spec,
) -> None:
    metrics = [
        _row("2026-01-13", 0.4, version="7"),
        _row("2026-01-13", 0.42, version="7", stage="final"),
        _row(NIGHT, 0.36),
        _row(NIGHT, 0.9, role="champion"),
        _row(NIGHT, 0.7, metric="auc"),
        _row(NIGHT, 0.9) | {"slice": "new_users"},
        _row(NIGHT, 0.8) | {"scenario": "feed"},
        _row("2026-01-15", 0.1),
    ]
    trail = [{**PROMOTED, "from": "6", "to": "7"}]
    quality = _gather(spec, _full(), metrics=metrics, trail=trail).quality
    assert quality is not None
    points = quality.trends["click"]
    assert [(one.value.value, one.final, one.crowned) for one in points] == [
        (0.42, True, True),
        (0.36, False, False),
    ]


PROMOTED = {
    "number": 3,
    "at": "2026-01-16T08:12:00+00:00",
    "who": "ada@desk",
    "action": "promote",
    "from": "7",
    "to": "8",
    "why": "looks right",
    "state": "done",
}


@pytest.mark.parametrize("verdict", ["waiting", "reported", "rejected"])
def test_a_night_that_waited_is_promoted_once_a_person_agreed(spec: Spec, verdict: str) -> None:
    runs = [_run("evaluate", EVALUATED), _run("gate", {**GATE, "verdict": verdict})]
    before, after = (_gather(spec, runs, trail=trail).decision for trail in ([], [PROMOTED]))
    assert before.outcome == verdict
    assert after.outcome == "promoted"
    assert after.since == (
        "Version 8 was made champion on 16 Jan 2026 at 08:12 UTC by ada@desk (looks right)",
    )
    assert "waits for a person" not in render(_gather(spec, runs, trail=[PROMOTED]))


def test_what_the_gate_itself_did_is_not_told_twice_and_a_rollback_is(spec: Spec) -> None:
    runs = [_run("evaluate", EVALUATED), _run("gate", GATE)]
    back = {**PROMOTED, "action": "rollback", "from": "8", "to": "7", "why": ""}
    decision = _gather(spec, runs, trail=[{**PROMOTED, "who": "airflow x"}, back]).decision
    assert decision.outcome == "promoted"
    assert decision.since == (
        "Version 8 was rolled back to version 7 on 16 Jan 2026 at 08:12 UTC by ada@desk",
    )


def test_a_rejected_approval_is_a_rejection(spec: Spec) -> None:
    runs = [_run("evaluate", EVALUATED), _run("gate", {**GATE, "verdict": "waiting"})]
    said = {**PROMOTED, "action": "reject", "from": None, "to": None, "version": "8", "why": "no"}
    assert _gather(spec, runs, trail=[said]).decision.outcome == "rejected"


SETTLED = {
    "version": "8",
    "judged_on": "2026-01-15",
    "tasks": ["click"],
    "complete": False,
    "cells": [
        {**EVALUATED["cells"][0], "difference": 0.002, "diff_low": -0.01, "diff_high": 0.014}
        | {"verdict": "unsure", "n": 500}
    ],
}


def test_the_next_days_numbers_stand_beside_the_provisional_ones(spec: Spec) -> None:
    quality = _gather(spec, [*_full(), _run("settle", SETTLED)]).quality
    assert quality is not None
    cell = quality.cells[0]
    assert cell.difference.value == -0.01
    assert cell.next_day is not None
    assert (cell.next_day.difference.value, cell.next_day.verdict) == (0.002, "unsure")
    assert (quality.settled, quality.next_day) == (("click",), "2026-01-15")
    assert quality.settles == "2026-01-18", "purchases take three days"


def test_what_was_settled_of_another_version_is_not_shown(spec: Spec) -> None:
    quality = _gather(spec, [*_full(), _run("settle", {**SETTLED, "version": "6"})]).quality
    assert quality is not None
    assert (quality.settled, quality.cells[0].next_day) == ((), None)


def test_a_page_says_whether_its_numbers_are_provisional(spec: Spec) -> None:
    assert "<b>Provisional.</b>" in render(_gather(spec, _full()))
    page = render(_gather(spec, [*_full(), _run("settle", SETTLED)]))
    assert "<b>Judged again on 15 Jan</b>" in page
    assert "<b>Provisional.</b>" not in page


def test_all_measures_of_the_night_are_gathered_with_their_change(spec: Spec) -> None:
    metrics = [
        _row(NIGHT, 0.36, low=0.35, high=0.37, diff=-0.01, diff_low=-0.02, diff_high=0.0, note=""),
        _row(NIGHT, 0.37, role="champion"),
        _row(NIGHT, 0.41, metric="gauc_dropped"),
        _row(NIGHT, 0.5, stage="final"),
    ]
    quality = _gather(spec, _full(), metrics=metrics).quality
    assert quality is not None
    (one,) = quality.numbers
    assert one.models["challenger"]["logloss"].low == 0.35
    assert one.models["champion"]["logloss"].value == 0.37
    assert one.changes["logloss"].high == 0.0
    assert "41.0% left out" in render(_gather(spec, _full(), metrics=metrics))


def test_drift_is_unknown_until_somebody_looked_and_told_in_its_sentences(spec: Spec) -> None:
    assert _gather(spec, _full()).drift is None
    told = {"findings": [{"severity": "stop", "text": "tag in feed: 'cats' 1% before, 9% now"}]}
    row = {
        "kind": "input", "measure": "psi", "scenario": "feed", "task": "", "subject": "tag",
        "value": 0.4, "usual": None, "moved": 0.4, "low": None, "high": None,
        "limit": 0.1, "stop": 0.3, "severity": "stop", "text": "tag in feed: …",
    }  # fmt: skip
    runs = [
        _run("evaluate", {**EVALUATED, "drift": {**told, "probe": {"drawn": NIGHT, "rows": 9}}})
    ]
    page = render(_gather(spec, runs, drift=[row]))
    assert "'cats' 1% before" in page.replace("&#39;", "'")
    assert "1 number moved beyond its limit, 1 of them too far" in page


def test_masks_and_their_agreement_are_gathered(spec: Spec) -> None:
    masks = _gather(spec, _full()).masks
    assert masks is not None
    assert masks.cells[0].flows[0].flip
    assert (masks.agreement, masks.chance, masks.samples) == (0.75, 0.5, 500)


def test_provenance_lists_what_is_known_and_skips_what_is_not(spec: Spec) -> None:
    register = {"version": "8", "tags": {"git_commit": "abc", "delta_version_encoded": 31}}
    named = dict(_gather(spec, [*_full(), _run("register", register)]).provenance)
    assert named == {
        "Delta version of encoded": "31",
        "git commit": "abc",
        "seed": "1",
        "Delta version of samples": "4",
        "samples’ content hash": "1f",
    }


def test_an_audit_that_stopped_the_night_is_its_outcome(spec: Spec) -> None:
    stop = {"check": "volume", "severity": "stop", "message": "80% fewer rows"}
    data = _gather(spec, [_run("audit", {"passed": False, "findings": [stop]})])
    assert data.decision.outcome == "failed"
    assert data.decision.reasons[0].startswith("The audit stopped the samples of 2026-01-14")
    assert "80% fewer rows" in render(data)


def test_a_night_in_the_index_has_its_own_rows_and_the_gates_first_reason() -> None:
    line = night(_full(), NIGHT)
    assert (line.outcome, line.version, line.champion) == ("promoted", "8", "7")
    assert (line.rows, line.reason, line.seconds) == (99, "it is better", 40.0)


def test_a_night_that_its_audit_stopped_says_why_at_the_top(spec: Spec) -> None:
    findings = [
        {"check": "label-rate", "severity": "warn", "message": "click moved"},
        {"check": "volume", "severity": "stop", "message": "12 samples are too few"},
        {"check": "schema", "severity": "stop", "message": "column x is missing"},
    ]
    runs = [_run("audit", {"passed": False, "findings": findings})]
    assert _gather(spec, runs).decision.reasons == (
        "The audit stopped the samples of 2026-01-14 (volume: 12 samples are too few)",
        "schema: column x is missing",
    )
