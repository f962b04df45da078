"""Daily counts on literal facts."""

from datetime import UTC, datetime

import pytest
from pyspark.sql import SparkSession

from features.counts import daily_counts
from features.spec.load import parse_spec

pytestmark = pytest.mark.spark

SHOP = parse_spec(
    """
product: shop
sources:
  log: {path: "log.csv", time: {column: at}}
  items: {path: items.csv, key: item_id}
impression: {source: log, key: [user_id, at]}
scenarios: {column: place, values: {feed: feed}}
tasks: {click: {label: clicked = 1}}
features:
  categories: [{column: items.tags, multi: true}]
  rates: [{of: click, by: [user_id, [user_id, items.tags]]}]
""",
    "shop.yaml",
)
FACTS = (
    "ds string, user_id string, items_tags array<string>, event_time timestamp, "
    "impression int, n_click int"
)
NINE = datetime(2026, 3, 9, 9, tzinfo=UTC)
TEN = datetime(2026, 3, 9, 10, tzinfo=UTC)
ELEVEN = datetime(2026, 3, 9, 11, tzinfo=UTC)
PAIR = "user_id+items.tags"


def counted(
    spark: SparkSession, rows: list[tuple[object, ...]]
) -> dict[tuple[str, str], tuple[object, ...]]:
    facts = spark.createDataFrame([("2026-03-09", *row) for row in rows], FACTS)
    found = daily_counts(facts, SHOP).collect()
    return {(row["entity"], row["key"]): (row["n"], row["last"], row["n_click"]) for row in found}


def test_impressions_and_outcomes_are_counted_for_every_entity_and_overall(
    spark: SparkSession,
) -> None:
    found = counted(
        spark,
        [
            ("u1", ["a", "b"], NINE, 1, 1),
            ("u1", ["a"], TEN, 1, 0),
            ("u2", ["b"], NINE, 1, 0),
        ],
    )

    naive = {at: at.replace(tzinfo=None) for at in (NINE, TEN, ELEVEN)}
    assert found == {
        ("", ""): (3, naive[TEN], 1),
        ("user_id", "u1"): (2, naive[TEN], 1),
        ("user_id", "u2"): (1, naive[NINE], 0),
        (PAIR, "u1\x1fa"): (2, naive[TEN], 1),
        (PAIR, "u1\x1fb"): (1, naive[NINE], 1),
        (PAIR, "u2\x1fb"): (1, naive[NINE], 0),
    }


def test_an_outcome_alone_is_neither_an_impression_nor_the_last_one(spark: SparkSession) -> None:
    found = counted(spark, [("u1", [], ELEVEN, 0, 1)])

    assert found == {("", ""): (0, None, 1), ("user_id", "u1"): (0, None, 1)}


def test_a_fact_counts_once_for_a_token_it_repeats_and_not_for_a_missing_one(
    spark: SparkSession,
) -> None:
    found = counted(spark, [("u1", ["a", "a", None], NINE, 1, 0), (None, ["a"], NINE, 1, 0)])

    assert {key: value[0] for key, value in found.items()} == {
        ("", ""): 2,
        ("user_id", "u1"): 1,
        (PAIR, "u1\x1fa"): 1,
    }
