"""What the registry holds of a product, read from MLflow or straight from its SQLite file.

Importing MLflow takes six seconds and every job is a process of its own, so jobs that only look
read the file. When the file is not as expected, MLflow is asked.
"""

import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

HISTORY = "champion_history"
"""Tag of the registered model: the versions that were champion before, oldest first."""
_DELETED = "Deleted_Internal"
"""What MLflow calls the stage of a version that was deleted."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One registered model version."""

    version: str
    run_id: str
    created: datetime
    source: str
    """Where the challenger's folder lies."""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what ``autoifs models list`` prints of it."""
        return {
            "version": self.version,
            "aliases": list(self.aliases),
            "ds": self.tags.get("ds"),
            "created": self.created.isoformat(timespec="seconds"),
            "run_id": self.run_id,
            "tags": dict(self.tags),
        }


@dataclass(frozen=True, kw_only=True)
class Held:
    """Every version of a product, newest first, and the champions before the present one."""

    versions: Sequence[Version] = ()
    history: tuple[str, ...] = ()


def read_file(path: Path, product: str) -> Held | None:
    """Return what MLflow's SQLite file holds; None when it is not as this release knows it."""
    if not path.exists():
        return Held()
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as file:
            return _held(file, product)
    except sqlite3.Error as error:
        log.debug("asking MLflow instead of reading %s: %s", path, error)
        return None


def read_client(client: Any, product: str) -> Held:
    """Return what an MLflow client answers."""
    models = client.search_registered_models(f"name = '{product}'")
    if not models:
        return Held()
    aliases = {name: str(version) for name, version in dict(models[0].aliases).items()}
    found = [
        _version(
            number=one.version,
            run_id=one.run_id,
            created=one.creation_timestamp,
            source=one.source,
            tags=dict(one.tags),
            aliases=aliases,
        )
        for one in _pages(client, product)
    ]
    return Held(versions=_newest_first(found), history=_history(dict(models[0].tags)))


def _held(file: sqlite3.Connection, product: str) -> Held:
    aliases = {
        str(alias): str(version)
        for alias, version in file.execute(
            "SELECT alias, version FROM registered_model_aliases WHERE name = ?", [product]
        )
    }
    tags: dict[str, dict[str, str]] = {}
    for version, key, value in file.execute(
        "SELECT version, key, value FROM model_version_tags WHERE name = ?", [product]
    ):
        tags.setdefault(str(version), {})[key] = value
    rows = file.execute(
        "SELECT version, run_id, creation_time, source FROM model_versions "
        "WHERE name = ? AND current_stage <> ?",
        [product, _DELETED],
    )
    found = [
        _version(
            number=number,
            run_id=run_id,
            created=created,
            source=source,
            tags=tags.get(str(number), {}),
            aliases=aliases,
        )
        for number, run_id, created, source in rows
    ]
    model = file.execute("SELECT key, value FROM registered_model_tags WHERE name = ?", [product])
    return Held(versions=_newest_first(found), history=_history(dict(model.fetchall())))


def _pages(client: Any, product: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_model_versions(f"name = '{product}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _version(
    *,
    number: Any,
    run_id: Any,
    created: int,
    source: Any,
    tags: Mapping[str, str],
    aliases: Mapping[str, str],
) -> Version:
    return Version(
        version=str(number),
        run_id=str(run_id),
        created=datetime.fromtimestamp(created / 1000, tz=UTC),
        source=str(source),
        tags=tags,
        aliases=tuple(sorted(name for name, held in aliases.items() if held == str(number))),
    )


def _newest_first(versions: list[Version]) -> list[Version]:
    return sorted(versions, key=lambda one: int(one.version), reverse=True)


def _history(tags: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(str(one) for one in json.loads(tags.get(HISTORY, "[]")))
