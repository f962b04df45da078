"""``autoifs models``: what is registered, which version is in use, and how it came to that."""

import getpass
import logging
import os
import shutil
import socket
from pathlib import Path
from typing import Any

from features.errors import ApprovalError, UserError
from features.spec import Spec
from jobs.bundle import ensure_bundle, fetch_bundle
from jobs.home import Home
from jobs.train import registry_of
from training.artifact_files import scratch_beside, swap
from training.registry import Registry
from training.trail import Event
from training.versions import PINNED, Version

Result = dict[str, Any]
log = logging.getLogger(__name__)


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
    done = crown(spec, home, registry, version, expect or _champion(registry), why)
    if done is not None:
        _write_page(spec, home, str(done.after))
    return _moved(spec, registry, done)


def crown(
    spec: Spec, home: Home, registry: Registry, version: str, expect: str, why: str
) -> Event | None:
    """Make a version that can be served the champion in place of ``expect``.

    What serves it is made and checked first, so that a champion without it never is.

    Raises:
        RegistryError: it can't be served, or the champion changed; nothing was promoted.
    """
    one = ensure_bundle(spec, home, registry, version)
    return registry.promote(one.version, expect, who=actor(), why=why)


def rollback(*, spec: Spec, home: Home, why: str = "") -> Result:
    """Make the champion before the present one champion again.

    Raises:
        RegistryError: there was none, it can't be served, or another champion came in between.
    """
    registry = registry_of(spec, home)
    held = registry.held().mended
    if held.earlier:
        ensure_bundle(spec, home, registry, held.earlier[-1])
    done = registry.rollback(held.champion or "none", who=actor(), why=why)
    _write_page(spec, home, str(done.after))
    return _moved(spec, registry, done)


def approve(*, spec: Spec, home: Home, version: str, why: str = "") -> Result:
    """Make a version that the gate let wait the champion.

    Only while the champion is the one it was compared with; an approval given twice counts once.

    Raises:
        ApprovalError: the version does not wait for an answer, or was refused.
        ChampionChangedError: it was compared with another champion.
    """
    registry = registry_of(spec, home)
    one = _asked(registry, version, "approved")
    reason = f"approved: {why}" if why else "approved"
    done = crown(spec, home, registry, one.version, one.tags["gate_champion"], reason)
    registry.tag(one.version, gate="approved")
    said = _moved(spec, registry, done)
    _write_page(spec, home, one.version)
    return said


def reject(*, spec: Spec, home: Home, version: str, why: str = "") -> Result:
    """Refuse a version that the gate let wait; the champion stays.

    Raises:
        ApprovalError: the version does not wait for an answer, or was approved.
    """
    registry = registry_of(spec, home)
    one = _asked(registry, version, "refused")
    if one.tags["gate"] == "waiting":
        registry.reject(one.version, who=actor(), why=why)
        registry.tag(one.version, gate="refused")
        _write_page(spec, home, one.version)
    return {
        "product": spec.product,
        "rejected": one.version,
        "champion": registry.held().champion,
    }


def retire(*, spec: Spec, home: Home, version: str, why: str = "") -> Result:
    """Delete a version that has no alias, is not pinned and is no way back.

    Raises:
        UnknownVersionError: no such version.
        VersionInUseError: it is needed.
    """
    gone = registry_of(spec, home).retire(version, who=actor(), why=why)
    return {"product": spec.product, "retired": gone.version, "run_id": gone.run_id}


def fetch(*, spec: Spec, home: Home, version: str, out: Path) -> Result:
    """Put what serves a version into ``out``, in one move.

    Raises:
        RegistryError: the version is unknown, or can't be served.
    """
    registry = registry_of(spec, home)
    one = ensure_bundle(spec, home, registry, version)
    with home.scratch() as scratch:
        folder = fetch_bundle(registry, one.version, scratch)
        out = out.absolute()
        beside = scratch_beside(out)
        shutil.copytree(folder, beside, dirs_exist_ok=True)
        swap(beside, out)
    return {"product": spec.product, "version": one.version, "out": out}


def pin(*, spec: Spec, home: Home, version: str, why: str = "") -> Result:
    """Keep a version from being retired."""
    registry = registry_of(spec, home)
    number = registry.get(version).version
    registry.tag(number, **{PINNED: why})
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


def _asked(registry: Registry, version: str, answer: str) -> Version:
    """Return a version of which the gate asked, unless it was answered otherwise.

    Raises:
        ApprovalError: there is nothing to answer.
    """
    one = registry.get(version)
    said = one.tags.get("gate", "")
    if said in ("waiting", answer):
        return one
    found = f"it was {said} already" if said else "the gate has not spoken on it"
    raise ApprovalError(
        f"version {one.version} of {registry.product} does not wait for an answer: {found}; "
        "see autoifs models history, or promote it: autoifs models promote"
    )


def _champion(registry: Registry) -> str:
    return registry.held().champion or "none"


def _write_page(spec: Spec, home: Home, version: str) -> None:
    """Let the page of the version's night say what became of it; it changes nothing else."""
    from jobs.report import refresh

    try:
        refresh(spec=spec, lake=home.lake(spec.product), home=home, version=version)
    except UserError as error:
        log.warning("the page of version %s does not say it yet: %s", version, error)


def _moved(spec: Spec, registry: Registry, done: Event | None) -> Result:
    """Return the champion now and before; ``changed`` is false when it was champion already."""
    now = done.after if done else registry.held().champion
    return {
        "product": spec.product,
        "champion": now,
        "before": done.before if done else now,
        "changed": done is not None,
    }
