"""``autoifs tables`` and ``autoifs maintain``: how the tables lie on disk, and keeping them small.

No Spark: Delta's log says what lies where, and Arrow merges small files.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from features.lake import TABLES, Lake
from features.objects import is_address
from features.spec import Spec
from features.tables import Raced
from jobs.home import Home
from jobs.train import registry_of
from training.versions import Version

Result = dict[str, Any]
TARGET = 128 * 2**20
"""Bytes of a merged file: large enough to scan, small enough to rewrite."""
SMALL = TARGET // 4
"""Bytes below which a file that has neighbours in its partition is called small."""
PINNED = {"encoded": "delta_version_encoded", "vocabulary": "vocabulary_version"}
"""Table → the tag of a registered model that says which version of it the model was trained on."""

log = logging.getLogger(__name__)


def tables(*, lake: Lake) -> Result:
    """Say of each table how large it is and in how many files it lies.

    Returns:
        ``tables``: each with ``table``, ``version``, ``commits``, ``partitions``, ``rows``,
        ``files``, ``bytes`` and ``small`` (files that ``maintain`` would merge).
    """
    return {"tables": [_size(lake, name) for name in TABLES if lake.exists(name)]}


def maintain(
    *, spec: Spec, lake: Lake, home: Home, keep: timedelta, dry_run: bool = False
) -> Result:
    """Merge small files, then delete those that no version of the last time needs.

    Versions that a registered model was trained on are kept whole, however old.

    Args:
        spec: the product.
        lake: its tables.
        home: where its registry is.
        keep: how long a replaced file stays, for readers of older versions.
        dry_run: only say what would be done.

    Returns:
        ``tables``: each with ``table``, ``merged`` and ``deleted`` files and ``kept_versions``.

    Raises:
        LakeError: when another run writes the same table.
    """
    versions = registry_of(spec, home).list()
    done = []
    for name in TABLES:
        if lake.exists(name):
            kept = pinned_versions(name, versions)
            done.append({"table": name, **_tidy(lake, name, keep, kept, dry_run=dry_run)})
    return {"dry_run": dry_run, "tables": done}


def pinned_versions(table: str, models: Iterable[Version]) -> list[int]:
    """Return the versions of a table that registered models were trained on."""
    tag = PINNED.get(table)
    return sorted({int(model.tags[tag]) for model in models if tag and tag in model.tags})


def _tidy(lake: Lake, name: str, keep: timedelta, kept: list[int], *, dry_run: bool) -> Result:
    try:
        with lake.hold(name):
            table = lake.open(name)
            merged = _small(table)
            if merged and not dry_run:
                said = lake.properties(name, table)
                table.optimize.compact(target_size=TARGET, commit_properties=said)
            deleted = _vacuum(lake, name, keep, kept, dry_run=dry_run)
    except CommitFailedError:
        raise Raced(lake.path(name)) from None
    log.info("%s: %d small files merged, %d old ones deleted", name, merged, deleted)
    return {"merged": merged, "deleted": deleted, "kept_versions": kept}


def _vacuum(lake: Lake, name: str, keep: timedelta, kept: list[int], *, dry_run: bool) -> int:
    """Delete what is no longer needed; return how many files that were."""

    def vacuum(*, dry: bool) -> list[str]:
        return lake.open(name).vacuum(
            retention_hours=int(keep / timedelta(hours=1)),
            dry_run=dry,
            enforce_retention_duration=False,
            # Without a list at all, nothing but the time counts.
            keep_versions=kept or None,
        )

    root = lake.path(name)
    # The log goes on naming files that an earlier run deleted; an object store does not mind.
    there = [file for file in vacuum(dry=True) if is_address(root) or (Path(root) / file).exists()]
    if there and not dry_run:
        vacuum(dry=False)
    return len(there)


def _size(lake: Lake, name: str) -> Result:
    table = lake.open(name)
    files = _files(table)
    return {
        "table": name,
        "version": table.version(),
        "commits": len(table.history()),
        "partitions": len({_partition(file) for file in files}),
        "rows": sum(file["num_records"] or 0 for file in files),
        "files": len(files),
        "bytes": sum(file["size_bytes"] for file in files),
        "small": _small(table),
    }


def _small(table: DeltaTable) -> int:
    """Return how many files are small and share their partition with another small one."""
    small = Counter(_partition(file) for file in _files(table) if file["size_bytes"] < SMALL)
    return sum(count for count in small.values() if count > 1)


def _files(table: DeltaTable) -> list[Result]:
    found: list[Result] = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return found


def _partition(file: Result) -> str:
    return str(next(value for name, value in file.items() if name.startswith("partition.")))
