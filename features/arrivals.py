"""Which raw files a day is made of, and since when its labels can no longer change; no Spark."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.days import DAY, end_of, span, start_of
from features.errors import MissingDayError, SourceError
from features.needs import streams, used_sources
from features.spec import Spec
from features.spec.model import Source

_SKIPPED = ("_", ".")
_ANY = (date.min,)
"""In place of the day of files that have none."""
_BYTES_A_ROW = 64
_PACKED = 4
"""How many times smaller gzip makes text, about."""


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """The files that one day is built from."""

    day: date
    as_of: date
    """The last day whose arrivals count: as asked for, but no later than the last that matters."""
    files: dict[str, tuple[Path, ...]]
    """Source → its files, oldest first."""

    def signature(self) -> list[tuple[str, str, int, str]]:
        """Return source, name, size and SHA-256 of every file: equal when the contents are."""
        return [
            (source, path.name, path.stat().st_size, _digest(path, path.stat().st_mtime_ns))
            for source, paths in sorted(self.files.items())
            for path in paths
        ]


def arrivals(spec: Spec, folder: Path, day: date, as_of: date) -> Arrivals:
    """Find the files of ``day`` that had arrived by the end of ``as_of``.

    A source with ``{ds}`` in its path has a file a day. That of ``day`` must be there. Labels look
    ahead by their window: where a later file is missing, ``as_of`` ends before it, so that a label
    is never called mature while its outcomes are not all in.

    Raises:
        SourceError: when the folder or a source's files are missing.
        MissingDayError: when a file of ``day`` is missing.
    """
    if not folder.is_dir():
        raise SourceError(f"source folder {folder} does not exist; name the raw data with --source")
    until = _complete(spec, folder, day, min(as_of, last_arrival(spec, day)))
    files = {name: tuple(_files(spec, name, folder, day, until)) for name in used_sources(spec)}
    return Arrivals(day=day, as_of=until, files=files)


def bulk(spec: Spec, folder: Path, days: Sequence[date]) -> int:
    """Return about how many rows the files of days hold, as far as they are there.

    Files that all days share count once. Parquet says its rows; those of text are guessed by bytes.
    """
    return sum(
        _rows_in(path)
        for name in used_sources(spec)
        for day in (days if spec.sources[name].daily else _ANY)
        for path in _match(spec.sources[name], folder, day)
    )


def in_batches(sizes: Sequence[int], limit: int) -> list[slice]:
    """Return which neighbours go together: as many as stay below ``limit``, but at least one.

    >>> in_batches([3, 3, 9, 1], 10)
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    found: list[slice] = []
    first, total = 0, 0
    for place, size in enumerate(sizes):
        if place > first and total + size >= limit:
            found.append(slice(first, place))
            first, total = place, 0
        total += size
    return [*found, slice(first, len(sizes))] if sizes else []


def closing_day(spec: Spec, day: date) -> date:
    """Return the day by whose end every label window of ``day`` has closed.

    Windows are durations: across a change of clocks the last hour of a day may close a day later.
    """
    longest = max(task.window for task in spec.tasks.values())
    if not longest:
        return day
    last = end_of(day, spec.timezone).timestamp() + longest.total_seconds()
    closing = day
    while end_of(closing, spec.timezone).timestamp() < last:
        closing += DAY
    return closing


def look_back(spec: Spec, day: date) -> date:
    """Return the first day whose impressions can still have outcomes on ``day``."""
    longest = max(task.window for task in spec.tasks.values())
    first = day
    while start_of(day, spec.timezone).timestamp() - longest.total_seconds() < (
        start_of(first, spec.timezone).timestamp()
    ):
        first -= DAY
    return first


def late_days(source: Source) -> int:
    """Return how many days after an event's own its file may come."""
    return -(-source.late // DAY)


def last_arrival(spec: Spec, day: date) -> date:
    """Return the last day whose files can change the samples of ``day``."""
    late = max(late_days(spec.sources[name]) for name in streams(spec))
    return closing_day(spec, day) + DAY * late


def reach(spec: Spec, name: str, day: date, until: date) -> tuple[date, date]:
    """Return the first and last day whose files of a stream ``day`` reads, up to ``until``."""
    ahead = closing_day(spec, day) + DAY * late_days(spec.sources[name])
    return look_back(spec, day), min(until, ahead)


def file_of(source: Source, folder: Path, day: date) -> str:
    """Return the pattern of a source's file of ``day``, as a person would look for it."""
    return str(folder / source.path.replace("{ds}", day.isoformat()))


def arrived_pattern(source: Source) -> str:
    """Return a regular expression whose group 1 is the day in a path of the daily ``source``."""
    parts = re.split(r"(\{ds\}|\*|\?)", source.path)
    special = {"{ds}": r"(\d{4}-\d{2}-\d{2})", "*": "[^/]*", "?": "[^/]"}
    return "".join(special.get(part, re.escape(part)) for part in parts) + "(?:/.*)?$"


def _complete(spec: Spec, folder: Path, day: date, until: date) -> date:
    """Return the last day up to which no daily file that labels need is missing."""
    if closing_day(spec, day) == day:
        return until
    daily = [spec.sources[name] for name in streams(spec) if spec.sources[name].daily]
    for later in span(day + DAY, min(until, closing_day(spec, day))):
        if not all(_match(source, folder, later) for source in daily):
            return later - DAY
    return until


def _files(spec: Spec, name: str, folder: Path, day: date, until: date) -> list[Path]:
    source = spec.sources[name]
    if not source.daily:
        found = _match(source, folder, day)
        if not found:
            raise SourceError(
                f"source '{name}': no file matches {folder / source.path}; "
                f"put it there, or correct sources.{name}.path"
            )
        return found
    own = _match(source, folder, day)
    if not own:
        raise MissingDayError(
            f"source '{name}' has no file of {day}: {file_of(source, folder, day)}; "
            "deliver it and run the day again"
        )
    if source.key is not None:
        return own
    first, last = reach(spec, name, day, until)
    return [path for each in span(first, last) for path in _match(source, folder, each)]


def _match(source: Source, folder: Path, day: date) -> list[Path]:
    """Return the files of a pattern; a folder (as Spark writes them) stands for its files."""
    found = sorted(folder.glob(source.path.replace("{ds}", day.isoformat())))
    return [file for path in found for file in ([path] if path.is_file() else _inside(path))]


def _inside(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(_SKIPPED)
    )


def _rows_in(path: Path) -> int:
    if path.suffix == ".parquet":
        try:
            return int(pq.read_metadata(path).num_rows)
        except (pa.ArrowException, OSError):  # told in its own sentence when it is read
            return 0
    packed = _PACKED if path.suffix == ".gz" else 1
    return path.stat().st_size * packed // _BYTES_A_ROW


@lru_cache(maxsize=4096)
def _digest(path: Path, _changed: int) -> str:
    """Return the SHA-256 of a file; read once a process, as many days share a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
