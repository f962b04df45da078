"""Slices of a spec, asked of small tables in the words of people."""

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from features.lake import Lake
from features.spec.load import parse_spec
from jobs.slices import slices_of

DAY = date(2026, 3, 7)
SPEC = """
product: shop
timezone: Asia/Shanghai
sources: {log: {path: "log.csv", time: {column: at}}}
impression: {source: log, key: [user_id, at]}
scenarios: {column: place, values: {feed: feed, live: live}}
tasks: {click: {label: clicked = 1}}
features: {categories: [device], numbers: [age]}
evaluation: {slices: {it: "%s"}}
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(str(tmp_path_factory.mktemp("lake")), "shop")
    ids, ds = ["d", "a", "c", "b"], [DAY.isoformat()] * 4
    encoded = {
        "ds": ds,
        "sample_id": ids,
        "scenario": pa.array([0, 1, 0, 1], pa.int32()),
        "c_device": pa.array([2, 1, 0, 2], pa.int32()),
        "n_age": pa.array([1.0, 2.0, None, 4.0], pa.float32()),
    }
    # 22:30, 23:30, 0:30 and 12:30 o'clock in Shanghai; the second-last is a Sunday there.
    hours = [(7, 14), (7, 15), (7, 16), (7, 4)]
    times = [datetime(2026, 3, day, hour, 30, tzinfo=UTC) for day, hour in hours]
    vocabulary = {
        "feature": ["c_device", "c_device", "other"],
        "index": pa.array([2, 1, 2], pa.int32()),
        "token": ["phone", "desk", "x"],
        "ds": [DAY.isoformat()] * 3,
    }
    samples = {"ds": ds, "sample_id": ids, "event_time": pa.array(times, pa.timestamp("us", "UTC"))}
    for name, rows in (("encoded", encoded), ("vocabulary", vocabulary), ("samples", samples)):
        Path(lake.path(name)).parent.mkdir(exist_ok=True)
        write_deltalake(lake.path(name), pa.table(rows))
    return lake


@pytest.mark.parametrize(
    ("condition", "held"),
    [
        ("scenario = 'live'", "ab"),
        ("c_device = 'phone'", "bd"),
        ("c_device != 'phone'", "a"),  # of c nobody knows
        ("n_age >= 2", "ab"),
        ("hour >= 22", "ad"),
        ("hour = 0 and weekday = 7", "c"),
        ("weekday = 6 and not scenario = 'live'", "d"),
    ],
)
def test_a_slice_holds_the_samples_that_a_person_means(
    lake: Lake, condition: str, held: str
) -> None:
    spec = parse_spec(SPEC % condition, "shop.yaml")
    found = slices_of(spec, lake, [DAY], lake.open("encoded").version())["it"]
    assert "".join(name for name, inside in zip("abcd", found, strict=True) if inside) == held
