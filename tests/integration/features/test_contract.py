"""Every kind of change of a source's columns, under every answer, in every format and place."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.alike import REFUSED, WAS
from features.contract import CHANGED, MISSING, Records
from features.deliveries import delivered
from features.errors import SourceError
from features.sources import read_events, read_table
from features.spec.load import parse_spec
from features.spec.model import Spec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

ANSWERS = ("evolve", "discard", "freeze")
KINDS = ("new_column", "missing_column", "type_change")
FORMATS = ("csv", "jsonl", "parquet")
PLACES = ("views", "sales", "items")
# A cell of CSV is text whatever it holds: it has no type to change.
MATRIX = [
    case for case in product(ANSWERS, KINDS, FORMATS, PLACES) if case[1:3] != ("type_change", "csv")
]

ONE, TWO = "2026-01-01", "2026-01-02"
NOON = 1767268800000  # 2026-01-01 12:00 UTC
Rows = Mapping[str, list[Any]]

ROWS: dict[str, dict[str, list[Any]]] = {
    "views": {
        "view_id": ["a", "b"],
        "user_id": ["u", "w"],
        "item_id": [7, 8],
        "place": ["feed", "feed"],
        "device": [1, 2],
        "price": [5, 6],
        "clicked": [1, 0],
        "at": [NOON, NOON + 1],
    },
    "sales": {"item_id": [7, 8], "at": [NOON, NOON + 1]},
    "items": {"item_id": [7, 8], "colour": [1, 2], "tags": [["x"], ["y", "z"]]},
}
NAMED = {"views": "device", "sales": "item_id", "items": "colour"}


def spec(kind: str = "csv", contract: object = "evolve", features: str = "") -> Spec:
    asked = json.dumps(contract)
    return parse_spec(
        f"""
product: shop
sources:
  views: {{path: "views/{{ds}}*.{kind}", time: {{column: at}}, contract: {asked}}}
  sales: {{path: "sales/{{ds}}*.{kind}", time: {{column: at}}, contract: {asked}}}
  items: {{path: "items/{{ds}}*.{kind}", key: item_id, contract: {asked}}}
impression: {{source: views, key: view_id}}
scenarios: {{column: place, values: {{feed: feed}}}}
tasks:
  click: {{label: clicked = 1}}
  sale: {{source: sales, on: item_id, window: 1d}}
