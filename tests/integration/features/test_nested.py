"""Nested fields of JSON lines and Parquet as columns."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import SourceError
from features.sources import content_hash, read_events, read_table
from features.spec.load import parse_spec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

NOON = 1767614400000  # 2026-01-05 12:00 UTC
TEXT = """
product: shop
sources:
  views: {path: "v*", format: FORMAT, time: {column: event.at}}
  people: {path: people.jsonl, key: user_id}
impression: {source: views, key: event.id, user: user_id}
scenarios: {column: place, values: {feed: feed}}
tasks: {click: {label: clicked = 1}}
features:
  categories: [people.home.city, {column: shelf.id, multi: true}]
"""
EVENT = {
    "event": {"id": "v1", "at": NOON},
    "user_id": "u",
    "place": "feed",
    "clicked": 1,
    "shelf": [{"id": "a"}, {"id": "b"}],
}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_path_is_read_as_a_column_beside_the_raw_ones(
    spark: "SparkSession", tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"v.{kind}"
    if kind == "jsonl":
        path.write_text(json.dumps(EVENT) + "\n")
    else:
        pq.write_table(pa.Table.from_pylist([EVENT]), path)
    spec = parse_spec(TEXT.replace("FORMAT", kind), "shop.yaml")

    [row] = read_events(spark, spec, "views", [path]).collect()

    assert (row["event.id"], row["shelf.id"], row._day) == ("v1", ["a", "b"], "2026-01-05")
    assert row.event.id == "v1"
    missing = parse_spec(TEXT.replace("FORMAT", kind).replace("shelf.id", "shelf.no"), "shop.yaml")
    with pytest.raises(SourceError, match=r"no column 'shelf.no', .* shelf, shelf.id"):
        read_events(spark, missing, "views", [path])


def test_a_table_of_attributes_may_be_nested_too(spark: "SparkSession", tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text('{"user_id": "u", "home": {"city": "Bonn"}}\n')
    spec = parse_spec(TEXT.replace("FORMAT", "jsonl"), "shop.yaml")
    [row] = read_table(spark, spec, "people", [path]).collect()
    assert row["home.city"] == "Bonn"


def test_a_column_whose_own_name_has_a_dot_is_no_path(
    spark: "SparkSession", tmp_path: Path
) -> None:
    path = tmp_path / "v.csv"
    path.write_text(f"event.id,event.at,user_id,place,clicked\nv1,{NOON},u,feed,1\n")
    text = TEXT[: TEXT.index("features:")].replace("FORMAT", "csv") + "features: {}\n"
    [row] = read_events(spark, parse_spec(text, "shop.yaml"), "views", [path]).collect()
    assert (row["event.id"], row._day) == ("v1", "2026-01-05")


def test_rows_that_differ_in_a_nested_field_alone_have_different_content(
    spark: "SparkSession",
) -> None:
    kind = (
        "user struct<id: string, name: string>, links map<string, string>, "
        "parts array<struct<n: int>>"
    )
    rows = [
        (("x", None), {"a": "b"}, [(1,)]),
        ((None, "x"), {"a": "b"}, [(1,)]),
        (("x", None), {"b": "a"}, [(1,)]),
        (("x", None), {"a": "b"}, [(None,), (1,)]),
    ]
    frame = spark.createDataFrame(rows, kind)
    hashes = {row[0] for row in frame.select(content_hash(frame)).collect()}
    assert len(hashes) == len(rows)
