"""Where a product's tables lie, and how they are read and written without a JVM."""

import json
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from features.errors import LakeError

TABLES = (
    "staged",
    "samples",
    "quarantine",
    "counts",
    "state",
    "vocabulary",
    "encoded",
    "metrics",
    "masks",
    "profiles",
    "probe",
    "drift",
    "audits",
    "runs",
)


@dataclass(frozen=True)
class Lake:
    """The tables of one product: ``<root>/<product>/<table>``."""

    root: str
    product: str

    def path(self, table: str) -> str:
        """Return the location of ``table``, a folder or an object store's prefix."""
        if table not in TABLES:
            raise ValueError(f"no table is called '{table}'")
        return f"{self.root}/{self.product}/{table}"

    def exists(self, table: str) -> bool:
        """Return whether ``table`` was created."""
        return DeltaTable.is_deltatable(self.path(table))

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """Return ``table`` as it is, or as it was at ``version``.

        Raises:
            LakeError: when there is no such table.
        """
        try:
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
        return dict(_commits(self.path(table), str(opened.metadata().id), opened.version()))

    def replace(self, table: str, where: dict[str, str], rows: pa.Table) -> None:
        """Replace the rows for which every column of ``where`` has its value, in one commit.

        Tables written this way (``metrics``, ``masks``, ``audits``, ``runs``) are created by their
        first rows and take new columns as they come. ``where`` must name the partition ``ds``.

        Raises:
            LakeError: when the lake is not writable.
        """
        path = self.path(table)
        predicate = " AND ".join(f"{column} = '{value}'" for column, value in where.items())
        try:
            if not self.exists(table):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_deltalake(path, rows, partition_by=["ds"])
                return
            write_deltalake(path, rows, mode="overwrite", predicate=predicate, schema_mode="merge")
        except CommitFailedError:
            raise
        except (OSError, DeltaError) as error:
            raise not_writable(path, error) from None


def not_writable(path: str, reason: object) -> LakeError:
    """Return the error of a table that can't be written, in one sentence."""
    said = " ".join(str(reason).split())[:200] or type(reason).__name__
    return LakeError(
        f"can't write {path} ({said}); free space or make the lake writable, then run again: "
        "nothing is half-published"
    )


@lru_cache(maxsize=32)
def _commits(path: str, _table: str, version: int) -> dict[str, dict[str, Any]]:
    """Read a history once a version: it grows with every day, and a night asks for it often."""
    found: dict[str, dict[str, Any]] = {}
    for entry in DeltaTable(path, version=version).history():
        said = json.loads(entry.get("userMetadata") or "{}")
        if "ds" in said:
            found.setdefault(said["ds"], {**said, "version": entry["version"]})
    return found
