"""Writing Delta tables with Spark: a day is replaced and nothing else moves."""

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from features import tables
from features.digest import digests
from features.errors import LakeError
from features.lake import Lake
from features.settle import PARTITIONS
from features.spec.load import parse_spec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

FIRST, SECOND = date(2026, 1, 1), date(2026, 1, 2)
TEXT = """
product: shop
sources: {views: {path: "{ds}.csv", time: {column: at}}}
impression: {source: views, key: view_id}
scenarios: {column: place, values: {feed: feed}}
tasks: {click: {label: clicked = 1}}
features: {categories: [device]}
"""
SPEC = parse_spec(TEXT, "shop.yaml")
COLUMNS = (
    "ds string, sample_id string, scenario string, user string, event_time timestamp, "
    "label_click boolean, mature_click boolean"
)


def day_of(
    spark: "SparkSession", day: date, ids: str = "ab", *, mature: bool = True
) -> "DataFrame":
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    rows = [(day.isoformat(), name, "feed", "u", at, True, mature) for name in ids]
    return spark.createDataFrame(rows, COLUMNS)


def files(lake: Lake, table: str, day: date) -> set[str]:
    return {uri for uri in lake.open(table).file_uris() if f"ds={day}" in uri}


@pytest.fixture(scope="module", params=["1", "4"], ids=["written by Arrow", "written by Spark"])
def size(spark: "SparkSession", request: pytest.FixtureRequest) -> Iterator[None]:
    before = str(spark.conf.get(PARTITIONS))
    spark.conf.set(PARTITIONS, request.param)
    yield
    spark.conf.set(PARTITIONS, before)


@pytest.fixture(scope="module")
def two_days(spark: "SparkSession", size: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a lake with two days, for tests to copy."""
    folder = tmp_path_factory.mktemp("two-days") / "lake"
    lake = Lake(str(folder), "shop")
    tables.ensure(lake, SPEC)
    for day in (FIRST, SECOND):
        tables.replace_days(day_of(spark, day), lake, "samples", {day: {"rows": 2, "as_of": day}})
    return folder


@pytest.fixture
def filled(two_days: Path, lake: Lake) -> Lake:
    shutil.copytree(two_days, lake.root)
    return lake


def test_replacing_a_day_touches_no_file_of_another_and_says_what_it_did(
    spark: "SparkSession", filled: Lake
) -> None:
    other, own = files(filled, "samples", SECOND), files(filled, "samples", FIRST)
    tables.replace_days(day_of(spark, FIRST, "abc"), filled, "samples", {FIRST: {"rows": 3}})
    assert files(filled, "samples", SECOND) == other
    assert files(filled, "samples", FIRST).isdisjoint(own)
    assert filled.commit_of("samples", FIRST) == {"ds": "2026-01-01", "rows": 3, "version": 4}
    second = filled.commit_of("samples", SECOND)
    assert second is not None
    assert second["as_of"] == "2026-01-02"
    assert tables.read(spark, filled, "samples").count() == 5


def test_a_row_of_another_day_is_refused_and_the_day_stays(
    spark: "SparkSession", filled: Lake
) -> None:
    before = files(filled, "samples", FIRST)
    with pytest.raises(Exception, match=r"DELTA_REPLACE_WHERE_MISMATCH|rows of 2026-01-02 among"):
        tables.replace_days(day_of(spark, SECOND), filled, "samples", {FIRST: {}})
    assert files(filled, "samples", FIRST) == before


def test_an_immature_label_that_is_not_null_is_refused_by_the_table(
    spark: "SparkSession", filled: Lake
) -> None:
    with pytest.raises(Exception, match=r"immature_click_is_null|failed validation check"):
        tables.replace_days(day_of(spark, FIRST, mature=False), filled, "samples", {FIRST: {}})


def test_several_days_are_replaced_each_in_a_commit_of_its_own(
    spark: "SparkSession", filled: Lake
) -> None:
    both = day_of(spark, FIRST, "abc").unionByName(day_of(spark, SECOND, "a"))
    tables.replace_days(both, filled, "samples", {FIRST: {"rows": 3}, SECOND: {"rows": 1}})
    said = filled.commits("samples")
    assert (said["2026-01-01"]["rows"], said["2026-01-02"]["rows"]) == (3, 1)
    counted = tables.read(spark, filled, "samples").groupBy("ds").count().collect()
    assert {row["ds"]: row["count"] for row in counted} == {"2026-01-01": 3, "2026-01-02": 1}


def test_an_empty_day_replaces_the_rows_that_were_there(
    spark: "SparkSession", filled: Lake
) -> None:
    empty = day_of(spark, FIRST).where("false")
    tables.replace_days(empty, filled, "samples", {FIRST: {"rows": 0}})
    assert filled.days("samples") == ["2026-01-02"]


def test_a_gained_feature_is_written_and_older_days_read_null(
    spark: "SparkSession", filled: Lake
) -> None:
    from pyspark.sql import functions as F

    more = parse_spec(TEXT.replace("[device]", "[device, place]"), "shop.yaml")
    tables.ensure(filled, more)
    placed = day_of(spark, SECOND).withColumn("c_place", F.lit("feed"))
    tables.replace_days(placed, filled, "samples", {SECOND: {}})
    rows = tables.read(spark, filled, "samples").select("ds", "c_place").distinct().collect()
    assert sorted(map(tuple, rows)) == [("2026-01-01", None), ("2026-01-02", "feed")]


def test_a_column_the_table_does_not_have_is_named(spark: "SparkSession", filled: Lake) -> None:
    from pyspark.sql import functions as F

    with pytest.raises(LakeError, match=r"shop/samples has no column c_colour"):
        frame = day_of(spark, FIRST).withColumn("c_colour", F.lit("red"))
        tables.replace_days(frame, filled, "samples", {FIRST: {}})


def test_a_disk_that_refuses_is_one_sentence(
    spark: "SparkSession", filled: Lake, tmp_path: Path
) -> None:
    # A file where the partition's folder belongs: even root can't write below it.
    day = date(2026, 1, 3)
    Path(filled.path("samples"), f"ds={day}").write_text("in the way")
    with pytest.raises(LakeError, match=r"can't write .*nothing is half-published"):
        tables.replace_days(day_of(spark, day), filled, "samples", {day: {}})


def test_the_content_hash_ignores_order_and_lineage_and_sees_every_cell(
    spark: "SparkSession",
) -> None:
    from pyspark.sql import functions as F

    ds = FIRST.isoformat()
    frame = day_of(spark, FIRST, "abcd")
    rows, content = digests(frame)[ds]
    assert rows == 4
    reordered = frame.repartition(3).orderBy("sample_id", ascending=False)
    assert digests(reordered)[ds] == (4, content)
    assert digests(frame.withColumn("as_of", F.lit("2026-01-09")))[ds] == (4, content)
    assert digests(frame.withColumn("user", F.lit("w")))[ds][1] != content
    assert digests(frame.unionByName(frame.limit(1)))[ds][1] != content
    swapped = frame.withColumn("user", F.col("scenario")).withColumn("scenario", F.lit("u"))
    assert digests(swapped)[ds][1] != content
    both = digests(frame.unionByName(day_of(spark, SECOND)))
    assert both == {ds: (4, content), **digests(day_of(spark, SECOND))}
