"""Outcomes out of order, repeated, or by another machine's clock; rows that arrive days late.

Each case is a person of its own, so that no case can touch another.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from features.lake import Lake
from features.spec.load import parse_spec
from jobs import samples
from jobs.home import Home
from tests.conftest import cache
from tests.integration.jobs.conftest import FIRST, TEXT, Shop, days, view

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.slow]

TEN = datetime(2026, 1, 1, 10, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

SHOWN = {
    "before": ("before", TEN),
    "tie-a": ("tie", TEN),
    "tie-b": ("tie", TEN),
    "instant-1": ("instant", TEN - MINUTE),
    "instant-2": ("instant", TEN),
    "repeated": ("repeated", TEN),
    "skewed": ("skewed", TEN),
    "skewed-1": ("skewed twice", TEN - HOUR),
    "skewed-2": ("skewed twice", TEN),
    "late": ("late", TEN),
    "too-late": ("too late", TEN),
}
"""Impression of the first day → who saw it, and when."""

SOLD = [
    ("before", TEN - HOUR, 1),
    ("tie", TEN + MINUTE, 1),
    ("instant", TEN, 1),
    ("repeated", TEN + 3 * HOUR, 1),
    ("repeated", TEN + 2 * HOUR, 1),
    ("repeated", TEN + 2 * HOUR, 1),
    ("skewed", TEN - MINUTE, 1),
    ("skewed twice", TEN - MINUTE, 1),
    ("late", TEN + DAY, 4),
    ("too late", TEN + DAY, 6),
]
"""Who bought, when, and the day in whose file it came. Windows close on day 3, files are two days
late at most: what comes after day 5 comes too late."""

LABELS = {
    "before": None,
    "tie-a": None,
    "tie-b": TEN + MINUTE,
    "instant-1": None,
    "instant-2": TEN,
    "repeated": TEN + 2 * HOUR,
    "skewed": None,
    "skewed-1": TEN - MINUTE,
    "skewed-2": None,
    "late": TEN + DAY,
    "too-late": None,
}
"""Impression → the time of the sale that belongs to it."""


def millis(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def seen(name: str, user: str, instant: datetime) -> str:
    return view(FIRST, 0, view_id=name, user_id=user, item_id="i0", at=millis(instant))


@pytest.fixture(scope="module")
def shop(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Six days of raw files whose rows may come two days late; nothing is built."""
    root = tmp_path_factory.mktemp("late")
    spec = parse_spec(TEXT.replace("late: 1d", "late: 2d"), "shop.yaml")
    home = Home(root=root, cache=cache())
    made = Shop(spec, Lake(str(root / "lake"), "shop"), home, root / "raw")
    for number, day in enumerate(days(6), start=1):
        views = [view(day, n) for n in range(30)]
        if number == 1:
            views += [seen(name, user, instant) for name, (user, instant) in SHOWN.items()]
        if number == 3:
            views.append(seen("came-late", "came late", TEN))
        if number == 4:
            views.append(seen("came-too-late", "came late", TEN))
        sold = [f"{user},i0,{millis(when)}" for user, when, file in SOLD if file == number]
        made.write(day, views, sold)
    (made.source / "items.csv").write_text("item_id,colour,tags\ni0,red,\ni1,blue,\ni2,blue,\n")
    return made


def odd(shop: Shop) -> dict[str, dict[str, Any]]:
    """Return the samples of the first day that are cases."""
    rows = {row["sample_id"]: row for row in shop.rows("samples", FIRST)}
    return {name: row for name, row in rows.items() if not name.startswith("2026")}


def test_each_outcome_goes_where_the_rules_of_time_say_as_soon_as_it_is_known(shop: Shop) -> None:
    *_, three, four, five, six = days(6)
    samples.run(**shop.places, first=FIRST, last=FIRST)
    assert set(odd(shop)) == set(SHOWN)
    assert {row["label_sale"] for row in odd(shop).values()} == {None}
    counted = {row["key"]: row["n_sale"] for row in shop.rows("counts", FIRST)}
    # One sale an impression that has any, on the day it came: tie, instant, repeated, skewed twice.
    assert counted[""] == 4

    samples.run(**shop.places, first=FIRST, last=FIRST, as_of=three)
    known = odd(shop)
    assert set(known) == {*SHOWN, "came-late"}
    assert all(row["mature_sale"] for row in known.values())
    assert known["late"]["label_sale"] is False, "its window has closed, its sale is not told yet"

    samples.run(**shop.places, first=FIRST, last=FIRST, as_of=four)
    found = {name: row["time_sale"] for name, row in odd(shop).items()}
    assert found == {**LABELS, "came-late": None}
    assert {name for name, row in odd(shop).items() if row["label_sale"]} == {
        name for name, sold in LABELS.items() if sold
    }

    again = samples.run(**shop.places, first=FIRST, last=FIRST, as_of=six)["days"][0]
    assert again["as_of"] == str(five), "what comes later can't matter"
    assert {name: row["time_sale"] for name, row in odd(shop).items()} == found


def test_a_row_that_comes_later_than_its_stream_may_is_refused_with_the_file_that_brings_it(
    shop: Shop,
) -> None:
    four = days(4)[3]
    samples.run(**shop.places, first=four, last=four)
    [refused] = shop.rows("quarantine", four)
    assert (refused["sample_id"], refused["rules"]) == ("came-too-late", ["wrong-day"])
    assert refused["source_file"] == f"{four}.csv"
