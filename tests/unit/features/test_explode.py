"""One row a key: every combination of a key's values, and none where a value is missing."""

from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from features.explode import SEPARATOR, explode_keys

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

ROWS = [
    ("one", "u1", ["a", "b"], ["x", "y"]),
    ("two", None, ["a", None], ["x"]),
    ("three", "u3", None, []),
]


def test_a_key_is_made_of_one_value_of_each_column_and_of_no_missing_one(
    spark: "SparkSession",
) -> None:
    frame = spark.createDataFrame(
        ROWS, "id string, user string, tags array<string>, marks array<string>"
    )
    user, tags, marks = (F.col("user"), False), (F.col("tags"), True), (F.col("marks"), True)
    keys = {"user": [user], "tags": [tags], "user+tags": [user, tags], "both": [tags, marks]}
    found = explode_keys(frame, ["id"], keys, "of", "key")
    assert found.columns == ["id", "of", "key"]
    assert {(row.id, row.of, row.key.replace(SEPARATOR, "·")) for row in found.collect()} == {
        ("one", "user", "u1"),
        ("one", "tags", "a"),
        ("one", "tags", "b"),
        ("one", "user+tags", "u1·a"),
        ("one", "user+tags", "u1·b"),
        *(("one", "both", f"{tag}·{mark}") for tag in "ab" for mark in "xy"),
        ("two", "tags", "a"),
        ("two", "both", "a·x"),
        ("three", "user", "u3"),
    }


def test_without_keys_there_are_no_rows(spark: "SparkSession") -> None:
    found = explode_keys(spark.range(3), ["id"], {}, "of", "key")
    assert found.columns == ["id", "of", "key"]
    assert found.collect() == []
