"""``gate`` on real trainings: what it lets through, refuses by name, keeps and asks."""

import hashlib
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from features.errors import ApprovalError, ChampionChangedError
from features.spec import Spec, layout_of
from features.spec.load import parse_spec
from jobs.evaluate import evaluate
from jobs.gate import gate
from jobs.home import Home
from jobs.models import approve, history, promote, reject
from jobs.register import register
from jobs.runs import record, results
from jobs.train import registry_of, train
from tests.integration.training.conftest import write_day, write_vocabulary
from training.data import Dataset, read_days

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("store")]

MARKET = """
product: shop
sources: {log: {path: "log/{ds}.parquet", time: {column: event_time}}}
impression: {source: log, key: id, user: user_id}
scenarios: {column: place, values: {feed: feed, search: search, live: live}}
tasks: {click: {label: clicked = 1}}
features:
  categories: [place, item_id]
  numbers: [price, age]
training:
  {model: mlp_per_cell, epochs: 3, batch: 256, learning_rate: 0.01, window: 5d,
   network: {trunk: [16], scenario: [8]}}
gate: {mode: enforce, tolerance: 0.005}
"""
SIZES = {"c_place": 4, "c_item_id": 12}
SMALLEST = 2
FIRST, SECOND, THIRD = (date(2026, 3, day) for day in (6, 7, 8))


def smaller(columns: dict[str, pa.Array]) -> None:
    """Leave one in five of the smallest scenario's rows, and let the price decide a click."""
    scenario = columns["scenario"].to_numpy()
    price = columns["n_price"].fill_null(0).to_numpy()
    luck = np.random.default_rng(int(1e6 * abs(price[0]))).random(len(price))
    clicked = luck < 1 / (1 + np.exp(-2 * price))
    columns["y_click"] = pa.array(clicked.astype(np.float32))
    kept = pa.array((scenario != SMALLEST) | (np.arange(len(scenario)) % 5 == 0))
    for name, column in columns.items():
        columns[name] = column.filter(kept)


def shuffled(columns: dict[str, pa.Array]) -> None:
    """The same, with the smallest scenario's labels given to each other's rows."""
    smaller(columns)
    rows = np.flatnonzero(columns["scenario"].to_numpy() == SMALLEST)
    labels = columns["y_click"].to_numpy(zero_copy_only=False).copy()
    labels[rows] = labels[np.random.default_rng(1).permutation(rows)]
    columns["y_click"] = pa.array(labels)


class Market:
    """A product whose days can be written, and whose nights run from training to the gate."""

    def __init__(self, home: Home) -> None:
        self.home, self.lake = home, home.lake("shop")
        self.spec = parse_spec(MARKET, "shop.yaml")
        write_vocabulary(self.lake, SIZES)

    def write(self, first: date, last: date, edit: Any = smaller) -> None:
        for day in (first + timedelta(n) for n in range((last - first).days + 1)):
            write_day(
                self.lake, self.spec, SIZES, day, rows=4500, mature={"click": True}, edit=edit
            )

    def judged(self, day: date, **changed: Any) -> dict[str, Any]:
        """Train, register and evaluate a night, keeping what the commands said."""
        place = self.place(day, **changed)
        for name, step in (("train", train), ("register", register), ("evaluate", evaluate)):
            said = step(**place)
            record(self.lake, day, name, 1.0, said)
        return said

    def gated(self, day: date, **changed: Any) -> dict[str, Any]:
        said = gate(**self.place(day, **changed))
        if not said.get("skipped"):
            record(self.lake, day, "gate", 1.0, said)
        return said

    def rows(self, day: date) -> Dataset:
        version = self.lake.open("encoded").version()
        return read_days(self.lake, layout_of(self.spec), [day], version)

    def place(self, day: date, **changed: Any) -> dict[str, Any]:
        rules = self.spec.gate.model_copy(update=changed)
        spec: Spec = self.spec.model_copy(update={"gate": rules})
        return {"spec": spec, "lake": self.lake, "home": self.home, "day": day}


@pytest.fixture
def market(home: Home) -> Market:
    return Market(home)


def test_a_challenger_that_is_worse_in_the_smallest_scenario_only_is_refused_by_its_name(
    market: Market,
) -> None:
    market.write(date(2026, 3, 1), FIRST)
    market.judged(FIRST)
    assert market.gated(FIRST)["verdict"] == "first"
    market.write(date(2026, 3, 1), date(2026, 3, 6), shuffled)
    market.write(SECOND, SECOND)
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


def test_a_challenger_that_is_better_there_passes(market: Market) -> None:
    market.write(date(2026, 3, 1), FIRST, shuffled)
    market.judged(FIRST)
    promote(spec=market.spec, home=market.home, version="1")
    market.write(date(2026, 3, 1), SECOND)
    market.judged(SECOND)
    said = market.gated(SECOND)

    assert (said["verdict"], said["champion"], said["previous"]) == ("promoted", "2", "1")
    assert any(
        reason.startswith("live × click: logloss is better by") for reason in said["reasons"]
    )
    events = history(spec=market.spec, home=market.home)["events"]
    assert events[0]["why"].startswith(f"gate of {SECOND}: no worse than the champion")
    assert market.gated(SECOND)["skipped"], "once decided is decided"

    run = registry_of(market.spec, market.home).get("2")
    assert said["evidence"].startswith(f"runs:/{run.run_id}/gate/{SECOND}-")
    file = Path(run.source).parent / "gate" / said["evidence"].rpartition("/")[2]
    kept = json.loads(file.read_text())
    tags = registry_of(market.spec, market.home).get("2").tags
    assert hashlib.sha256(file.read_bytes()).hexdigest() == tags["gate_sha256"]
    assert kept["verdict"] == "promoted" and kept["champion"] == "1"
    assert kept["gate"]["tolerance"] == 0.005
    assert {check["name"] for check in kept["decision"]["checks"]} == {
        "finite",
        "beats-constant",
        "calibration",
        "artifact",
    }
    assert kept["cells"] == results(market.lake, SECOND)["evaluate"]["cells"]
    assert kept["tags"]["checksum"] == tags["checksum"]


def test_a_gate_refuses_drift_that_stops_bad_calibration_and_a_changed_file(
    market: Market,
) -> None:
    market.write(date(2026, 3, 1), FIRST)
    evaluated = market.judged(FIRST)
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
    market.write(date(2026, 3, 1), SECOND)
    market.judged(FIRST)
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
    market.write(date(2026, 3, 1), THIRD)
    market.judged(FIRST)
    market.judged(SECOND)
    promote(spec=market.spec, home=market.home, version="1")
    with pytest.raises(ChampionChangedError, match="compared with champion None, and the champion"):
        market.gated(SECOND)
    assert registry_of(market.spec, market.home).champion().version == "1"
