"""Let a night's model pass or not, and make it champion if it does."""

from datetime import date
from typing import Any

from features.errors import RegistryError, TrainingError
from features.lake import Lake
from features.spec import Spec
from jobs.home import Home
from jobs.models import actor
from jobs.runs import results
from jobs.train import registry_of
from training.artifact import verify
from training.registry import Registry
from validation.comparison import Comparison
from validation.gate import Check, Decision, decide


def gate(*, spec: Spec, lake: Lake, home: Home, day: date) -> dict[str, Any]:
    """Decide on the version that was evaluated for ``day``; promote it when it passes.

    When the spec asks for approval nothing is promoted here: the result says that it would be, and
    a person decides.

    Raises:
        TrainingError: when the night's model was not evaluated.
        RegistryError: when someone else changed the champion since the evaluation.
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
    if in_use == version or said.get("gate", {}).get("version") == version:
        return {**said.get("gate", {"verdict": "unchanged", "reasons": []}), "skipped": True}
    if in_use != evaluated["champion"]:
        raise RegistryError(
            f"version {version} was compared with champion {evaluated['champion']}, and the "
            f"champion is now {in_use}; run autoifs evaluate --ds {day} again"
        )
    decision = _decide(spec, registry, version, evaluated, home)
    promote = decision.promote and not spec.gate.approval
    if promote:
        why = f"the gate of {day}: {decision.reasons[0]}"
        registry.promote(version, in_use or "none", who=actor(), why=why)
    return {
        **decision.to_json(),
        "verdict": "waiting" if decision.promote and not promote else decision.verdict,
        "approval": spec.gate.approval,
        "version": version,
        "previous": in_use,
        "champion": version if promote else in_use,
    }


def _decide(
    spec: Spec, registry: Registry, version: str, evaluated: dict[str, Any], home: Home
) -> Decision:
    checks = [Check(**row) for row in evaluated["checks"]]
    comparisons = [Comparison(**row) for row in evaluated["comparisons"]]
    return decide(
        spec.gate,
        comparisons,
        champion_exists=evaluated["champion"] is not None,
        checks=[*checks, _reproduces(registry, version, home)],
    )


def _reproduces(registry: Registry, version: str, home: Home) -> Check:
    """Return whether the registered files are whole and score their stored probe as they did."""
    try:
        with home.scratch() as scratch:
            verify(registry.download(version, scratch))
    except RegistryError as error:
        return Check(name="artifact", passed=False, sentence=str(error))
    return Check(
        name="artifact", passed=True, sentence="the registered files reproduce their probe"
    )
