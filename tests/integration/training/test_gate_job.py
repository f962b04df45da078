"""``gate`` on real trainings: what it lets through, refuses by name, keeps and asks."""

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from features.errors import ApprovalError, ChampionChangedError
from jobs.models import approve, history, promote, reject
from jobs.runs import record, results
from jobs.train import registry_of
from tests.integration.training.market import FIRST, SECOND, THIRD, Market, shuffled

pytestmark = pytest.mark.slow


def test_a_challenger_that_is_worse_in_the_smallest_scenario_only_is_refused_by_its_name(
    market: Market,
) -> None:
    assert market.gated(FIRST)["verdict"] == "first"
    market.write(date(2026, 3, 1), FIRST, shuffled)
    market.judged(SECOND)
    said = market.gated(SECOND)

    assert (said["verdict"], said["champion"]) == ("rejected", "1")
    cells = {one["scenario"]: one["verdict"] for one in said["cells"] if one["scenario"]}
    assert cells == {"feed": "same", "search": "same", "live": "worse"}
    assert any(reason.startswith("live × click: logloss is worse by") for reason in said["reasons"])
    registry = registry_of(market.spec, market.home)
    assert registry.champion().version == "1"
    tags = registry.get("2").tags
    assert (tags["gate"], tags["gate_champion"], tags["gate_ds"]) == ("rejected", "1", str(SECOND))

    # The same the other way round: one that is better there passes a champion that is not.
    promote(spec=market.spec, home=market.home, version="2")
    market.write(date(2026, 3, 1), THIRD)
    market.judged(THIRD)
    said = market.gated(THIRD)

    assert (said["verdict"], said["champion"], said["previous"]) == ("promoted", "3", "2")
    assert any(
        reason.startswith("live × click: logloss is better by") for reason in said["reasons"]
    )
    events = history(spec=market.spec, home=market.home)["events"]
    assert events[0]["why"].startswith(f"gate of {THIRD}: no worse than the champion")
    assert market.gated(THIRD)["skipped"], "once decided is decided"
    _require_evidence(market, said)


def _require_evidence(market: Market, said: dict[str, Any]) -> None:
    """Require all that a promotion rests on beside its model, under the checksum in its tags."""
    run = registry_of(market.spec, market.home).get("3")
    assert said["evidence"].startswith(f"runs:/{run.run_id}/gate/{THIRD}-")
    file = Path(run.source).parent / "gate" / said["evidence"].rpartition("/")[2]
    kept = json.loads(file.read_text())
    assert hashlib.sha256(file.read_bytes()).hexdigest() == run.tags["gate_sha256"]
    assert kept["verdict"] == "promoted" and kept["champion"] == "2"
    assert kept["gate"]["tolerance"] == 0.005
    assert {check["name"] for check in kept["decision"]["checks"]} == {
        "finite",
        "beats-constant",
        "calibration",
        "artifact",
    }
    assert kept["cells"] == results(market.lake, THIRD)["evaluate"]["cells"]
    assert kept["tags"]["checksum"] == run.tags["checksum"]


def test_a_gate_refuses_drift_that_stops_bad_calibration_and_a_changed_file(
    market: Market,
) -> None:
    evaluated = results(market.lake, FIRST)["evaluate"]
    finding = {"severity": "stop", "kind": "input", "text": "live: the price moved"}
    record(market.lake, FIRST, "evaluate", 1.0, {**evaluated, "drift": {"findings": [finding]}})
    said = market.gated(FIRST)
    assert (said["verdict"], said["champion"]) == ("rejected", None)
    assert "drift: live: the price moved" in said["reasons"]

    record(market.lake, FIRST, "evaluate", 1.0, evaluated)
    narrow = market.spec.gate.calibration.model_copy(update={"pcoc": (3.0, 4.0)})
    said = market.gated(FIRST, calibration=narrow)
    assert said["verdict"] == "rejected"
    assert any(
        reason.startswith("calibration: feed × click: predicted over observed positives is")
        for reason in said["reasons"]
    )

    version = registry_of(market.spec, market.home).get("1")
    weights = Path(version.source) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    record(market.lake, FIRST, "evaluate", 1.0, evaluated)
    said = market.gated(FIRST)
    assert said["verdict"] == "rejected"
    assert any(
        "model.safetensors of challenger of shop version 1 is not" in reason
        for reason in said["reasons"]
    )
    kept = list(Path(version.source).parent.glob("gate/*.json"))
    assert 1 <= len(kept) <= 3, "every decision is kept, those of one second as one"


def test_a_model_that_waits_is_approved_or_refused_by_a_person(market: Market) -> None:
    approval = market.spec.gate.model_validate({"approval": {"timeout": "2d"}}).approval
    said = market.gated(FIRST, approval=approval)
    assert (said["verdict"], said["champion"]) == ("waiting", None)
    assert (said["approval_seconds"], said["approval_otherwise"]) == (172800.0, "reject")
    place: dict[str, Any] = {"spec": market.spec, "home": market.home}
    assert approve(**place, version="1", why="looks well")["champion"] == "1"
    assert approve(**place, version="1")["changed"] is False, "an answer given twice counts once"
    with pytest.raises(ApprovalError, match="does not wait for an answer: it was approved already"):
        reject(**place, version="1")

    market.judged(SECOND)
    market.gated(SECOND, approval=approval, mode="enforce", tolerance=9.0)
    said = reject(**place, version="2", why="not before the holidays")
    assert (said["rejected"], said["champion"]) == ("2", "1")
    reject(**place, version="2")
    with pytest.raises(ApprovalError, match="it was refused already"):
        approve(**place, version="2")
    told = [(one["action"], one["why"]) for one in history(**place)["events"]]
    assert told[:2] == [
        ("reject", "not before the holidays"),
        ("promote", "approved: looks well"),
    ]


def test_a_model_compared_with_another_champion_is_not_promoted_over_the_new_one(
    market: Market,
) -> None:
    evaluated = results(market.lake, FIRST)["evaluate"]
    record(market.lake, FIRST, "evaluate", 1.0, {**evaluated, "champion": "7"})
    with pytest.raises(ChampionChangedError, match="compared with champion 7, and the champion"):
        market.gated(FIRST)
    assert registry_of(market.spec, market.home).champion() is None
