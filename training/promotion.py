"""How the champion changes: one process at a time, as a whole, and told in the trail.

Where MLflow's own database can be reached, a change is one transaction on it: the product's row is
locked, then the alias and the trail are read, judged and written together. A process killed in the
middle leaves nothing, and its lock ends with its connection.

Where only MLflow's REST interface can be reached, a lock that ends by itself stands in for the
row's: see ``locks.py``. The event is written as begun, then the alias, then the event as done. What
a killed process left begun is settled by the next change, from the alias.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from features.errors import ChampionChangedError, RegistryError
from training.database import Ask, changing, reading
from training.trail import Event, champion_of, changed
from training.versions import CHAMPION, Held, read, read_client

Decide = Callable[[Held], Event | None]
"""Looks at what is held while nobody else changes it; returns what to do, None for nothing.

Raises a ``RegistryError`` to refuse: then nothing changes."""
Lock = AbstractContextManager[Callable[[], None]]
"""Held by one process at a time; gives a function that raises once it is held no longer."""


def in_database(uri: str, product: str, decide: Decide) -> Event | None:
    """Decide and change in one transaction of MLflow's database.

    Raises:
        RegistryError: ``decide`` refused, or something else moved the alias at the same time.
        Unreadable, Unreachable, Busy: nothing was changed.
    """
    with changing(uri) as ask:
        workspace = _locked(ask, product)
        held = read(ask, product)
        mended = held.mended
        for one in changed(held.trail, mended.trail):
            _write_event(ask, product, workspace, one)
        decided = decide(mended)
        if decided is not None:
            _write_event(ask, product, workspace, decided)
            if decided.moves:
                _write_alias(ask, product, workspace, decided.after)
    if decided is not None and decided.moves:
        with reading(uri) as ask:
            held = read(ask, product)
        # By the trail, and not by what was decided: someone may rightly have promoted since.
        _check(product, decided, champion_of(held.trail), held.champion)
    return decided


def under_lock(client: Any, lock: Lock, product: str, decide: Decide) -> Event | None:
    """Decide and change through an MLflow client, in steps that can be told apart later.

    Raises:
        RegistryError: ``decide`` refused, something else moved the alias, or the lock was lost.
    """

    def write(one: Event) -> None:
        client.set_registered_model_tag(product, one.key, one.value)

    with lock as still_held:
        held = read_client(client, product)
        mended = held.mended
        for one in changed(held.trail, mended.trail):
            write(one)
        decided = decide(mended)
        if decided is None:
            return None
        if not decided.moves:
            write(decided)
            return decided
        write(replace(decided, state="begun"))
        still_held()
        client.set_registered_model_alias(product, CHAMPION, decided.after)
        still_held()
        now = read_client(client, product)
        if now.champion == decided.after:
            write(decided)
        _check(product, decided, decided.after, now.champion)
        return decided


def tag_in_database(uri: str, product: str, version: str, tags: Mapping[str, str]) -> None:
    """Set tags of a version in one transaction of MLflow's database.

    Raises:
        Unreadable, Unreachable, Busy: nothing was changed.
    """
    with changing(uri) as ask:
        workspace = _locked(ask, product)
        for key, value in tags.items():
            ask(
                "INSERT INTO model_version_tags (workspace, name, version, key, value) "
                "VALUES (:workspace, :name, :version, :key, :value) "
                "ON CONFLICT (workspace, key, name, version) DO UPDATE SET value = excluded.value",
                {
                    "workspace": workspace,
                    "name": product,
                    "version": int(version),
                    "key": key,
                    "value": value,
                },
            )


def _locked(ask: Ask, product: str) -> str:
    """Lock the product's row until the transaction ends; return the workspace it is in.

    An UPDATE locks in both databases, and in PostgreSQL without refusing new versions or tags.
    """
    now = int(datetime.now(UTC).timestamp() * 1000)
    named = {"name": product, "now": now}
    ask("UPDATE registered_models SET last_updated_time = :now WHERE name = :name", named)
    found = ask("SELECT workspace FROM registered_models WHERE name = :name", {"name": product})
    if len(found) > 1:
        places = ", ".join(sorted(str(row[0]) for row in found))
        raise RegistryError(
            f"{product} is registered in several workspaces of MLflow ({places}); "
            "name the server in MLFLOW_TRACKING_URI instead of its database"
        )
    return str(found[0][0]) if found else ""


def _write_event(ask: Ask, product: str, workspace: str, one: Event) -> None:
    ask(
        "INSERT INTO registered_model_tags (workspace, name, key, value) "
        "VALUES (:workspace, :name, :key, :value) "
        "ON CONFLICT (workspace, key, name) DO UPDATE SET value = excluded.value",
        {"workspace": workspace, "name": product, "key": one.key, "value": one.value},
    )


def _write_alias(ask: Ask, product: str, workspace: str, version: str | None) -> None:
    ask(
        "INSERT INTO registered_model_aliases (workspace, name, alias, version) "
        "VALUES (:workspace, :name, :alias, :version) "
        "ON CONFLICT (workspace, name, alias) DO UPDATE SET version = excluded.version",
        {
            "workspace": workspace,
            "name": product,
            "alias": CHAMPION,
            "version": int(str(version)),
        },
    )


def _check(product: str, decided: Event, said: str | None, found: str | None) -> None:
    """Refuse an alias that is not where the trail has it: MLflow lets anyone move it any time."""
    if said != found:
        other = f"version {found}" if found else "nobody"
        raise ChampionChangedError(
            f"version {decided.after} of {product} was made champion and something else made "
            f"{other} champion at the same time; look (autoifs models history) and decide"
        )
