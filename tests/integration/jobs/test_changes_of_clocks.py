"""Two days around a change of clocks, from raw files to samples: no row is lost, none doubled.

Events are written with the time on the clock and its offset, as applications log them, into the
file of the day that the clock shows.
"""

import json
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from features.days import DAY, end_of, span, start_of
from features.lake import Lake
from features.spec.load import parse_spec
from jobs import samples
from jobs.home import Home
from tests.conftest import cache
from tests.integration.jobs.conftest import Shop

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.slow]

TEXT = """
product: shop
timezone: ZONE
sources:
  views: {path: "views/{ds}.jsonl", time: {column: at, unit: iso}}
  sales: {path: "sales/{ds}.jsonl", time: {column: at, unit: iso}}
impression: {source: views, key: view_id, user: user_id}
scenarios: {column: place, values: {feed: feed}}
tasks:
  sale: {source: sales, on: item_id, window: 24h}
features:
  categories: [place]
  rates: [{of: sale, by: [user_id], days: 1}]
  recency: [user_id]
"""
HALF = timedelta(minutes=30)
CHANGES = [
    ("Europe/Berlin", date(2026, 3, 28), (24, 23)),
    ("Europe/Berlin", date(2026, 10, 25), (25, 24)),
    ("America/Sao_Paulo", date(2018, 11, 3), (24, 23)),
    ("America/Sao_Paulo", date(2018, 2, 17), (25, 24)),
]
"""Zone, first day, hours of it and of the next."""


def write(folder: Path, zone: str, instants: list[datetime], more: dict[str, str]) -> None:
    """Write an event at each instant into the file of the day it has in ``zone``."""
    lines = defaultdict(list)
    for instant in instants:
        at = instant.astimezone(ZoneInfo(zone))
        event = {"view_id": f"v{at:%d-%H%M%z}", "item_id": f"i{at:%H%M}", "at": at.isoformat()}
        lines[at.date()].append(json.dumps({**event, **more}))
    folder.mkdir(parents=True)
    for day, events in lines.items():
        (folder / f"{day}.jsonl").write_text("\n".join([*events, ""]))


def quarters(zone: str, first: date, last: date) -> list[datetime]:
    """Return each instant of the days that lies at a quarter past or to an hour, in UTC."""
    begin, end = start_of(first, zone).astimezone(UTC), end_of(last, zone).astimezone(UTC)
    return [begin + HALF / 2 + HALF * n for n in range((end - begin) // HALF)]


@pytest.fixture(params=CHANGES, ids=lambda change: f"{change[0]} {change[1]}")
def change(request: pytest.FixtureRequest) -> tuple[str, date, tuple[int, int]]:
    found: tuple[str, date, tuple[int, int]] = request.param
    return found


def test_around_a_change_of_clocks_every_event_is_in_one_day_with_its_outcome_and_age(
    spark: "SparkSession", tmp_path: Path, change: tuple[str, date, tuple[int, int]]
) -> None:
    zone, first, hours = change
    second = first + DAY
    shown = quarters(zone, first, second)
    # Every item is shown at one time on the clock, in a repeated hour twice within the hour.
    sold = [instant + timedelta(minutes=1) for instant in shown[::3]]
    write(tmp_path / "raw/views", zone, shown, {"user_id": "u", "place": "feed"})
    write_sales(tmp_path / "raw/sales", zone, sold)
    spec = parse_spec(TEXT.replace("ZONE", zone), "shop.yaml")
    home = Home(root=tmp_path, cache=cache())
    shop = Shop(spec, Lake(str(tmp_path / "lake"), "shop"), home, tmp_path / "raw")

    built = samples.run(**shop.places, first=first, last=second)["days"]

    assert [(day["input"], day["rows"], day["refused"]) for day in built] == [
        (2 * length, 2 * length, 0) for length in hours
    ]
    rows = [row for day in span(first, second) for row in shop.rows("samples", day)]
    assert sorted(row["event_time"] for row in rows) == shown
    for row in rows:
        day = row["event_time"].astimezone(ZoneInfo(zone)).date()
        assert row["ds"] == str(day)
        assert expected(row, sold, date.fromisoformat(row["as_of"]), zone) == {
            name: row[name] for name in ("label_sale", "mature_sale", "time_sale")
        }
    last_shown = max(instant for instant in shown if instant < start_of(second, zone))
    age = (start_of(second, zone).astimezone(UTC) - last_shown) / DAY
    assert {row["n_recency_user_id"] for row in shop.rows("samples", first)} == {None}
    assert {row["n_recency_user_id"] for row in shop.rows("samples", second)} == {age}
    assert {row["n_count_user_id_1"] for row in shop.rows("samples", second)} == {2.0 * hours[0]}


def write_sales(folder: Path, zone: str, sold: list[datetime]) -> None:
    """Write a sale, a minute after an impression, of the item that was shown."""
    lines = defaultdict(list)
    for instant in sold:
        at = instant.astimezone(ZoneInfo(zone))
        item = f"i{at - timedelta(minutes=1):%H%M}"
        lines[at.date()].append(json.dumps({"item_id": item, "at": at.isoformat()}))
    folder.mkdir(parents=True)
    for day, events in lines.items():
        (folder / f"{day}.jsonl").write_text("\n".join([*events, ""]))


def expected(
    row: dict[str, Any], sold: list[datetime], until: date, zone: str
) -> dict[str, object]:
    """The label of a sample: its sale came a minute after it, and its window is a duration."""
    shown = row["event_time"]
    mature = shown + timedelta(hours=24) <= end_of(until, zone)
    positive = shown + timedelta(minutes=1) in sold
    return {
        "label_sale": positive if mature else None,
        "mature_sale": mature,
        "time_sale": shown + timedelta(minutes=1) if mature and positive else None,
    }
