"""Writing a simulation's files: each appears whole or not at all, with the same bytes each time."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import csv
from pyarrow import parquet as pq

from features.errors import UserError


def write_parquet(path: Path, rows: pa.Table) -> None:
    """Write ``rows`` as Parquet."""
    _write(path, lambda file: pq.write_table(rows, file, compression="zstd"))


def write_csv(path: Path, rows: pa.Table) -> None:
    """Write ``rows`` as CSV with a header; gzip when the name says so."""
    _write(path, lambda file: _to_csv(file, rows, packed=path.suffix == ".gz"))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` as indented JSON; NaN is refused."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    _write(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what ``path`` holds; None when it is absent or no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise _unusable(path, error) from None
    return found if isinstance(found, dict) else None


def _to_csv(file: IO[bytes], rows: pa.Table, *, packed: bool) -> None:
    options = csv.WriteOptions(quoting_style="needed", quoting_header="none")
    if not packed:
        csv.write_csv(rows, file, options)
        return
    # Without a name and a time in its header, a gzip file is the same bytes each time.
    with gzip.GzipFile("", "wb", compresslevel=4, fileobj=file, mtime=0) as squeezed:
        csv.write_csv(rows, squeezed, options)


def _write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _whole(path) as file:
            fill(file)
    except OSError as error:
        raise _unusable(path, error) from None


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes its name once it is complete; dotted until then: no glob sees it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _unusable(path: Path, error: OSError) -> UserError:
    reason = error.strerror or str(error)
    return UserError(f"{path}: {reason.lower()}; give a folder that can be written to")
