"""Let a night's model pass or not, keep the evidence, and make it champion if it does."""

import hashlib
from datetime import UTC, date, datetime
from typing import Any

from features.errors import ArtifactError, ChampionChangedError, TrainingError
from features.lake import Lake
from features.spec import Spec
from jobs.bundle import ensure_bundle
from jobs.home import Home
from jobs.models import actor
from jobs.runs import results
from jobs.train import registry_of
from training.artifact_files import write_json
from training.clean import verify_in_clean_process
from training.registry import Registry
from validation.comparison import Comparison
from validation.gate import Check, Decision, calibration, decide, drift

Result = dict[str, Any]


def gate(*, spec: Spec, lake: Lake, home: Home, day: date) -> Result:
    """Decide on the version that was evaluated for ``day``; promote it when it passes.

    The decision lies beside the model in MLflow with all it rests on, and in the version's tags
    ``gate…``. When the spec asks for approval nothing is promoted here: the result says that it
    would be, and a person decides.

    Raises:
        TrainingError: when the night's model was not evaluated.
        ChampionChangedError: when someone else changed the champion since the evaluation.
    """
    said = results(lake, day)
    if "evaluate" not in said:
        raise TrainingError(
            f"the model of {day} was not evaluated; run autoifs evaluate --ds {day} first"
        )
    evaluated = said["evaluate"]
    version = str(evaluated["version"])
    registry = registry_of(spec, home)
    champion = registry.champion()
    in_use = champion.version if champion else None
    if in_use == version or _is_decided(said.get("gate"), evaluated):
        return {**said.get("gate", {"verdict": "unchanged", "reasons": []}), "skipped": True}
    if in_use != evaluated["champion"]:
        raise ChampionChangedError(
            f"version {version} was compared with champion {evaluated['champion']}, and the "
            f"champion is now {in_use}; run autoifs evaluate --ds {day} again"
        )
    checks = [*_checks(spec, lake, day, evaluated), _reproduces(registry, version, home)]
    comparisons = [Comparison(**row) for row in evaluated["comparisons"]]
    decision = decide(spec.gate, comparisons, champion_exists=in_use is not None, checks=checks)
    waits = decision.promote and spec.gate.approval is not None
    verdict = "waiting" if waits else decision.verdict
    evidence = _keep(spec, registry, home, day, evaluated, decision, verdict)
    if decision.promote and not waits:
        why = f"gate of {day}: {decision.reasons[0]}"
        ensure_bundle(spec, home, registry, version)
        registry.promote(version, in_use or "none", who=actor(), why=why)
    return {
        **decision.to_json(),
        "verdict": verdict,
        **(_question(spec) if waits else {}),
        "version": version,
        "evaluated": evaluated["ended"],
        "previous": in_use,
        "champion": version if decision.promote and not waits else in_use,
        "evidence": evidence,
    }


def _is_decided(before: Result | None, evaluated: Result) -> bool:
    """Return whether the gate has spoken on this version since it was evaluated."""
    return (
        before is not None
        and str(before.get("version")) == str(evaluated["version"])
        and before.get("evaluated") == evaluated["ended"]
    )


def _checks(spec: Spec, lake: Lake, day: date, evaluated: Result) -> list[Check]:
    """Return what is asked of the model by itself: sanity, calibration, no drift that stops."""
    asked = [
        ("ds", "=", day.isoformat()),
        ("version", "=", str(evaluated["version"])),
        ("role", "=", "challenger"),
        ("stage", "=", "provisional"),
    ]
    metrics = lake.open("metrics").to_pyarrow_table(filters=asked).to_pylist()
    findings = (evaluated.get("drift") or {}).get("findings") or []
    return [
        *(Check(**row) for row in evaluated["checks"]),
        *calibration(spec.gate, metrics),
        *drift(findings),
    ]


def _reproduces(registry: Registry, version: str, home: Home) -> Check:
    """Return whether the registered files are whole and score their stored probe as they did."""
    try:
        with home.scratch() as scratch:
            verify_in_clean_process(registry.download(version, scratch))
    except ArtifactError as error:
        return Check(name="artifact", passed=False, sentence=str(error))
    sentence = "the registered files, alone in a process, reproduce their probe"
    return Check(name="artifact", passed=True, sentence=sentence)


def _keep(
    spec: Spec,
    registry: Registry,
    home: Home,
    day: date,
    evaluated: Result,
    decision: Decision,
    verdict: str,
) -> str:
    """Keep the decision with its evidence beside the model; return where."""
    version, now = str(evaluated["version"]), datetime.now(UTC)
    champion = evaluated["champion"] or "none"
    evidence = {
        "product": spec.product,
        "ds": day.isoformat(),
        "version": version,
        "champion": champion,
        "verdict": verdict,
        "decided": now.isoformat(timespec="seconds"),
        "who": actor(),
        "gate": spec.gate.model_dump(mode="json"),
        "decision": decision.to_json(),
        "judged": evaluated["judged"],
        "evaluated": evaluated["ended"],
        "cells": evaluated["cells"],
        "drift": evaluated.get("drift"),
        "tags": dict(registry.get(version).tags),
    }
    with home.scratch() as scratch:
        file = scratch / f"{day}-{now:%Y%m%dT%H%M%SZ}.json"
        write_json(file, evidence)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        place = registry.attach(version, file, "gate")
    registry.tag(
        version,
        gate=verdict,
        gate_reason=decision.reasons[0],
        gate_ds=day.isoformat(),
        gate_champion=champion,
        gate_evidence=place,
        gate_sha256=digest,
    )
    return place


def _question(spec: Spec) -> Result:
    """Return how long a person is asked, and what is done when nobody answers."""
    approval = spec.gate.approval
    assert approval is not None  # noqa: S101 (asked only where the spec wants a person's word)
    return {
        "approval_seconds": approval.timeout.total_seconds(),
        "approval_otherwise": approval.otherwise,
    }
