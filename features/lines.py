"""Where in its file a refused row stands: found afterwards, by reading the file; no Spark.

Spark hands out no line numbers of text, and a count of rows would be wrong where a file is split.
"""

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

LIMIT = 20_000
"""Rows that are looked for; a day that refuses more keeps their files alone."""

_Key = Any
_Find = Callable[[str], _Key]


def with_lines(refused: pa.Table, paths: Iterable[Path], columns: Sequence[str]) -> pa.Table:
    """Return refused rows with their ``line``.

    Args:
        refused: rows in the columns of the table ``quarantine``.
        paths: the files that they came in.
        columns: the raw columns.
    """
    files: dict[str, list[int]] = {}
    # Of equal rows those with fewer rules come first: the later ones repeat them.
    rules = [len(broken or ()) for broken in refused["rules"].to_pylist()]
    for place in sorted(range(refused.num_rows), key=lambda place: rules[place]):
        files.setdefault(refused["source_file"][place].as_py(), []).append(place)
    lines: list[int | None] = [None] * refused.num_rows
    for name, places in files.items():
        mine = refused.take(places)
        found = lines_of(
            [path for path in paths if path.name == name],
            mine["row"].to_pylist(),
            columns,
            mine["ds"].to_pylist(),
        )
        for place, line in zip(places, found, strict=True):
            lines[place] = line
    position = refused.schema.get_field_index("line")
    return refused.set_column(position, "line", pa.array(lines, pa.int64()))


def lines_of(
    paths: Iterable[Path],
    rows: Sequence[str],
    columns: Sequence[str],
    days: Sequence[str] | None = None,
) -> list[int | None]:
    """Return in which line of a text file rows stand, the first being 1.

    A row is found by what it says. Of lines that say the same the last ones are taken, as the first
    is the one that stays. None: no line says the same, or lines of several files do.

    Args:
        paths: the files that have the rows' file name: as a rule one.
        rows: JSON of the raw columns without nulls, or ``{"line": …}`` for one that did not parse,
            as in the table ``quarantine``.
        columns: the raw columns.
        days: the day that refused each row, as several may refuse one; left out: one day did.
    """
    of_days = days or [""] * len(rows)
    found = [_in_file(path, rows, columns, of_days) for path in paths]
    return [_only([lines[place] for lines in found]) for place in range(len(rows))]


def _only(lines: list[int | None]) -> int | None:
    known = [line for line in lines if line is not None]
    return known[0] if len(known) == 1 else None


def _in_file(
    path: Path, rows: Sequence[str], columns: Sequence[str], days: Sequence[str]
) -> list[int | None]:
    with _text(path) as file:
        texts = enumerate((line.rstrip("\n") for line in file), 1)
        if ".json" in path.name:
            key_of, key_in = _json_keys(set(columns))
        else:
            key_of, key_in = _csv_keys(next(texts, (1, ""))[1], set(columns))
        wanted: dict[_Key, dict[str, list[int]]] = {}
        for place, text in enumerate(rows):
            row = json.loads(text)
            broken = len(row) == 1 and "line" in row and "line" not in columns
            key = row["line"] if broken else key_of(row)
            wanted.setdefault(key, {}).setdefault(days[place], []).append(place)
        return _matched(texts, wanted, key_in, len(rows))


def _matched(
    lines: Iterable[tuple[int, str]],
    wanted: Mapping[_Key, Mapping[str, list[int]]],
    key_in: _Find,
    rows: int,
) -> list[int | None]:
    """Return each row's line, given which rows of which day are wanted by what they say."""
    seen: dict[_Key, list[int]] = {}
    for number, text in lines:
        key = text if text in wanted else key_in(text)
        if key in wanted:
            seen.setdefault(key, []).append(number)
    found: list[int | None] = [None] * rows
    for key, numbers in seen.items():
        for places in wanted[key].values():
            for place, number in zip(reversed(places), reversed(numbers), strict=False):
                found[place] = number
    return found


def _csv_keys(header: str, columns: set[str]) -> tuple[Callable[[Mapping[str, Any]], _Key], _Find]:
    """Return what makes a key of a row, and of a line: the cells of known columns, in order."""
    names = next(csv.reader([header]), [])
    kept = [place for place, name in enumerate(names) if name in columns]

    def of_row(row: Mapping[str, Any]) -> _Key:
        return tuple(str(row.get(names[place], "")) for place in kept)

    def of_line(text: str) -> _Key:
        cells = text.split(",") if '"' not in text else _quoted(text)
        return tuple(cells[place] for place in kept) if len(cells) == len(names) else None

    return of_row, of_line


def _quoted(text: str) -> list[str]:
    try:
        return next(csv.reader([text]), [])
    except csv.Error:  # a cell beyond the limit of Python's reader
        return []


def _json_keys(columns: set[str]) -> tuple[Callable[[Mapping[str, Any]], _Key], _Find]:
    """Return what makes a key of a row, and of a line: the values of known columns."""

    def of_row(row: Mapping[str, Any]) -> _Key:
        return _plain({name: value for name, value in row.items() if name in columns})

    def of_line(text: str) -> _Key:
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return of_row(row) if isinstance(row, dict) else None

    return of_row, of_line


def _plain(value: Any) -> _Key:
    """Return a value so that 7, 7.0 and "7" are one, and a null is none."""
    if isinstance(value, dict):
        return tuple(sorted((name, _plain(v)) for name, v in value.items() if v is not None))
    if isinstance(value, list):
        return tuple(map(_plain, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(path: Path) -> Any:
    """Open a file as Spark reads it: lines end with CR, LF or both, bad bytes are replaced."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", errors="replace")
