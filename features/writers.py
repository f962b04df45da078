"""One writer a table: on an object store under a lease, whose fence every commit carries.

On a local disk Delta itself lets one of two commits win. On S3 its log store for Spark is safe
within one driver only (https://docs.delta.io/latest/delta-storage.html#amazon-s3), so that a second
driver could overwrite a commit. Hence three things, each of which helps where the one before ends:

1. A writer holds the table's lease, and looks at the store that it still does before it commits.
2. Each commit carries a number made of the lease's fence, as a Delta transaction of the application
   ``autoifs``. A commit whose number is smaller than the table's is refused; two that were begun at
   once conflict.
3. Files that must not replace another are created by conditional puts (``features.session``): what
   is overtaken between its last look and its commit is refused by the store.
"""

import os
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deltalake import DeltaTable

from features import lease
from features.lease import Lease, LeaseLost, acquire
from features.objects import Objects, is_address

APP = "autoifs"
"""The application whose transactions carry the numbers."""
FOLDER = "_leases"
"""Beside a product's tables; nobody takes a name with an underscore for a table."""
SECONDS = lease.SECONDS
"""How long a writer may be silent before another takes its tables over."""
_A_LEASE = 1_000_000
"""Commits that one lease can number."""


@dataclass
class _Turn:
    """A lease that this process holds, and how often it has committed under it."""

    lease: Lease
    commits: int = 0
    users: int = 0


_turns: dict[str, _Turn] = {}
_doors: dict[str, threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def turn(place: str, table: str) -> Iterator[None]:
    """Be the only process that writes ``table`` during the block; at once where we are already.

    Args:
        place: folder or prefix of a product's tables.
        table: the table's name.

    Raises:
        LeaseTaken: when another process writes it for longer than a writer waits.
    """
    if not is_address(place):
        yield
        return
    name = f"{place}/{table}"
    with _doors[name]:
        held = _turns.get(name)
        if held is None:
            taken = acquire(Objects(f"{place}/{FOLDER}"), table, _owner(), seconds=SECONDS)
            taken.keep()
            held = _turns[name] = _Turn(taken)
        held.users += 1
    try:
        yield
    finally:
        with _doors[name]:
            held.users -= 1
            if not held.users:
                del _turns[name]
                held.lease.release()


def number(place: str, table: str, opened: DeltaTable | None) -> int | None:
    """Return the number for a commit that is about to be made on ``opened``; none on a local disk.

    Raises:
        LeaseLost: when the table is another process's by now.
    """
    if not is_address(place):
        return None
    held = _turns[f"{place}/{table}"]
    held.lease.check()
    held.commits += 1
    ours = held.lease.fence * _A_LEASE + held.commits
    if opened is not None and (opened.transaction_version(APP) or 0) >= ours:
        raise LeaseLost(f"{place}/{table} was written by a later run; nothing was committed")
    return ours


def _owner() -> str:
    """Return how another process, which waits for us, calls us."""
    run = os.environ.get("AUTOIFS_RUN_ID", "a command")
    return f"{run} on {socket.gethostname()}, process {os.getpid()}"
