"""Which files a day is made of, without Spark."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.arrivals import (
    arrivals,
    arrived_pattern,
    bulk,
    closing_day,
    last_arrival,
    look_back,
)
from features.days import end_of, parse_duration, span, start_of
from features.errors import MissingDayError, SourceError
from features.needs import used_sources
from features.spec.load import parse_spec
from features.spec.model import Source, Spec

DAY = date(2026, 1, 5)


def spec(timezone: str = "UTC", window: str = "3d", late: str = "1d") -> Spec:
    return parse_spec(
        f"""
product: shop
timezone: {timezone}
sources:
  views: {{path: "views/{{ds}}.csv", time: {{column: at}}, late: {late}}}
  sales: {{path: "sales/{{ds}}.csv", time: {{column: at}}, late: {late}}}
  users: {{path: users.csv, key: user_id}}
  unused: {{path: nowhere.csv, key: user_id}}
impression: {{source: views, key: view_id, user: user_id}}
scenarios: {{column: place, values: {{feed: feed}}}}
tasks:
  sale: {{source: sales, on: user_id, window: {window}}}
features: {{categories: [users.segment]}}
""",
        "shop.yaml",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("views", "sales"):
        (tmp_path / name).mkdir()
        for day in span(date(2026, 1, 1), date(2026, 1, 12)):
            (tmp_path / name / f"{day}.csv").write_text(f"{name},{day}\n")
    (tmp_path / "users.csv").write_text("user_id,segment\n")
    return tmp_path


def names(paths: tuple[Path, ...]) -> list[str]:
    return [path.stem for path in paths]


def test_a_day_on_its_own_night_reads_back_over_the_window_and_never_ahead(folder: Path) -> None:
    found = arrivals(spec(), folder, DAY, DAY)
    days = ["2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05"]
    assert names(found.files["views"]) == days
    assert names(found.files["sales"]) == days


def test_a_later_as_of_reads_ahead_until_the_window_and_the_lateness_end(folder: Path) -> None:
    found = arrivals(spec(), folder, DAY, date(2026, 1, 30))
    assert found.as_of == date(2026, 1, 9)
    assert names(found.files["sales"])[-1] == "2026-01-09"


def test_only_sources_that_the_day_is_made_of_must_be_there(folder: Path) -> None:
    assert used_sources(spec()) == ["views", "sales", "users"]
    assert "unused" not in arrivals(spec(), folder, DAY, DAY).files


@pytest.mark.parametrize("name", ["views", "sales"])
def test_a_missing_file_of_the_day_is_named_with_its_day_and_path(folder: Path, name: str) -> None:
    (folder / name / "2026-01-05.csv").unlink()
    said = rf"'{name}' has no file of 2026-01-05: .*/{name}/2026"
    with pytest.raises(MissingDayError, match=said):
        arrivals(spec(), folder, DAY, DAY)


def test_a_hole_ahead_ends_what_is_known_so_that_no_label_is_called_mature(folder: Path) -> None:
    (folder / "sales" / "2026-01-07.csv").unlink()
    assert arrivals(spec(), folder, DAY, date(2026, 1, 12)).as_of == date(2026, 1, 6)


def test_a_missing_folder_and_a_missing_table_are_told_apart(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"source folder .*/none does not exist"):
        arrivals(spec(), folder / "none", DAY, DAY)
    (folder / "users.csv").unlink()
    with pytest.raises(SourceError, match=r"'users': no file matches .*users\.csv"):
        arrivals(spec(), folder, DAY, DAY)


def test_a_folder_that_spark_wrote_stands_for_the_files_in_it(folder: Path) -> None:
    (folder / "views" / "2026-01-05.csv").unlink()
    part = folder / "views" / "2026-01-05.csv"
    part.mkdir()
    for name in ("part-0.csv", "part-1.csv", "_SUCCESS", ".part-0.csv.crc"):
        (part / name).write_text("x\n")
    found = arrivals(spec(), folder, DAY, DAY).files["views"]
    assert [path.name for path in found][-2:] == ["part-0.csv", "part-1.csv"]


def test_the_signature_follows_the_content_and_not_the_clock(folder: Path) -> None:
    before = arrivals(spec(), folder, DAY, DAY).signature()
    file = folder / "views" / "2026-01-05.csv"
    file.write_text(file.read_text())
    assert arrivals(spec(), folder, DAY, DAY).signature() == before
    file.write_text("other\n")
    assert arrivals(spec(), folder, DAY, DAY).signature() != before


@pytest.mark.parametrize(
    ("path", "file", "day"),
    [
        ("views/{ds}.csv", "file:///a/2020-01-01/views/2026-01-05.csv", "2026-01-05"),
        ("{ds}/v-*.csv.gz", "file:///a/2026-01-05/v-07.csv.gz", "2026-01-05"),
        ("views/{ds}.parquet", "file:///a/views/2026-01-05.parquet/part-0.parquet", "2026-01-05"),
    ],
)
def test_the_day_of_a_file_is_read_from_its_path(path: str, file: str, day: str) -> None:
    import re

    source = Source.model_validate({"path": path, "time": {"column": "at"}})
    match = re.search(arrived_pattern(source), file)
    assert match is not None
    assert match[1] == day


def test_windows_of_whole_days_close_that_many_days_later() -> None:
    assert closing_day(spec(), DAY) == date(2026, 1, 8)
    assert closing_day(spec(window="1h"), DAY) == date(2026, 1, 6)
    assert look_back(spec(), DAY) == date(2026, 1, 2)
    assert last_arrival(spec(late="36h"), DAY) == date(2026, 1, 10)


def test_across_a_change_of_clocks_the_last_hour_closes_a_day_later_or_not_at_all() -> None:
    berlin = spec(timezone="Europe/Berlin")
    spring, autumn = date(2026, 3, 28), date(2026, 10, 24)  # the nights before the change
    assert closing_day(berlin, spring) == spring + timedelta(days=4)  # 71 h would be too short
    assert closing_day(berlin, autumn) == autumn + timedelta(days=3)  # 73 h leave an hour to spare
    assert look_back(berlin, spring + timedelta(days=1)) == spring - timedelta(days=2)
    assert look_back(berlin, autumn + timedelta(days=2)) == autumn - timedelta(days=1)


CHANGES = [
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/Sao_Paulo", date(2018, 11, 4)),  # begins at one o'clock
    ("America/Sao_Paulo", date(2018, 2, 17)),  # has its last hour twice
    ("Asia/Beirut", date(2022, 3, 27)),
    ("Asia/Beirut", date(2022, 10, 29)),
]


@pytest.mark.parametrize(("zone", "change"), CHANGES)
@pytest.mark.parametrize("window", ["1h", "24h", "25h", "3d"])
def test_around_a_change_of_clocks_days_reach_as_far_as_their_first_and_last_instants(
    zone: str, change: date, window: str
) -> None:
    product, length = spec(timezone=zone, window=window), parse_duration(window)

    def local(instant: datetime, shift: timedelta) -> date:
        # In UTC: in a zone, Python adds on the clock's face.
        return (instant.astimezone(UTC) + shift).astimezone(ZoneInfo(zone)).date()

    for day in span(change - timedelta(days=4), change + timedelta(days=4)):
        last_moment = length - 2 * timedelta(microseconds=1)
        assert closing_day(product, day) == local(end_of(day, zone), last_moment), day
        first_moment = timedelta(microseconds=1) - length
        assert look_back(product, day) == local(start_of(day, zone), first_moment), day


def test_the_bulk_of_days_is_the_rows_of_their_files_as_far_as_they_are_there(
    tmp_path: Path,
) -> None:
    days = [date(2026, 1, 4), date(2026, 1, 5)]
    text = """
product: shop
sources:
  views: {path: "views/{ds}.parquet", time: {column: at}}
  items: {path: items.csv, key: item_id}
impression: {source: views, key: view_id}
scenarios: {column: place, values: {feed: feed}}
tasks: {click: {label: clicked = 1}}
features: {categories: [items.colour]}
"""
    product = parse_spec(text, "shop.yaml")
    (tmp_path / "views").mkdir()
    for day, rows in zip(days, (700, 50), strict=True):
        path = tmp_path / "views" / f"{day}.parquet"
        pq.write_table(pa.table({"view_id": list(range(rows))}), path)
    (tmp_path / "items.csv").write_text("item_id,colour\n" + "i1,red\n" * 1000)
    shared = bulk(product, tmp_path, [])
    assert 50 < shared < 1000, "by its bytes"
    assert bulk(product, tmp_path, days[:1]) == 700 + shared
    assert bulk(product, tmp_path, days) == 750 + shared
    assert bulk(product, tmp_path / "nowhere", days) == 0
