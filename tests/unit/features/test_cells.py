"""Raw cells to typed values."""

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, LongType, StringType

from features import cells
from features.days import start_of
from features.spec.model import TimeColumn

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession

pytestmark = pytest.mark.spark


def values(spark: "SparkSession", cell: "Column", raw: list[object], kind: str) -> list[object]:
    """Return what ``cell`` makes of each value of the column ``raw``."""
    frame = spark.createDataFrame([(i, value) for i, value in enumerate(raw)], f"i int, raw {kind}")
    return [row.cell for row in frame.orderBy("i").select(cell.alias("cell")).collect()]


def test_text_that_is_no_finite_number_is_null_and_told_from_a_missing_one(
    spark: "SparkSession",
) -> None:
    raw = ["1", " -2.5e3 ", ".5", "3d", "NaN", "Infinity", "1e999", "0x10", "x", "", None]
    expected = [1.0, -2500.0, 0.5, *[None] * 8]
    column = F.col("raw")
    assert values(spark, cells.number(column, StringType()), raw, "string") == expected
    wrong = [False] * 3 + [True] * 6 + [False] * 2
    assert values(spark, cells.no_number(column, StringType()), raw, "string") == wrong


def test_a_number_lies_in_the_bucket_above_the_edge_it_is_on(spark: "SparkSession") -> None:
    raw = [-1.0, 0.0, 9.9, 10.0, 1e9, None]
    expected = ["<0", "0..10", "0..10", ">=10", ">=10", None]
    assert values(spark, cells.bucket(F.col("raw"), (0.0, 10.0)), raw, "double") == expected


def test_a_missing_float_is_no_broken_one_but_an_infinite_one_is(spark: "SparkSession") -> None:
    raw = [1.0, float("nan"), float("inf"), None]
    column = F.col("raw")
    assert values(spark, cells.number(column, DoubleType()), raw, "double") == [1.0, *[None] * 3]
    wrong = [False, False, True, False]
    assert values(spark, cells.no_number(column, DoubleType()), raw, "double") == wrong


@pytest.mark.parametrize(
    ("unit", "raw"),
    [("s", "1650812741.5"), ("ms", "1650812741500"), ("us", "1650812741500000")],
)
def test_a_count_since_1970_is_an_instant_in_its_unit(
    spark: "SparkSession", unit: str, raw: str
) -> None:
    column = TimeColumn.model_validate({"column": "raw", "unit": unit})
    cell = F.unix_micros(cells.moment(F.col("raw"), StringType(), column))
    assert values(spark, cell, [raw, "soon", "-1", "9e99", None], "string") == [
        1650812741500000,
        *[None] * 4,
    ]


def test_an_iso_time_is_read_with_its_zone(spark: "SparkSession") -> None:
    column = TimeColumn.model_validate({"column": "raw", "unit": "iso"})
    cell = F.unix_seconds(cells.moment(F.col("raw"), StringType(), column))
    noon = int(datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp())
    raw = ["2026-01-01T12:00:00Z", "2026-01-01T20:00:00+08:00", "noon"]
    assert values(spark, cell, raw, "string") == [noon, noon, None]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 6, 1), 24),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),  # midnight was followed by one o'clock
        ("America/Sao_Paulo", date(2018, 2, 17), 25),  # and here by eleven in the evening
        ("Asia/Beirut", date(2022, 3, 27), 23),
        ("Asia/Beirut", date(2022, 10, 29), 25),
    ],
)
def test_a_day_has_23_to_25_hours_and_every_instant_one_day(
    spark: "SparkSession", zone: str, day: date, hours: int
) -> None:
    first = int(start_of(day, zone).timestamp())
    rows = spark.range(-4 * 3, 4 * 30).selectExpr(f"timestamp_seconds({first} + id * 900) AS at")
    found = rows.select(F.unix_seconds("at"), cells.day_of(F.col("at"), zone)).collect()
    assert [row[1] for row in found] == [
        str(datetime.fromtimestamp(row[0], ZoneInfo(zone)).date()) for row in found
    ]
    assert [row[0] for row in found if row[1] == str(day)] == [
        first + quarter * 900 for quarter in range(4 * hours)
    ]


def test_a_day_column_is_read_in_its_pattern(spark: "SparkSession") -> None:
    text = cells.day_in(F.col("raw"), StringType(), "yyyyMMdd")
    assert values(spark, text, ["20220502", "2022-05-02", "x", None], "string") == [
        "2022-05-02",
        None,
        None,
        None,
    ]
    count = cells.day_in(F.col("raw"), LongType(), "yyyyMMdd")
    assert values(spark, count, [20220502], "long") == ["2022-05-02"]


def test_tokens_come_from_text_with_any_separator_or_from_an_array(spark: "SparkSession") -> None:
    from pyspark.sql.types import ArrayType

    cut = cells.tokens(F.col("raw"), StringType(), "|")
    assert values(spark, cut, ["a| b||c", "", " | ", None], "string") == [
        ["a", "b", "c"],
        None,
        None,
        None,
    ]
    whole = cells.tokens(F.col("raw"), ArrayType(LongType()), ",")
    assert values(spark, whole, [[3, 1], [], None], "array<long>") == [["3", "1"], None, None]
