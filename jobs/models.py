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
from jobs.console import markdown_table
from jobs.home import Home
from jobs.train import registry_of
from training.artifact_files import scratch_beside, swap
from training.registry import Registry
from training.trail import Event
from training.versions import PINNED, Version

Result = dict[str, Any]
HISTORY = ("when", "who", "what", "from", "to", "why")

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
    """Return who made which version champion, when and why, newest first; as a table too."""
    held = registry_of(spec, home).held().mended
    newest_first = list(reversed(held.trail))
    return {
        "product": spec.product,
        "champion": held.champion,
        "rollback_to": held.earlier[-1] if held.earlier else None,
        "events": [one.to_json() for one in newest_first],
        "message": markdown_table(HISTORY, map(_in_words, newest_first)),
    }


def promote(
    *, spec: Spec, home: Home, version: str, expect: str | None = None, why: str = ""
) -> Result:
    """Make ``version`` the champion, if the champion is still ``expect``.

    What serves it is made and checked first, so that a champion without it never is. Without
    ``expect`` it is the champion of the moment at which the command began: of two commands at once
    one wins and the other says so.

    Raises:
        UnknownVersionError: no such version.
        ChampionChangedError: another champion came in between.
        ArtifactError, VocabularyGoneError: it can't be served.
    """
    registry = registry_of(spec, home)
    expect = expect or _champion(registry)
    one = ensure_bundle(spec, home, registry, version)
    done = registry.promote(one.version, expect, who=actor(), why=why)
    if done is not None:
        _tell(spec, home, str(done.after))
    return _moved(spec, registry, done)


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
    _tell(spec, home, str(done.after))
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
    ensure_bundle(spec, home, registry, one.version)
    done = registry.approve(one.version, one.tags["gate_champion"], who=actor(), why=reason)
    registry.tag(one.version, gate="approved")
    said = _moved(spec, registry, done)
    _tell(spec, home, one.version)
    return {**said, "airflow": _answer(spec, home, one, "Approve")}


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
        _tell(spec, home, one.version)
    return {
        "product": spec.product,
        "rejected": one.version,
        "champion": registry.held().champion,
        "airflow": _answer(spec, home, one, "Reject"),
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


def _in_words(one: Event) -> list[str]:
    """Return an event of the trail as a row of ``HISTORY``."""
    what = one.action if one.state == "done" else f"{one.action} ({one.state})"
    after = one.after if one.moves else one.version
    return [one.at, one.who, what, one.before or "–", after or "–", one.why]


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


def _answer(spec: Spec, home: Home, one: Version, option: str) -> bool:
    """Answer the question that stands in this home's Airflow, if it runs; say whether there was.

    In another Airflow the question stands until it is answered or time is up, and changes nothing.
    """
    if os.environ.get("AUTOIFS_RUN_ID"):
        return False  # Airflow's own task hands on the answer that was given there
    from jobs.airflow.server import answer_open_question

    try:
        return answer_open_question(home, spec.product, one.tags.get("gate_ds", ""), option)
    except UserError as error:
        log.warning("the question still stands in Airflow: %s", error)
        return False


def _tell(spec: Spec, home: Home, version: str) -> None:
    """Let the page of the version's night say what became of it, and the bucket who is champion.

    The champion has changed by now, whatever comes of this; the log says what to run again.
    """
    from jobs.publish import PLACE, publish
    from jobs.report import refresh

    try:
        refresh(spec=spec, lake=home.lake(spec.product), home=home, version=version)
    except UserError as error:
        log.warning("the page of version %s does not say it yet: %s", version, error)
    if not os.environ.get(PLACE):
        return
    try:
        publish(spec=spec, home=home)
    except UserError as error:
        log.warning("not published yet, run autoifs publish --spec %s: %s", spec.product, error)


def _moved(spec: Spec, registry: Registry, done: Event | None) -> Result:
    """Return the champion now and before; ``changed`` is false when it was champion already."""
    now = done.after if done else registry.held().champion
    return {
        "product": spec.product,
        "champion": now,
        "before": done.before if done else now,
        "changed": done is not None,
    }