features:
  categories: [device, items.colour, {{column: items.tags, multi: true}}]
  numbers: [price]
{features}
""",
        "shop.yaml",
    )


def write(folder: Path, kind: str, place: str, ds: str, rows: Rows, part: str = "") -> Path:
    """Write rows as a day's file; cells of CSV are written as text."""
    path = folder / place / f"{ds}{part}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [dict(zip(rows, cells, strict=True)) for cells in zip(*rows.values(), strict=True)]
    if kind == "parquet":
        pq.write_table(pa.table(dict(rows)), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        cells = [[str(cell).replace(",", ";") for cell in line.values()] for line in lines]
        path.write_text("".join(",".join(line) + "\n" for line in [list(rows), *cells]))
    return path


def accepted(spark: "SparkSession", shop: Spec, place: str, path: Path) -> Records:
    """Return what a published day of this file says of it."""
    found = delivered(spark, shop, place, [path], {})
    return {day: {place: columns} for day, columns in found.accepted.items()}


def read(
    spark: "SparkSession", shop: Spec, place: str, paths: list[Path], records: Records
) -> "DataFrame":
    found = delivered(spark, shop, place, paths, records)
    reader = read_table if place == "items" else read_events
    return reader(spark, shop, place, paths, found)


def overnight(
    spark: "SparkSession", folder: Path, shop: Spec, kind: str, place: str, rows: Rows
) -> "DataFrame":
    """Read a day's file after a published day whose file was ``ROWS``."""
    before = write(folder, kind, place, ONE, ROWS[place])
    after = write(folder, kind, place, TWO, rows)
    return read(spark, shop, place, [after], accepted(spark, shop, place, before))


def changed(kind: str, place: str) -> dict[str, list[Any]]:
    """Return a place's rows after a change."""
    rows = {name: list(cells) for name, cells in ROWS[place].items()}
    if kind == "new_column":
        return {**rows, "extra": [1, 2]}
    if kind == "missing_column":
        return {name: cells for name, cells in rows.items() if name != NAMED[place]}
    return {**rows, NAMED[place]: ["7", "x"]}


@pytest.mark.parametrize(("answer", "kind", "form", "place"), MATRIX)
def test_a_change_overnight_is_answered_as_the_contract_says(
    spark: "SparkSession", tmp_path: Path, answer: str, kind: str, form: str, place: str
) -> None:
    shop, named = spec(form, {kind: answer}), NAMED[place]
    rows = changed(kind, place)
    if answer == "freeze":
        with pytest.raises(SourceError) as refusal:
            overnight(spark, tmp_path, shop, form, place, rows)
        words = [f"'{place}'", f"{TWO}.{form}", f"contract.{kind}"]
        words += {"new_column": ["extra"], "missing_column": [named, "which"]}.get(
            kind, [named, "string", "bigint"]
        )
        assert all(word in str(refusal.value) for word in words), str(refusal.value)
        return
    frame = overnight(spark, tmp_path, shop, form, place, rows)
    found = [row.asDict() for row in frame.collect()]
    good = [row for row in found if row.get(REFUSED) is None]
    refused = [row for row in found if row.get(REFUSED)]
    if kind == "new_column":
        assert len(good) == 2
        assert ("extra" in frame.columns) == (answer == "evolve")
    elif answer == "evolve":
        wanted = {None} if kind == "missing_column" else {"7", "x"}
        assert {row[named] for row in good} == wanted
        assert not refused
    elif kind == "missing_column":
        assert not good
        assert [row[REFUSED] for row in refused] == ([] if place == "items" else [MISSING] * 2)
    else:
        assert [row[named] for row in good] == [7], "the value that survives has its former type"
        assert [row[REFUSED] for row in refused] == ([] if place == "items" else [CHANGED])
        assert all(json.loads(row[WAS])[named] == "x" for row in refused)


DIFFERENT: dict[str, list[Any]] = {
    "whole numbers": [7, 8],
    "fractions": [7.5, 8.5],
    "texts": ["7", "x"],
    "lists": [["7"], ["x", "y"]],
    "structs": [{"a": 1}, {"a": 2}],
    "times": [datetime(2026, 1, 1, tzinfo=UTC)] * 2,
    "nothing": [None, None],
    "truths": [True, False],
    "bytes": [b"7", b"x"],
}


@pytest.mark.parametrize(("one", "two"), [(a, b) for a in DIFFERENT for b in DIFFERENT if a < b])
def test_files_of_one_day_with_other_types_are_read_together(
    spark: "SparkSession", tmp_path: Path, one: str, two: str
) -> None:
    shop = spec("parquet")
    views = dict(ROWS["views"])
    paths = [
        write(tmp_path, "parquet", "views", TWO, {**views, "device": DIFFERENT[kind]}, part)
        for kind, part in ((one, "-a"), (two, "-b"))
    ]
    frame = read(spark, shop, "views", paths, {})
    assert len(frame.selectExpr("string(device)").collect()) == 4


def test_times_and_tokens_of_other_types_keep_their_meaning_among_files_of_one_day(
    spark: "SparkSession", tmp_path: Path
) -> None:
    stamps = {"at": [datetime(2026, 1, 1, 12, tzinfo=UTC)] * 2}
    one = write(tmp_path, "parquet", "sales", ONE, ROWS["sales"])
    two = write(tmp_path, "parquet", "sales", ONE, {**ROWS["sales"], **stamps}, "-b")
    rows = read(spark, spec("parquet"), "sales", [one, two], {}).selectExpr(
        "unix_millis(_time) AS ms"
    )
    assert sorted(row.ms for row in rows.collect()) == [NOON, NOON, NOON, NOON + 1]
    one = write(tmp_path, "parquet", "items", ONE, ROWS["items"])
    words = {"item_id": [9, 10], "colour": [1, 2], "tags": ["p, q", None]}
    two = write(tmp_path, "parquet", "items", ONE, words, "-b")
    items = read(spark, spec("parquet"), "items", [one, two], {}).collect()
    assert {row.item_id: row.tags for row in items} == {
        7: ["x"],
        8: ["y", "z"],
        9: ["p", "q"],
        10: None,
    }


@pytest.mark.parametrize(
    "later",
    [
        {"device": pa.array([1, 2], pa.int8())},
        {"price": [5.5, 6.5]},
        {"clicked": [0.5, 1.0]},
        {"device": pa.array([None, None], pa.null())},
    ],
    ids=["narrower", "a number's fraction", "a fraction where SQL reads it", "no value at all"],
)
def test_a_type_that_means_the_same_is_no_change(
    spark: "SparkSession", tmp_path: Path, later: dict[str, Any]
) -> None:
    rows = {**ROWS["views"], **later}
    frame = overnight(spark, tmp_path, spec("parquet", "freeze"), "parquet", "views", rows)
    assert frame.count() == 2


def test_a_json_column_without_a_value_has_no_type_to_change(
    spark: "SparkSession", tmp_path: Path
) -> None:
    shop = spec("jsonl", "freeze")
    empty = {**ROWS["views"], "device": [None, None]}
    frame = overnight(spark, tmp_path, shop, "jsonl", "views", empty)
    assert {row.device for row in frame.collect()} == {None}
    first = write(tmp_path, "jsonl", "views", ONE, empty)
    second = write(tmp_path, "jsonl", "views", TWO, ROWS["views"])
    assert read(spark, shop, "views", [first, second], {}).count() == 4


def test_a_key_that_became_a_fraction_is_brought_back_where_it_is_whole(
    spark: "SparkSession", tmp_path: Path
) -> None:
    shop = spec("parquet", {"type_change": "discard"})
    rows = {**ROWS["sales"], "item_id": [7.0, 8.5]}
    found = overnight(spark, tmp_path, shop, "parquet", "sales", rows).collect()
    assert {(row.item_id, row[REFUSED]) for row in found} == {(7, None), (None, CHANGED)}


def test_a_first_day_has_nothing_to_differ_from_but_its_own_files(
    spark: "SparkSession", tmp_path: Path
) -> None:
    shop = spec("csv", "freeze")
    one = write(tmp_path, "csv", "views", ONE, {**ROWS["views"], "extra": [1, 2]})
    assert read(spark, shop, "views", [one], {}).count() == 2
    two = write(tmp_path, "csv", "views", ONE, {**ROWS["views"], "more": [1, 2]}, "-b")
    with pytest.raises(SourceError, match="'more'"):
        read(spark, shop, "views", [one, two], {})


def test_a_new_column_that_the_spec_names_is_asked_for(
    spark: "SparkSession", tmp_path: Path
) -> None:
    rules = "rules: [{id: far, reject: Extra > 9 AND place <> 'more'}]"
    for answer in ("discard", "freeze"):
        shop = spec("csv", {"new_column": answer}, rules)
        rows = {**ROWS["views"], "extra": [1, 2]}
        assert "extra" in overnight(spark, tmp_path, shop, "csv", "views", rows).columns
    with pytest.raises(SourceError, match="new column 'more'"):
        overnight(spark, tmp_path, shop, "csv", "views", {**rows, "more": [1, 2]})


def test_a_column_that_only_sql_names_is_missed_with_its_place_or_read_as_null_of_its_type(
    spark: "SparkSession", tmp_path: Path
) -> None:
    rows = {name: cells for name, cells in ROWS["views"].items() if name != "clicked"}
    with pytest.raises(SourceError, match=r"no column 'clicked', which tasks\.click\.label needs"):
        overnight(spark, tmp_path, spec("parquet", {}), "parquet", "views", rows)
    shop = spec("parquet", {"missing_column": "evolve"})
    frame = overnight(spark, tmp_path, shop, "parquet", "views", rows)
    assert dict(frame.dtypes)["clicked"] == "bigint"


def test_a_column_stays_known_when_files_lack_it_for_a_while(
    spark: "SparkSession", tmp_path: Path
) -> None:
    shop = spec("jsonl", {"new_column": "freeze"})
    rows = [{**ROWS["views"], "extra": [1, 2]}, ROWS["views"], {**ROWS["views"], "extra": [3, 4]}]
    paths = [
        write(tmp_path, "jsonl", "views", f"2026-01-0{day}", day_rows)
        for day, day_rows in enumerate(rows, 1)
    ]
    frame = read(spark, shop, "views", paths, {})
    assert sorted(row.extra or 0 for row in frame.collect()) == [0, 0, 1, 2, 3, 4]


def test_what_a_day_was_published_with_is_what_it_is_compared_with_again(
    spark: "SparkSession", tmp_path: Path
) -> None:
    rows = {**ROWS["views"], "extra": [1, 2]}
    one = write(tmp_path, "csv", "views", ONE, ROWS["views"])
    two = write(tmp_path, "csv", "views", TWO, rows)
    records = {**accepted(spark, spec(), "views", one), **accepted(spark, spec(), "views", two)}
    frame = read(spark, spec("csv", "freeze"), "views", [two], records)
    assert "extra" in frame.columns


def test_a_file_is_read_alike_with_the_days_before_it_and_alone(
    spark: "SparkSession", tmp_path: Path
) -> None:
    shop = spec("parquet", "discard")
    one = write(tmp_path, "parquet", "views", ONE, ROWS["views"])
    rows = {**ROWS["views"], "extra": [1, 2], "device": ["7", "x"], "view_id": ["c", "d"]}
    two = write(tmp_path, "parquet", "views", TWO, rows)
    together = read(spark, shop, "views", [one, two], {}).where("view_id > 'b'")
    alone = read(spark, shop, "views", [two], accepted(spark, shop, "views", one))
    assert sorted(together.collect()) == sorted(alone.select(together.columns).collect())
