"""Which rows are broken, by which rule; nothing is lost and order plays no part."""

from typing import TYPE_CHECKING, Any

import pytest

from features.samples import identify
from features.sources import FITS, fits
from features.spec.load import parse_spec
from features.spec.model import Spec
from validation.rows import BUILT_IN, check, quarantine

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("any_size")]

NOON = "1767614400000"
TEXT = """
product: shop
sources: {views: {path: "v/{ds}.csv", time: {column: at}, late: 1d}}
impression: {source: views, key: view_id, user: user_id}
scenarios: {column: place, values: {feed: [1, 2], deals: deals}, other: OTHER}
tasks: {click: {label: clicked = 1}}
features: {numbers: [price]}
rules:
  - {id: negative, reject: price < 0.0}
  - {id: no-device, reject: device IS NULL}
"""
GOOD = {
    "view_id": "v1",
    "user_id": "u1",
    "place": "1",
    "price": "2.5",
    "device": "phone",
    "at": NOON,
    "_day": "2026-01-05",
    "_arrived": "2026-01-05",
    "_file": "2026-01-05.csv",
    "_row": "6",
    "_broken": None,
    "_refused": None,
    "_was": None,
    "_for": "2026-01-05",
    "_until": "2026-01-05",
}
SCHEMA = ", ".join(f"{name} string" for name in GOOD)


def spec(other: str = "quarantine") -> Spec:
    return parse_spec(TEXT.replace("OTHER", other), "shop.yaml")


def checked(
    spark: "SparkSession", rows: list[dict[str, Any]], product: Spec, parts: int = 1
) -> "DataFrame":
    """Check rows that differ from ``GOOD`` in the given cells."""
    values = [tuple({**GOOD, **row}.values()) for row in rows]
    frame = spark.createDataFrame(values, SCHEMA).repartition(parts)
    timed = frame.selectExpr("*", "timestamp_millis(try_cast(at AS long)) AS _time")
    return check(identify(timed.withColumn(FITS, fits(product.log)), product), product)


def rules(
    spark: "SparkSession", rows: list[dict[str, Any]], product: Spec | None = None
) -> list[list[str]]:
    """Return the rules that each row broke, in the order of ``view_id``."""
    found = checked(spark, rows, product or spec()).collect()
    return [row._rules for row in sorted(found, key=lambda row: row.view_id or "")]


def test_each_built_in_rule_names_its_row(spark: "SparkSession") -> None:
    rows: list[dict[str, Any]] = [
        {"view_id": "a"},
        {"view_id": "b", "user_id": None},
        {"view_id": "c", "at": "noon"},
        {"view_id": "d", "_day": "2026-01-03"},
        {"view_id": "e", "place": "moon"},
        {"view_id": "f", "price": "cheap"},
        {"view_id": "g", "_broken": "g,u1"},
        {"view_id": "h", "_day": "2026-01-06"},
        {"view_id": "i", "place": "deals"},
    ]
    assert rules(spark, rows) == [
        [],
        ["null-key"],
        ["no-time"],
        ["wrong-day"],
        ["unknown-scenario"],
        ["not-a-number"],
        ["unparseable"],
        ["wrong-day"],
        [],
    ]


def test_a_rule_of_the_spec_rejects_what_is_true_and_not_what_is_null(
    spark: "SparkSession",
) -> None:
    rows: list[dict[str, Any]] = [
        {"view_id": "a", "price": "-1"},
        {"view_id": "b", "price": None},
        {"view_id": "c", "price": "-1", "device": None},
        {"view_id": "d", "price": "-0.5"},
    ]
    assert rules(spark, rows) == [["negative"], [], ["negative", "no-device"], ["negative"]]


def test_outside_every_scenario_a_row_is_broken_or_history_as_the_spec_says(
    spark: "SparkSession",
) -> None:
    rows = [{"place": "moon"}]
    assert rules(spark, rows) == [["unknown-scenario"]]
    assert rules(spark, rows, spec("history")) == [[]]


def test_an_exact_repeat_is_told_from_a_repeated_key(spark: "SparkSession") -> None:
    rows: list[dict[str, Any]] = [
        {"_file": "1"},
        {"_file": "2"},
        {"_file": "3", "price": "9"},
        {"_file": "4", "price": "9"},
        {"view_id": "v2", "_file": "5"},
    ]
    found = checked(spark, rows, spec()).collect()
    assert {row._file: row._rules for row in found} == {
        "1": [],
        "2": ["duplicate-row"],
        "3": ["duplicate-key"],
        "4": ["duplicate-row"],
        "5": [],
    }


def test_a_null_cell_is_not_taken_for_its_neighbour(spark: "SparkSession") -> None:
    rows: list[dict[str, Any]] = [
        {"user_id": "x", "device": None},
        {"user_id": None, "device": "x"},
    ]
    found = checked(spark, rows, spec()).collect()
    assert all("duplicate-row" not in row._rules for row in found)


def test_what_arrives_later_never_displaces_a_row_and_a_broken_one_never_a_good_one(
    spark: "SparkSession",
) -> None:
    earlier = str(int(NOON) - 1)
    late = {"_arrived": "2026-01-06", "_file": "late", "at": earlier, "price": "9"}
    broken = {"_file": "broken", "at": earlier, "device": None}
    found = checked(spark, [late, broken, {"_file": "own"}], spec()).collect()
    assert {row._file: row._rules for row in found} == {
        "own": [],
        "late": ["duplicate-key"],
        "broken": ["no-device", "duplicate-key"],
    }


def test_an_event_logged_under_two_declared_days_stays_on_the_earlier(
    spark: "SparkSession",
) -> None:
    text = TEXT.replace("late: 1d", "late: 1d, day: {column: day}").replace("OTHER", "history")
    rows: list[dict[str, Any]] = [{"_day": "2026-01-04", "price": "9"}, {"_file": "own"}]
    found = checked(spark, rows, parse_spec(text, "shop.yaml")).collect()
    assert {row._day: row._rules for row in found} == {
        "2026-01-04": [],
        "2026-01-05": ["duplicate-key"],
    }


def test_quarantine_keeps_the_raw_row_and_where_it_came_from(spark: "SparkSession") -> None:
    found = checked(spark, [{"price": "-1"}, {"view_id": "w", "_broken": "w,u1"}], spec())
    rows = {row.sample_id: row for row in quarantine(found, "run-7").collect()}
    assert rows["v1"].row == (
        f'{{"view_id":"v1","user_id":"u1","place":"1","price":"-1","device":"phone","at":"{NOON}"}}'
    )
    assert rows["w"].row == '{"line":"w,u1"}'
    assert rows["v1"].rules == ["negative"]
    assert (rows["v1"].ds, rows["v1"].source_file, rows["v1"].run_id) == (
        "2026-01-05",
        "2026-01-05.csv",
        "run-7",
    )
    assert rows["v1"].line == 7


def test_every_built_in_rule_is_explained() -> None:
    assert all(text and not text.endswith(".") for text in BUILT_IN.values())
