"""Joins of large days: by numbers, which may be shared, and then by what they stand for."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from features import lots
from features.lots import LOT, by_lot, lot_of, matched
from features.session import _LARGE
from features.settle import settle

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

ROWS = "day string, user string, place string"
SIDE = "of_day string, key string, known int"


@pytest.fixture
def large(spark: "SparkSession") -> Iterator["SparkSession"]:
    """The session as it is for large days, but with few parts."""
    changed = {name: value for name, value in _LARGE.items() if name.startswith("spark.sql")}
    changed["spark.sql.shuffle.partitions"] = "4"
    before = {name: spark.conf.get(name, None) for name in changed}
    for name, value in changed.items():
        spark.conf.set(name, value)
    yield spark
    for name, value in before.items():
        spark.conf.unset(name) if value is None else spark.conf.set(name, value)


def pairs(frame: "DataFrame") -> list[tuple[object, ...]]:
    return sorted(map(tuple, frame.collect()), key=str)


@pytest.mark.parametrize("parted", [True, False], ids=["by lot", "handed out"])
@pytest.mark.parametrize("shared", [True, False], ids=["one number for all", "a number each"])
def test_a_row_meets_what_has_its_key_whoever_shares_its_number(
    large: "SparkSession", monkeypatch: pytest.MonkeyPatch, parted: bool, shared: bool
) -> None:
    if shared:
        for name in ("hash", "xxhash64"):
            monkeypatch.setattr(F, name, lambda *_: F.lit(7))
    users = ["u", "v", "w", None, "", "u\x1f1"]
    seen = [(day, user, "feed") for day in ("one", "two") for user in users]
    known = [
        ("one", "u", 1),
        ("two", "u", 2),
        ("one", "v", 3),
        ("two", "", 4),
        ("two", "u\x1f1", 5),
    ]
    rows, side = large.createDataFrame(seen, ROWS), large.createDataFrame(known, SIDE)
    if parted:
        rows = by_lot(rows.withColumn(LOT, lot_of(F.col("user"))))
        side = by_lot(side.withColumn(LOT, lot_of(F.col("key"))))

    found = matched(rows, side, {"day": "of_day", "user": "key"})

    wanted = {(day, key): number for day, key, number in known}
    assert set(found.columns) == {*rows.columns, "known"}
    assert pairs(found.select("day", "user", "known")) == sorted(
        ((day, user, wanted.get((day, user))) for day, user, _ in seen), key=str
    )


def test_rows_that_lie_by_lot_are_counted_and_joined_without_an_exchange(
    large: "SparkSession",
) -> None:
    seen = [(str(n % 3), f"u{n % 7}", "feed") for n in range(50)]
    rows = large.createDataFrame(seen, ROWS).withColumn(LOT, lot_of(F.col("user")))
    lying = settle(by_lot(rows), parted=True)
    key = F.concat_ws(lots.SEPARATOR, "user", "place").alias("key")
    counted = lying.select(LOT, key).groupBy(LOT, "key").count()

    found = matched(
        lying.select("*", key.alias("own")), settle(counted, parted=True), {"own": "key"}
    )

    for frame in (counted, found):
        plan = frame._jdf.queryExecution().executedPlan().toString()
        assert "Exchange" not in plan, plan
    assert {row["count"] for row in found.collect()} == {7, 8}
