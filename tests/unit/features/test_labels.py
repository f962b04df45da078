"""Which outcome belongs to which impression, and when a label is known."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest

from features.labels import attribute, attribute_all, label_columns
from features.spec.load import parse_spec
from features.spec.model import Task

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("any_size")]

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANT, WINDOW = timedelta(microseconds=1), timedelta(days=3)
SALE = Task.model_validate({"source": "sales", "on": ["user", "item"], "window": "3d"})

IMPRESSION = "_for string, _id string, _time timestamp, _on_user string, _on_item string"
OUTCOME = "_for string, _on_user string, _on_item string, _time timestamp, _arrived string"


Firsts = dict[str, datetime | None]
"""Impression → time of its first outcome."""


class Case(NamedTuple):
    """Impressions (name, time, user, item), outcomes (user, item, time), and what becomes."""

    shown: list[tuple[str, datetime, str | None, str]]
    came: list[tuple[str, str, datetime]]
    firsts: Firsts


CASES = {
    "an outcome belongs to the latest impression of its key": Case(
        [("early", NOON, "u", "i"), ("late", NOON + HOUR, "u", "i"), ("other", NOON, "u", "j")],
        [("u", "i", NOON + 2 * HOUR)],
        {"early": None, "late": NOON + 2 * HOUR, "other": None},
    ),
    "the window holds its first instant": Case(
        [("one", NOON, "u", "i")],
        [("u", "i", NOON)],
        {"one": NOON},
    ),
    "and its last but one": Case(
        [("one", NOON, "u", "i")],
        [("u", "i", NOON + WINDOW - INSTANT)],
        {"one": NOON + WINDOW - INSTANT},
    ),
    "and not its last": Case(
        [("one", NOON, "u", "i")],
        [("u", "i", NOON + WINDOW)],
        {"one": None},
    ),
    "an outcome before every impression belongs to none": Case(
        [("one", NOON, "u", "i")],
        [("u", "i", NOON - HOUR)],
        {"one": None},
    ),
    "of repeated outcomes the first counts, and the impression stays one row": Case(
        [("one", NOON, "u", "i")],
        [("u", "i", NOON + 2 * HOUR), ("u", "i", NOON + HOUR), ("u", "i", NOON + HOUR)],
        {"one": NOON + HOUR},
    ),
    "two impressions at one instant share no outcome": Case(
        [("a", NOON, "u", "i"), ("b", NOON, "u", "i")],
        [("u", "i", NOON + HOUR)],
        {"a": None, "b": NOON + HOUR},
    ),
    "an impression without its key stays, and has no outcome": Case(
        [("one", NOON, None, "i")],
        [("u", "i", NOON + HOUR)],
        {"one": None},
    ),
}


@pytest.fixture(scope="module")
def attributed(spark: "SparkSession", any_size: None) -> dict[str, Firsts]:
    """All cases, each of a day that is built, in one go."""
    days = {name: f"2026-01-{number:02}" for number, name in enumerate(CASES, start=1)}
    shown = [(days[name], *row) for name, case in CASES.items() for row in case.shown]
    came = [(days[name], *row, None) for name, case in CASES.items() for row in case.came]
    seen, happened = spark.createDataFrame(shown, IMPRESSION), spark.createDataFrame(came, OUTCOME)
    rows = attribute(seen, happened, "sale", SALE).selectExpr(
        "_for", "_id", "unix_micros(_first_sale) / 1e6 AS at"
    )
    found: dict[str, Firsts] = {name: {} for name in CASES}
    names = {day: name for name, day in days.items()}
    for row in rows.collect():
        of = found[names[row._for]]
        assert row._id not in of
        of[row._id] = None if row.at is None else datetime.fromtimestamp(row.at, UTC)
    return found


@pytest.mark.parametrize("case", CASES)
def test_an_outcome_goes_to_the_impression_that_the_rules_say(
    attributed: dict[str, Firsts], case: str
) -> None:
    assert attributed[case] == CASES[case].firsts


SPEC = parse_spec(
    """
product: shop
timezone: Europe/Berlin
sources:
  views: {path: "v/{ds}.csv", time: {column: at}}
  sales: {path: "s/{ds}.csv", time: {column: at}}
impression: {source: views, key: view_id}
scenarios: {column: place, values: {feed: feed, deals: deals}}
tasks:
  like: {label: liked = 1, scenarios: [feed]}
  sale: {source: sales, on: item, window: 1d}
