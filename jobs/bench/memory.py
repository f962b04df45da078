"""The memory of a process and all that it started, sampled while it runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

EVERY = 0.2
"""Seconds between two looks."""


@dataclass
class Peak:
    """The most resident memory seen, in bytes; pages that processes share count in each."""

    bytes: int = 0


@contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Sample the resident memory of a process tree while the block runs."""
    peak, done = Peak(), Event()

    def look() -> None:
        while not done.wait(EVERY):
            peak.bytes = max(peak.bytes, tree_bytes(pid))

    looking = Thread(target=look, daemon=True)
    looking.start()
    try:
        yield peak
    finally:
        done.set()
        looking.join()


def tree_bytes(pid: int, proc: Path = Path("/proc")) -> int:
    """Return the resident bytes of a process and its descendants, as ``/proc`` tells them now."""
    resident, children = {}, dict[int, list[int]]()
    for folder in proc.glob("[0-9]*"):
        fields = _stat(folder)
        if fields:
            # After the name in brackets: state, parent, …; the 22nd is the resident pages.
            resident[int(folder.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        total += resident.get(one, 0)
        waiting += children.get(one, [])
    return total


def _stat(folder: Path) -> list[str]:
    """Return the fields after a process's name; none of one that has ended meanwhile."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
