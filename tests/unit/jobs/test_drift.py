"""The tables of drift, on a small encoded table without Spark."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from features.lake import Lake
from features.spec import Spec
from features.spec.load import parse_spec
from jobs import drift

SHOP = """
product: shop
sources: {log: {path: "log.csv", time: {column: at}}}
impression: {source: log, key: [user_id, at]}
scenarios: {column: place, values: {feed: feed, live: live}}
tasks: {click: {label: clicked = 1}}
features: {categories: [device, {column: tags, multi: true}], numbers: [price]}
"""
FIRST = date(2026, 3, 1)
NIGHT = FIRST + timedelta(days=7)


@pytest.fixture
def spec() -> Spec:
    return parse_spec(SHOP, "shop.yaml")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Eight days; the vocabulary was made on the first."""
    lake = Lake(str(tmp_path), "shop")
    Path(lake.path("encoded")).mkdir(parents=True)
    tokens = {"feature": ["c_device"] * 4, "index": pa.array([1, 2, 3, 4], pa.int32())}
    texts = {"token": ["phone", "desk", "tv", "watch"], "ds": [str(FIRST)] * 3 + [str(NIGHT)]}
    write_deltalake(lake.path("vocabulary"), pa.table({**tokens, **texts}))
    for back in range(8):
        write_day(lake, FIRST + timedelta(days=back))
    return lake


def write_day(lake: Lake, day: date, shares=(0.5, 0.3, 0.2), content: str = "one") -> None:
    rng = np.random.default_rng(day.toordinal())
    n, ds = 1500, day.isoformat()
    rows = pa.table(
        {
            "ds": [ds] * n,
            "sample_id": [f"{ds}-{row:05d}" for row in range(n)],
            "scenario": pa.array((rng.random(n) < 0.3).astype(np.int32)),
            "user": pa.array(rng.integers(0, 400, n)),
            "y_click": pa.array((rng.random(n) < 0.2).astype(np.float32)),
            "c_device": pa.array((rng.choice(len(shares), n, p=shares) + 1).astype(np.int32)),
            "m_tags": pa.array(
                [rng.integers(1, 5, rng.integers(0, 3)).tolist() for _ in range(n)],
                pa.list_(pa.int32()),
            ),
            "n_price": pa.array(rng.normal(size=n).astype(np.float32)),
        }
    )
    said = {"ds": ds, "content_hash": f"{ds} {content}"}
    write_deltalake(
        lake.path("encoded"),
        rows,
        partition_by=["ds"],
        mode="overwrite",
        predicate=f"ds = '{ds}'" if lake.exists("encoded") else None,
        schema_mode="merge" if lake.exists("encoded") else None,
        commit_properties=CommitProperties(custom_metadata={"userMetadata": json.dumps(said)}),
    )


def test_a_quiet_week_has_a_reading_for_everything_and_no_finding(spec: Spec, lake: Lake) -> None:
    readings = drift.inputs(spec, lake, NIGHT)
    found = {(one.measure, one.subject) for one in readings}
    assert found >= {("psi", "c_device"), ("psi", "m_tags"), ("psi", "n_price"), ("volume", "")}
    assert drift.findings(readings) == []
    assert len(lake.days("profiles")) == 8


def test_a_finding_calls_the_token_by_its_text(spec: Spec, lake: Lake) -> None:
    write_day(lake, NIGHT, shares=(0.1, 0.3, 0.6))
    (first, *_) = drift.findings(drift.inputs(spec, lake, NIGHT))
    assert (first["severity"], first["measure"], first["subject"]) == ("warn", "psi", "c_device")
    assert "'tv' " in first["text"] or "'phone' " in first["text"]
    assert "stability index" in first["text"]


def test_tokens_first_given_an_index_that_day_are_new_and_earlier_days_unknown(
    spec: Spec, lake: Lake
) -> None:
    write_day(lake, NIGHT, shares=(0.5, 0.3, 0.1, 0.1))
    (feed, *_) = [one for one in drift.inputs(spec, lake, NIGHT) if one.measure == "oov"]
    assert feed.subject == "c_device"
    assert feed.value == pytest.approx(0.1, abs=0.03)
    assert feed.severity == "warn", "six days before had a vocabulary and nothing new"


def test_a_restated_day_gets_its_profile_anew_and_the_others_keep_theirs(
    spec: Spec, lake: Lake
) -> None:
    drift.inputs(spec, lake, NIGHT)
    before = lake.open("profiles").version()
    drift.inputs(spec, lake, NIGHT)
    assert lake.open("profiles").version() == before
    write_day(lake, FIRST + timedelta(days=3), content="two")
    drift.inputs(spec, lake, NIGHT)
    assert lake.open("profiles").version() == before + 1


def test_of_a_large_scenario_a_part_is_looked_at_and_all_are_counted(
    spec: Spec, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "MOST", 300)
    readings = drift.inputs(spec, lake, NIGHT)
    counted = {one.scenario: one.n for one in readings if one.measure == "volume"}
    looked = {one.scenario: one.n for one in readings if one.subject == "n_price"}
    assert sum(counted.values()) == 1500
    assert looked == {"feed": 300, "live": 300}
    assert drift.findings(readings) == []


def test_the_probe_stays_until_the_features_change(spec: Spec, lake: Lake) -> None:
    probe, drawn = drift.probe(spec, lake, NIGHT - timedelta(days=1))
    assert drawn == str(NIGHT - timedelta(days=1))
    again, same = drift.probe(spec, lake, NIGHT)
    assert (same, again.sample_id.tolist()) == (drawn, probe.sample_id.tolist())
    fewer = parse_spec(SHOP.replace(", numbers: [price]", ""), "shop.yaml")
    assert drift.probe(fewer, lake, NIGHT)[1] == str(NIGHT)
    assert drift.probe(spec, lake, NIGHT)[1] == drawn


def test_the_probe_holds_so_many_of_each_scenario(spec: Spec, lake: Lake) -> None:
    small = parse_spec(SHOP + "drift: {probe: 50}\n", "shop.yaml")
    probe, _ = drift.probe(small, lake, NIGHT)
    assert np.bincount(probe.scenario).tolist() == [50, 50]


def test_what_predictions_moved_by_on_earlier_nights_is_learned(spec: Spec, lake: Lake) -> None:
    for back, moved in enumerate((0.10, 0.14, 0.12, 0.5)):
        ds = (NIGHT - timedelta(days=3 - back)).isoformat()
        row = {"ds": ds, "kind": "prediction", "measure": "prediction-mean"}
        place = {"scenario": "feed", "task": "click", "moved": moved}
        lake.replace("drift", {"ds": ds}, pa.Table.from_pylist([{**row, **place}]))
    limit = drift.learned(lake, NIGHT)("prediction-mean", "feed", "click")
    assert 0.14 < limit < 1, "the night itself does not count"
    assert drift.learned(lake, NIGHT)("prediction-mean", "live", "click") == 0
    assert drift.learned(lake, FIRST)("prediction-mean", "feed", "click") == 0
