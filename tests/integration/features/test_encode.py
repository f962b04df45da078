"""Vocabulary and encoding on literal samples."""

from datetime import date

import numpy as np
import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession

from features.encode import encode
from features.spec import layout_of
from features.spec.load import parse_spec
from features.vocabulary import new_tokens
from training.data import _dataset as encoded_dataset
from training.raw import Tokens, dataset

pytestmark = pytest.mark.spark

DAY = date(2026, 3, 9)
SHOP = parse_spec(
    """
product: shop
sources:
  log: {path: "log.csv", time: {column: at}}
  items: {path: items.csv, key: item_id}
impression: {source: log, key: [user_id, at]}
scenarios: {column: place, values: {feed: feed, search: search}}
tasks: {click: {label: clicked = 1}, buy: {label: bought = 1}}
features:
  categories:
    - {column: place, min_count: 2}
    - {column: items.tags, multi: true}
  numbers: [price]
""",
    "shop.yaml",
)
SAMPLES = (
    "ds string, sample_id string, scenario string, user string, label_click boolean, "
    "label_buy boolean, c_place string, m_items_tags array<string>, n_price double"
)
VOCABULARY = "feature string, token string, index int, ds string"
Known = list[tuple[str, str, int, str]]


def sample(
    number: int, place: str | None = None, tags: list[str | None] | None = None
) -> tuple[object, ...]:
    return ("2026-03-09", f"s{number}", "search", f"u{number}", True, None, place, tags, 0.1)


def frame(spark: SparkSession, rows: list[tuple[object, ...]]) -> DataFrame:
    return spark.createDataFrame(rows, SAMPLES)


def learned(spark: SparkSession, rows: list[tuple[object, ...]], known: Known) -> Known:
    vocabulary = spark.createDataFrame(known, VOCABULARY)
    found = new_tokens(frame(spark, rows), vocabulary, SHOP, DAY)
    assert found.columns == vocabulary.columns
    assert found.dtypes == vocabulary.dtypes
    return sorted(tuple(row) for row in found.collect())  # type: ignore[misc]


def test_frequent_tokens_get_indices_from_one_on_by_frequency_and_then_by_name(
    spark: SparkSession,
) -> None:
    rows = [
        sample(1, "feed", ["x", "x"]),
        sample(2, "feed", ["b", None]),
        sample(3, "rare", ["b", "a"]),
        sample(4, None, None),
    ]

    assert learned(spark, rows, []) == [
        ("c_place", "feed", 1, "2026-03-09"),
        ("m_items_tags", "a", 2, "2026-03-09"),
        ("m_items_tags", "b", 1, "2026-03-09"),
        ("m_items_tags", "x", 3, "2026-03-09"),
    ]


def test_known_tokens_keep_their_index_and_new_ones_go_on_after_the_highest(
    spark: SparkSession,
) -> None:
    known: Known = [
        ("m_items_tags", "a", 7, "2026-03-01"),
        ("m_items_tags", "old", 2, "2026-03-01"),
    ]

    found = learned(spark, [sample(1, tags=["a", "b"])], known)

    assert found == [("m_items_tags", "b", 8, "2026-03-09")]
    assert learned(spark, [sample(1, tags=["a", "b"])], [*known, *found]) == []


def test_samples_become_indices_floats_and_nulls(spark: SparkSession) -> None:
    known = [
        ("c_place", "feed", 4, "2026-03-01"),
        ("m_items_tags", "feed", 9, "2026-03-01"),
        ("m_items_tags", "a", 3, "2026-03-01"),
    ]
    rows = [
        sample(1, "feed", ["feed", "a", "unknown", "a"]),
        sample(2, "unknown", []),
        sample(3, None, None),
    ]

    found = encode(frame(spark, rows), spark.createDataFrame(known, VOCABULARY), SHOP)

    assert found.dtypes == [
        ("ds", "string"),
        ("sample_id", "string"),
        ("scenario", "int"),
        ("user", "bigint"),
        ("y_click", "float"),
        ("y_buy", "float"),
        ("c_place", "int"),
        ("m_items_tags", "array<int>"),
        ("n_price", "float"),
    ]
    first, *others = sorted(found.collect(), key=lambda row: row["sample_id"])
    assert (first["scenario"], first["y_click"], first["y_buy"]) == (1, 1.0, None)
    assert (first["c_place"], first["m_items_tags"]) == (4, [3, 9])
    assert [(row["c_place"], row["m_items_tags"]) for row in others] == [(0, []), (0, [])]
    assert len({row["user"] for row in (first, *others)}) == 3


def test_a_sample_without_any_known_token_stays_a_row(spark: SparkSession) -> None:
    empty = spark.createDataFrame([], VOCABULARY)

    (row,) = encode(frame(spark, [sample(1, "feed", ["a"])]), empty, SHOP).collect()

    assert (row["sample_id"], row["c_place"], row["m_items_tags"]) == ("s1", 0, [])


def test_encoding_without_spark_gives_the_same_numbers(spark: SparkSession) -> None:
    spec = parse_spec(
        yaml.safe_dump(
            {
                **SHOP.model_dump(mode="json", exclude_defaults=True, by_alias=True),
                "features": {
                    "categories": ["place", {"column": "items.tags", "multi": True}],
                    "numbers": ["price"],
                    "sequences": [{"of": "place", "by": "user_id", "last": 4}],
                },
            }
        ),
        "shop.yaml",
    )
    layout = layout_of(spec)
    (history,) = (column.name for column in layout.columns if column.ordered)
    rows = [
        ("feed", ["b", "a", "b", "new", None], 1.25, ["top", "feed", "new", "top"]),
        ("new", [], None, None),
        (None, None, float("nan"), ["feed"] * 40),
        ("top", [f"t{n}" for n in range(50, 0, -1)], 1e300, []),
    ]
    samples = spark.createDataFrame(
        [
            ("2026-03-09", f"s{n}", "search" if n else "feed", "u", True, None, *row)
            for n, row in enumerate(rows)
        ],
        f"{SAMPLES}, {history} array<string>",
    )
    tokens = {
        "c_place": {"feed": 1, "top": 2},
        "m_items_tags": {**{f"t{n}": n for n in range(1, 51)}, "a": 51, "b": 52},
    }
    vocabulary = [
        (feature, token, index, "2026-03-01")
        for feature, of in tokens.items()
        for token, index in of.items()
    ]
    known = spark.createDataFrame(vocabulary, VOCABULARY)
    encoded = encode(samples, known, spec).orderBy("sample_id").toArrow()
    wanted = encoded_dataset(encoded, layout)
    found, scenarios = dataset(samples.orderBy("sample_id").toArrow(), layout, Tokens(tokens))
    assert scenarios.all()
    assert np.array_equal(found.scenario, wanted.scenario)
    assert np.array_equal(found.categories, wanted.categories)
    assert len(found.multi) == len(wanted.multi) == 2
    for mine, theirs in zip(found.multi, wanted.multi, strict=True):
        assert np.array_equal(mine, theirs)
    assert np.array_equal(found.numbers, wanted.numbers, equal_nan=True)
