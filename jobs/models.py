"""``autoifs models``: what is registered, which version is in use, and how it came to that."""

import getpass
import os
import socket
from typing import Any

from features.spec import Spec
from jobs.home import Home
from jobs.train import registry_of
from training.registry import Registry
from training.trail import Event
from training.versions import PINNED

Result = dict[str, Any]


def list_versions(*, spec: Spec, home: Home) -> Result:
    """Return every version of the product, newest first, and who the champion is."""
    held = registry_of(spec, home).held()
    return {
        "product": spec.product,
        "champion": held.champion,
        "versions": [one.to_json() for one in held.versions],
    }


def history(*, spec: Spec, home: Home) -> Result:
    """Return who made which version champion, when and why, newest first."""
    held = registry_of(spec, home).held().mended
    return {
        "product": spec.product,
        "champion": held.champion,
        "rollback_to": held.earlier[-1] if held.earlier else None,
        "events": [one.to_json() for one in reversed(held.trail)],
    }


def promote(
    *, spec: Spec, home: Home, version: str, expect: str | None = None, why: str = ""
) -> Result:
    """Make ``version`` the champion, if the champion is still ``expect``.

    Without ``expect`` it is the champion of the moment at which the command began: of two commands
    at once one wins and the other says so.

    Raises:
        UnknownVersionError: no such version.
        ChampionChangedError: another champion came in between.
    """
    registry = registry_of(spec, home)
    done = registry.promote(version, expect or _champion(registry), who=actor(), why=why)
    return _moved(spec, registry, done)


def rollback(*, spec: Spec, home: Home, why: str = "") -> Result:
    """Make the champion before the present one champion again.

    Raises:
        RegistryError: there was none, or another champion came in between.
    """
    registry = registry_of(spec, home)
    done = registry.rollback(_champion(registry), who=actor(), why=why)
    return _moved(spec, registry, done)


def retire(*, spec: Spec, home: Home, version: str, why: str = "") -> Result:
    """Delete a version that has no alias, is not pinned and is no way back.

    Raises:
        UnknownVersionError: no such version.
        VersionInUseError: it is needed.
    """
    gone = registry_of(spec, home).retire(version, who=actor(), why=why)
    return {"product": spec.product, "retired": gone.version, "run_id": gone.run_id}


def pin(*, spec: Spec, home: Home, version: str, why: str = "") -> Result:
    """Keep a version from being retired."""
    registry = registry_of(spec, home)
    number = registry.get(version).version
    registry.tag(number, PINNED, why)
    return {"product": spec.product, "pinned": number, "why": why}


def unpin(*, spec: Spec, home: Home, version: str) -> Result:
    """Let a pinned version be retired again."""
    registry = registry_of(spec, home)
    one = registry.get(version)
    if PINNED in one.tags:
        registry.untag(one.version, PINNED)
    return {"product": spec.product, "unpinned": one.version}


def actor() -> str:
    """Return on whose behalf this command changes something: an Airflow run, or a person."""
    run = os.environ.get("AUTOIFS_RUN_ID")
    return f"airflow {run}" if run else f"{getpass.getuser()}@{socket.gethostname()}"


def _champion(registry: Registry) -> str:
    return registry.held().champion or "none"


def _moved(spec: Spec, registry: Registry, done: Event | None) -> Result:
    """Return the champion now and before; ``changed`` is false when it was champion already."""
    now = done.after if done else registry.held().champion
    return {
        "product": spec.product,
        "champion": now,
        "before": done.before if done else now,
        "changed": done is not None,
    }