features: {categories: [place]}
""",
    "shop.yaml",
)
FACT = (
    "_until string, _id string, _scenario string, _time timestamp, "
    "_said_like boolean, _first_sale timestamp"
)


def labelled(spark: "SparkSession", rows: list[tuple[object, ...]]) -> "DataFrame":
    facts = spark.createDataFrame([("2026-01-06", *row) for row in rows], FACT)
    return facts.select("_id", *label_columns(SPEC))


TWO = parse_spec(
    """
product: shop
sources:
  views: {path: v.csv, time: {column: at}}
  taps: {path: t.csv, time: {column: at}}
  sales: {path: s.csv, time: {column: at}}
impression: {source: views, key: view_id, user: user_id}
scenarios: {column: place, values: {feed: feed}}
tasks:
  tap: {source: taps, on: view_id, window: 1h}
  sale: {source: sales, on: [user_id, item_id], window: 3d}
features: {categories: [place]}
""",
    "shop.yaml",
)
DAY = "2026-01-05"


def test_outcomes_of_several_tasks_meet_their_impressions_and_no_row_is_lost(
    spark: "SparkSession",
) -> None:
    seen = spark.createDataFrame(
        [
            (DAY, DAY, "both", NOON, "both", "u", "i", 1),
            (DAY, DAY, "earlier", NOON - HOUR, "earlier", "u", "i", 2),
            (DAY, DAY, "tapped", NOON, "tapped", "u", "j", 3),
            (DAY, DAY, "none", NOON, "none", None, "k", 4),
        ],
        "_for string, _day string, _id string, _time timestamp, _on_view_id string, "
        "_on_user_id string, _on_item_id string, c_place long",
    )
    late, soon = NOON + 2 * HOUR, NOON + timedelta(minutes=1)
    taps = spark.createDataFrame(
        [(DAY, "both", soon, None), (DAY, "tapped", soon, None), (DAY, "earlier", late, None)],
        "_for string, _on_view_id string, _time timestamp, _arrived string",
    )
    sales = spark.createDataFrame(
        [(DAY, "u", "i", late, None), (DAY, "w", "i", late, None)],
        "_for string, _on_user_id string, _on_item_id string, _time timestamp, _arrived string",
    )
    rows = attribute_all(seen, {"tap": taps, "sale": sales}, TWO).selectExpr(
        "_id", "c_place", "unix_micros(_first_tap) AS tap", "unix_micros(_first_sale) AS sale"
    )
    found = {row._id: (row.c_place, row.tap, row.sale) for row in rows.collect()}

    def micros(moment: datetime) -> int:
        return round(moment.timestamp() * 1e6)

    assert found == {
        "both": (1, micros(soon), micros(late)),
        "earlier": (2, None, None),
        "tapped": (3, micros(soon), None),
        "none": (4, None, None),
    }


def test_a_label_is_null_until_its_window_has_closed_even_when_its_outcome_was_seen(
    spark: "SparkSession",
) -> None:
    # 2026-01-06 ends in Berlin at 23:00 UTC.
    closes = datetime(2026, 1, 5, 23, tzinfo=UTC)
    open_ = closes + timedelta(microseconds=1)
    rows = labelled(
        spark,
        [
            ("closed, bought", "feed", closes, None, closes + HOUR),
            ("closed, not bought", "feed", closes, None, None),
            ("open, bought", "feed", open_, None, open_ + HOUR),
            ("open, not bought", "feed", open_, None, None),
        ],
    ).collect()
    found = {row._id: (row.label_sale, row.mature_sale, row.time_sale is None) for row in rows}
    assert found == {
        "closed, bought": (True, True, False),
        "closed, not bought": (False, True, True),
        "open, bought": (None, False, True),
        "open, not bought": (None, False, True),
    }


def test_a_scenario_without_the_task_has_no_label_and_an_unsaid_one_is_not_known(
    spark: "SparkSession",
) -> None:
    rows = labelled(
        spark,
        [
            ("liked", "feed", NOON, True, None),
            ("not liked", "feed", NOON, False, None),
            ("unsaid", "feed", NOON, None, None),
            ("no such task", "deals", NOON, True, None),
        ],
    ).collect()
    found = {row._id: (row.label_like, row.mature_like, row.time_like is None) for row in rows}
    assert found == {
        "liked": (True, True, False),
        "not liked": (False, True, True),
        "unsaid": (None, False, True),
        "no such task": (None, False, True),
    }
