"""In which line of its file a refused row stands."""

import gzip
import json
from pathlib import Path

from features.lines import lines_of

COLUMNS = ("id", "place", "price")


def row(**cells: object) -> str:
    return json.dumps(cells)


def test_a_row_of_csv_is_found_by_its_cells_past_empty_lines_and_all_ends_of_lines(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.csv.gz"
    text = 'id,place,price\n\na,home,1\r\nb,"x ""y"", z",2\rc,,\nd,home\ne,home,\x005\n'
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    rows = [
        row(id="b", place='x "y", z', price="2"),
        row(id="c"),
        row(line="d,home"),
        row(id="e", place="home", price="\x005"),
        row(id="nobody"),
    ]
    assert lines_of([path], rows, COLUMNS) == [4, 5, 6, 7, None]


def test_of_equal_lines_the_first_stays_and_the_last_are_the_refused_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,place,price\n" + "a,home,1\n" * 4)
    same = row(id="a", place="home", price="1")
    assert lines_of([path], [same, same, same], COLUMNS) == [3, 4, 5]


def test_columns_that_were_not_read_play_no_part(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,extra,place,price\na,9,home,1\nb,8,home,1\n")
    assert lines_of([path], [row(id="b", place="home", price="1")], COLUMNS) == [3]


def test_a_row_of_json_is_found_by_its_values_however_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": 1, "price": 2.50, "tags": ["x"], "place": null}\n'
        '{"id": 2, "price": 7, "of": {"a": 1, "b": null}}\n'
        '{"id": 3\n'
        f"{'[' * 9000}\n"
    )
    rows = [
        row(id=2, price=7.0, of={"a": 1}),
        row(id="1", price=2.5, tags=["x"]),
        row(line='{"id": 3'),
    ]
    assert lines_of([path], rows, ("id", "price", "tags", "place", "of")) == [2, 1, 3]


def test_a_line_that_files_of_the_same_name_have_both_is_left_open(tmp_path: Path) -> None:
    paths = [tmp_path / ds / "views.csv" for ds in ("one", "two")]
    for path, own in zip(paths, ("a", "b"), strict=True):
        path.parent.mkdir()
        path.write_text(f"id,place,price\nz,home,1\n{own},home,1\n")
    rows = [row(id="z", place="home", price="1"), row(id="b", place="home", price="1")]
    assert lines_of(paths, rows, COLUMNS) == [None, 3]


def test_a_cell_beyond_the_reader_s_limit_is_found_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    long = "9" * 5_000_000
    path.write_text(f"id,place,price\na,home,{long}\n")
    assert lines_of([path], [row(id="a", place="home", price=long)], COLUMNS) == [2]


def test_a_row_that_several_days_refuse_stands_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,place,price\na,home,1\n")
    same = row(id="a", place="home", price="1")
    assert lines_of([path], [same, same], COLUMNS, ["2026-01-01", "2026-01-02"]) == [2, 2]
