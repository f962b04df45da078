"""What a command says: progress and logs on stderr, one JSON object as its last line on stdout."""

import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

STDERR = Console(stderr=True, highlight=False)

Rows = Sequence[Sequence[str]]
Tables = list[tuple[str, Sequence[str], Rows]]
"""A title, a head and rows, of each."""


def set_up_logging(debug: bool) -> None:
    """Send our log lines to stderr, and the libraries' only when something is wrong."""
    plain = logging.StreamHandler(sys.stderr)
    plain.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    pretty = RichHandler(console=STDERR, show_path=False, show_level=False, log_time_format="%X")
    handler = pretty if STDERR.is_terminal else plain
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    ours = logging.DEBUG if debug else logging.INFO if speaks() else logging.WARNING
    for room in ("features", "validation", "training", "jobs"):
        logging.getLogger(room).setLevel(ours)


def speaks() -> bool:
    """Return whether this process answers: of those that torchrun starts, the first does."""
    return os.environ.get("RANK", "0") == "0"


def say(result: dict[str, Any]) -> None:
    """Print the command's result as one line of JSON."""
    if not speaks():
        return
    sys.stdout.write(json.dumps(result, default=_plain, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say_text(text: str) -> None:
    """Print a text as it is, for a person or a chat."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def to_json(result: dict[str, Any]) -> str:
    """Return ``result`` as JSON text, as :func:`say` would print it."""
    return json.dumps(result, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "item"):  # numpy's scalars
        return value.item()
    raise TypeError(f"a result holds {type(value).__name__}, which JSON can't")


def show_tables(tables: Tables) -> None:
    """Print tables on stderr."""
    for title, head, rows in tables:
        table = Table(*head, title=title)
        for row in rows:
            table.add_row(*row)
        STDERR.print(table)


def tables_in_markdown(tables: Tables) -> str:
    """Return tables as Markdown, without their titles."""
    return "\n\n".join(markdown_table(head, rows) for _, head, rows in tables)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns line up, so that it reads as well unrendered."""
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (head, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )
