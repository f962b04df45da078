"""Where a product's tables lie, and how they are read and written without a JVM."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from features import writers
from features.errors import LakeError, StoreError, UnavailableError, UserError
from features.objects import is_address, refusal

ADDRESS = "AUTOIFS_LAKE"
"""Environment variable: an object store's prefix, such as ``s3a://bucket/lake``, or a folder."""
BUILT = ("staged", "samples", "quarantine", "counts", "state", "vocabulary", "encoded", "audits")
"""Tables that a day is built into; whoever builds holds them all until it is done."""
TABLES = (
    *BUILT[:-1],
    "metrics",
    "masks",
    "profiles",
    "probe",
    "drift",
    "audits",
    "runs",
)


def on_store() -> bool:
    """Return whether the tables lie on an object store."""
    return is_address(os.environ.get(ADDRESS, ""))


@dataclass(frozen=True)
class Lake:
    """The tables of one product: ``<root>/<product>/<table>``."""

    root: str
    """A folder, or an object store's prefix such as ``s3a://bucket/lake``."""
    product: str

    @property
    def place(self) -> str:
        """Return what holds the product's tables."""
        return f"{self.root}/{self.product}"

    def path(self, table: str) -> str:
        """Return the location of ``table``, a folder or an object store's prefix."""
        if table not in TABLES:
            raise ValueError(f"no table is called '{table}'")
        return f"{self.place}/{table}"

    def exists(self, table: str) -> bool:
        """Return whether ``table`` was created.

        Raises:
            StoreError: when the object store refuses to say.
            UnavailableError: when it does not answer.
        """
        with self._answering(table):
            return DeltaTable.is_deltatable(self.path(table))

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """Return ``table`` as it is, or as it was at ``version``.

        Raises:
            LakeError: when there is no such table.
            StoreError: when the object store refuses to show it.
            UnavailableError: when it does not answer.
        """
        try:
            with self._answering(table):
                return DeltaTable(self.path(table), version=version)
        except TableNotFoundError:
            raise LakeError(
                f"table {self.product}/{table} does not exist in {self.root}; "
                "build a day first: autoifs backfill"
            ) from None

    def days(self, table: str) -> list[str]:
        """Return the days that ``table`` holds, oldest first; none when it does not exist."""
        if not self.exists(table):
            return []
        return sorted({part["ds"] for part in self.open(table).partitions()})

    def files(self, table: str, first: str = "", last: str = "9999") -> list[str]:
        """Return the data files of ``table`` with rows of the days from ``first`` to ``last``."""
        opened = self.open(table)
        by_day = opened.metadata().partition_columns == ["ds"]
        asked = f"ds >= '{first}' AND ds <= '{last}'" if by_day else None
        found = opened.file_uris(file_pruning_predicate=asked)
        # What comes before the table is escaped there, such as a space in a folder's name.
        below = f"/{self.product}/{table}/"
        return [f"{self.path(table)}/{uri.rsplit(below, 1)[1]}" for uri in found]

    def commit_of(self, table: str, day: date) -> dict[str, Any] | None:
        """Return what the last commit of a day's partition says of itself.

        Writers put a JSON object into the commit: ``ds``, ``as_of``, ``rows``, ``content_hash``,
        ``fingerprint`` … (see ``features/README.md``). The Delta version is added as ``version``.
        """
        return self.commits(table).get(day.isoformat())

    def commits(self, table: str) -> dict[str, dict[str, Any]]:
        """Return day → what the last commit of its partition says, in one look at the history."""
        if not self.exists(table):
            return {}
        opened = self.open(table)
        return _history(self.path(table), str(opened.metadata().id)).upto(opened)

    def replace(self, table: str, where: dict[str, str], rows: pa.Table) -> None:
        """Replace the rows for which every column of ``where`` has its value, in one commit.

        Tables written this way (``metrics``, ``masks``, ``audits``, ``runs``) are created by their
        first rows and take new columns as they come. ``where`` must name the partition ``ds``.

        Raises:
            LakeError: when the lake is not writable.
            UnavailableError: when another process writes the table, or the store does not answer.
        """
        path = self.path(table)
        predicate = " AND ".join(f"{column} = '{value}'" for column, value in where.items())
        with self.hold(table):
            try:
                if not self.exists(table):
                    self.make_place()
                    write_deltalake(path, rows, partition_by=["ds"])
                    return
                opened = self.open(table)
                write_deltalake(
                    opened,
                    rows,
                    mode="overwrite",
                    predicate=predicate,
                    schema_mode="merge",
                    commit_properties=self.properties(table, opened),
                )
            except CommitFailedError:
                raise
            except (OSError, DeltaError) as error:
                raise not_writable(path, error) from None

    @contextmanager
    def hold(self, *tables: str) -> Iterator[None]:
        """Be the only process that writes ``tables`` during the block (``features.writers``).

        Raises:
            LeaseTaken: when another process writes one of them for longer than a writer waits.
        """
        with ExitStack() as held:
            # In one order, or two processes could wait for each other.
            for table in sorted(tables):
                held.enter_context(writers.turn(self.place, table))
            yield

    def number(self, table: str, opened: DeltaTable | None = None) -> int | None:
        """Return the number of a commit that is about to be made; see ``features.writers``."""
        return writers.number(self.place, table, opened)

    def properties(self, table: str, opened: DeltaTable, note: str | None = None) -> Any:
        """Return what a commit that is about to be made on ``opened`` says of itself.

        Raises:
            LeaseLost: when the table is another process's by now.
        """
        number = self.number(table, opened)
        return CommitProperties(
            custom_metadata=None if note is None else {"userMetadata": note},
            app_transactions=None if number is None else [Transaction(writers.APP, number)],
        )

    def make_place(self) -> None:
        """Make the folder of the product's tables; an object store needs none."""
        if not is_address(self.root):
            Path(self.place).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def _answering(self, table: str) -> Iterator[None]:
        """Turn an object store's refusals into sentences; a missing table is told by the caller."""
        try:
            yield
        except TableNotFoundError:
            raise
        except (OSError, DeltaError) as error:
            if not is_address(self.root):
                raise
            raise _from_store(self.path(table), error) from None


def not_writable(path: str, reason: object) -> UserError:
    """Return the error of a table that can't be written, in one sentence."""
    if is_address(path):
        return _from_store(path, reason)
    said = " ".join(str(reason).split())[:200] or type(reason).__name__
    return LakeError(
        f"can't write {path} ({said}); free space or make the lake writable, then run again: "
        "nothing is half-published"
    )


def _from_store(path: str, reason: object) -> UserError:
    told = refusal(str(reason))
    if told is not None:
        return StoreError(f"{path}: the object store {told}; nothing is half-published")
    said = " ".join(str(reason).split())[:200] or type(reason).__name__
    return UnavailableError(
        f"{path}: the object store does not answer ({said}); run again later: "
        "nothing is half-published"
    )


class _History:
    """What the commits of a table say, read on from where it was read last.

    A history grows with every day and what it says never changes; a night asks for it often.
    """

    def __init__(self) -> None:
        self._version, self._said = -1, dict[str, dict[str, Any]]()
        self._lock = Lock()

    def upto(self, table: DeltaTable) -> dict[str, dict[str, Any]]:
        """Return day → what the last commit of its partition says, as of the version opened."""
        with self._lock:
            missing = table.version() - self._version
            # The newest comes first: of a day's commits it is kept.
            for entry in reversed(table.history(missing) if missing > 0 else []):
                said = json.loads(entry.get("userMetadata") or "{}")
                if "ds" in said:
                    self._said[said["ds"]] = {**said, "version": entry["version"]}
            self._version = max(self._version, table.version())
            return dict(self._said)


@lru_cache(maxsize=32)
def _history(_path: str, _table: str) -> _History:
    """Return the one history of a table, which another table at its place does not share."""
    return _History()
