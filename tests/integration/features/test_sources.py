"""Reading raw files: formats, days, strays, and what is wrong with them."""

import gzip
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import SourceError
from features.sources import (
    FITS,
    FOR,
    belongs,
    explained,
    fits,
    missing_day,
    read_events,
    read_table,
)
from features.spec.load import parse_spec
from features.spec.model import Spec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

DAY = date(2026, 1, 5)
NOON = 1767614400000  # 2026-01-05 12:00 UTC
HOUR = 3_600_000


def spec(path: str = "v/{ds}.csv", timezone: str = "UTC", more: str = "late: 1d") -> Spec:
    return parse_spec(
        f"""
product: shop
timezone: {timezone}
sources:
  views: {{path: "{path}", time: {{column: at}}, {more}}}
  users: {{path: users.csv, key: user_id}}
impression: {{source: views, key: view_id}}
scenarios: {{column: place, values: {{feed: feed}}}}
tasks: {{click: {{label: clicked = 1}}}}
features: {{categories: [users.segment]}}
""",
        "shop.yaml",
    )


HEADER = "view_id,at,place,user_id,clicked\n"


def write(path: Path, *lines: str, header: str = HEADER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = (header + "".join(f"{line}\n" for line in lines)).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def days(frame: "DataFrame") -> dict[str, str | None]:
    return {row.view_id: row._day for row in frame.select("view_id", "_day").collect()}


def test_csv_cells_stay_text_and_rows_say_their_file_and_day(
    spark: "SparkSession", tmp_path: Path
) -> None:
    path = write(tmp_path / "v/2026-01-05.csv.gz", f'007,{NOON},"a ""b"", c",u,')
    events = read_events(spark, spec("v/{ds}.csv.gz"), "views", [path])
    [row] = events.collect()
    assert (row.view_id, row.place, row.clicked) == ("007", 'a "b", c', None)
    assert (row._file, row._arrived, row._day) == (
        "2026-01-05.csv.gz",
        "2026-01-05",
        "2026-01-05",
    )
    assert row._broken is None


def test_a_line_with_too_few_or_too_many_fields_is_kept_as_broken(
    spark: "SparkSession", tmp_path: Path
) -> None:
    path = write(tmp_path / "v/2026-01-05.csv", f"a,{NOON},feed,u,1", "b,1", "c,1,feed,u,1,9")
    events = read_events(spark, spec(), "views", [path])
    broken = {row.view_id: row._broken for row in events.collect()}
    assert broken == {"a": None, "b": "b,1", "c": "c,1,feed,u,1,9"}


def test_files_with_other_columns_or_another_order_are_read_by_name(
    spark: "SparkSession", tmp_path: Path
) -> None:
    one = write(tmp_path / "v/2026-01-05.csv", f"a,{NOON},feed,u,1")
    header = "extra,clicked,view_id,at,user_id,place\n"
    two = write(tmp_path / "v/2026-01-06.csv", f"x,0,b,{NOON},w,feed", header=header)
    rows = {r.view_id: r for r in read_events(spark, spec(), "views", [one, two]).collect()}
    assert (rows["b"].clicked, rows["b"].user_id, rows["b"].extra) == ("0", "w", "x")
    assert (rows["a"].clicked, rows["a"].extra) == ("1", None)


def test_json_lines_keep_their_types_and_a_line_that_is_none_is_broken(
    spark: "SparkSession", tmp_path: Path
) -> None:
    path = write(
        tmp_path / "v/2026-01-05.jsonl",
        f'{{"view_id": "a", "at": {NOON}, "place": "feed", "user_id": 7, "clicked": 1}}',
        '{"view_id": "b"',
        header="",
    )
    events = read_events(spark, spec("v/{ds}.jsonl"), "views", [path])
    assert dict(events.dtypes)["user_id"] == "bigint"
    assert sorted(row._broken or "" for row in events.collect()) == ["", '{"view_id": "b"']


def test_parquet_timestamps_in_nanoseconds_are_read(spark: "SparkSession", tmp_path: Path) -> None:
    path = tmp_path / "v/2026-01-05.parquet"
    path.parent.mkdir()
    rows = {
        "view_id": ["a"],
        "at": pa.array([datetime(2026, 1, 5, 12)], pa.timestamp("ns")),
        "place": ["feed"],
        "user_id": ["u"],
        "clicked": [1],
    }
    pq.write_table(pa.table(rows), path, version="2.6")
    events = read_events(spark, spec("v/{ds}.parquet"), "views", [path])
    [row] = events.selectExpr("unix_millis(_time) AS ms", "_day", "_row").collect()
    assert (row.ms, row._day, row._row) == (NOON, "2026-01-05", 0)


@pytest.mark.parametrize(
    ("day", "first_utc", "hours"),
    [(date(2026, 3, 29), "2026-03-28T23:00Z", 23), (date(2026, 10, 25), "2026-10-24T22:00Z", 25)],
)
def test_days_begin_at_local_midnight_across_both_changes_of_clocks(
    spark: "SparkSession", tmp_path: Path, day: date, first_utc: str, hours: int
) -> None:
    start = round(datetime.fromisoformat(first_utc).timestamp() * 1000)
    end = start + hours * HOUR
    lines = [f"{name},{at},feed,u,1" for name, at in bounds(start, end)]
    path = write(tmp_path / "all.csv", *lines)
    product = spec("all.csv", "Europe/Berlin", "late: 0d")
    events = read_events(spark, product, "views", [path])
    mine = {row.view_id for row in rows_of(events, product, day).collect()}
    assert mine == {"first", "last"}


def rows_of(events: "DataFrame", product: Spec, day: date) -> "DataFrame":
    return events.selectExpr("*", f"'{day}' AS {FOR}").where(belongs(product.sources["views"]))


def bounds(start: int, end: int) -> list[tuple[str, int]]:
    return [("before", start - 1), ("first", start), ("last", end - 1), ("after", end)]


def test_a_late_row_belongs_to_its_own_day_and_one_too_late_to_none(
    spark: "SparkSession", tmp_path: Path
) -> None:
    own = write(
        tmp_path / "v/2026-01-05.csv",
        f"own,{NOON},feed,u,1",
        f"yesterday,{NOON - 24 * HOUR},feed,u,1",
        f"too-late,{NOON - 48 * HOUR},feed,u,1",
        f"future,{NOON + 24 * HOUR},feed,u,1",
        "no-time,soon,feed,u,1",
    )
    next_ = write(tmp_path / "v/2026-01-06.csv", f"late,{NOON},feed,u,1")
    events = read_events(spark, spec(), "views", [own, next_])
    mine = days(rows_of(events, spec(), DAY))
    assert mine == {
        "own": "2026-01-05",
        "late": "2026-01-05",
        "no-time": "2026-01-05",
        "too-late": "2026-01-03",
        "future": "2026-01-06",
    }
    yesterday = days(rows_of(events, spec(), date(2026, 1, 4)))
    assert yesterday == {"yesterday": "2026-01-04"}
    tomorrow = days(rows_of(events, spec(), date(2026, 1, 6)))
    assert tomorrow == {}, "a row is in its file's quarantine and in another day's samples"


@pytest.mark.parametrize("late", ["0d", "1h", "1d", "36h", "3d"])
def test_every_row_of_daily_files_belongs_to_exactly_one_of_all_days(
    spark: "SparkSession", late: str
) -> None:
    product = spec(more=f"late: {late}")
    around = [str(DAY + timedelta(days=offset)) for offset in range(-9, 10)]
    rows = [(str(DAY), day, built) for day in (*around, None) for built in around]
    built = spark.createDataFrame(rows, f"_arrived string, _day string, {FOR} string")
    views = product.sources["views"]
    taken = built.withColumn(FITS, fits(views)).where(belongs(views)).collect()
    allowed = -(-product.sources["views"].late // timedelta(days=1))
    own = {str(DAY - timedelta(days=back)) for back in range(allowed + 1)}
    assert len(taken) == 20
    assert {row._day: row[FOR] for row in taken} == {
        day: day if day in own else str(DAY) for day in {row._day for row in taken}
    }


def test_a_table_with_a_repeated_key_gives_one_row_whatever_its_order(
    spark: "SparkSession", tmp_path: Path
) -> None:
    found = []
    for name, lines in (("one", ("u,b", "u,a", ",x")), ("two", (",x", "u,a", "u,b"))):
        path = write(tmp_path / name / "users.csv", *lines, header="user_id,segment\n")
        rows = read_table(spark, spec(), "users", [path]).collect()
        found.append([(row.user_id, row.segment) for row in rows])
    assert len(found[0]) == 1
    assert found[0] == found[1]


def test_a_missing_column_is_named_with_its_file_and_its_use(
    spark: "SparkSession", tmp_path: Path
) -> None:
    path = write(tmp_path / "v/2026-01-05.csv", header="view_id,at,user_id,clicked\n")
    said = r"'views': 2026-01-05\.csv has no column 'place', which scenarios\.column needs"
    with pytest.raises(SourceError, match=said):
        read_events(spark, spec(), "views", [path])


def test_a_missing_json_column_is_named(spark: "SparkSession", tmp_path: Path) -> None:
    path = write(tmp_path / "v/2026-01-05.jsonl", '{"view_id": "a"}', header="")
    with pytest.raises(SourceError, match=r"'views': 2026-01-05\.jsonl has no column 'at'"):
        read_events(spark, spec("v/{ds}.jsonl"), "views", [path])


def test_a_gzip_that_breaks_off_is_named_though_its_first_lines_are_fine(
    spark: "SparkSession", tmp_path: Path
) -> None:
    lines = [f"v{i * 7919 % 100003},{NOON + i * i},feed,u{i % 97},1" for i in range(20_000)]
    path = write(tmp_path / "v/2026-01-05.csv.gz", *lines)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (
        pytest.raises(SourceError, match=r"2026-01-05\.csv\.gz can't be read as gzip"),
        explained({"views": [path]}),
    ):
        read_events(spark, spec("v/{ds}.csv.gz"), "views", [path]).count()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("2026-01-05.csv.gz", b"view_id,at\n1,2\n", "can't be read as gzip"),
        ("2026-01-05.parquet", b"PAR1 not really", "can't be read as parquet"),
        ("2026-01-05.csv", b"", "is empty; deliver the file again"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_named(
    spark: "SparkSession", tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = tmp_path / "v" / name
    path.parent.mkdir()
    path.write_bytes(content)
    product = spec("v/{ds}." + name.partition(".")[2])
    with pytest.raises(SourceError, match=f"{name}.*{said}"):
        read_events(spark, product, "views", [path])


def test_a_day_without_rows_is_told_with_the_days_there_are(
    spark: "SparkSession", tmp_path: Path
) -> None:
    path = write(tmp_path / "all.csv", f"a,{NOON},feed,u,1")
    product = spec("all.csv")
    events = read_events(spark, product, "views", [path])
    error = missing_day(events, product, "views", date(2026, 2, 1))
    assert "no row of 2026-02-01: its days run from 2026-01-05 to 2026-01-05" in str(error)
    assert "sources.views.time (at)" in str(error)
