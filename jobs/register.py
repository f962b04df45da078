"""``autoifs register``: put a night's training into MLflow as the challenger."""

from datetime import date
from pathlib import Path
from typing import Any

from features.errors import RegistryError
from features.lake import Lake
from features.spec import Spec
from features.spec.load import spec_hash
from jobs.handover import take_over
from jobs.home import Home
from jobs.provenance import git_commit
from jobs.timing import Stopwatch
from jobs.train import PARTS, RESULT, registry_of
from training.artifact_files import checksum, read_json, scratch_beside, seal, write_json
from training.registry import Registry
from training.versions import Version

Result = dict[str, Any]
SPEC = "spec"
"""A version's part that says what it was asked to be: ``spec.json``, without the defaults."""


def register(*, spec: Spec, lake: Lake, home: Home, day: date) -> Result:
    """Register what ``train`` left for the night of ``day`` and give it the alias challenger.

    The same training registered twice is one version.

    Args:
        spec: the product.
        lake: unused; every job of a night takes the same arguments.
        home: where ``train`` wrote.
        day: the night.

    Raises:
        RegistryError: nothing was trained, a file changed since, or MLflow does not answer.
    """
    watch = Stopwatch()
    folder = home.work(spec.product, day) / "train"
    take_over(home, folder, RESULT)
    if not (folder / RESULT).is_file():
        raise RegistryError(
            f"no model was trained for {day}; train it first: autoifs train --ds {day}"
        )
    result = read_json(folder / RESULT)
    registry = registry_of(spec, home)
    if result.get("version") is not None:
        known = registry.get(result["version"])
        return {"ds": day.isoformat(), "version": known.version, "skipped": True}
    with watch.step("check"):
        sums = {part: checksum(folder / part) for part in PARTS}
        sums[SPEC] = _keep_spec(spec, folder / SPEC)
    tags = _tags(spec, result, sums)
    with watch.step("find"):
        found = registry.find(checksum=sums["challenger"])
    if found is None:
        with watch.step("register"):
            found = registry.register(
                parts={part: folder / part for part in sums},
                params=_params(spec, result),
                metrics=_metrics(result),
                tags=tags,
            )
        skipped = False
    else:
        _finish(registry, found)
        skipped = True
    return {
        "ds": day.isoformat(),
        "version": found.version,
        "run_id": found.run_id,
        "skipped": skipped,
        "tags": tags,
        "steps": watch.seconds,
    }


def _keep_spec(spec: Spec, folder: Path) -> str:
    """Write the spec beside the models, as a part of the version; return its checksum."""
    scratch = scratch_beside(folder)
    write_json(scratch / "spec.json", spec.model_dump(mode="json", exclude_defaults=True))
    return seal(scratch, folder)


def _finish(registry: Registry, version: Version) -> None:
    """Give the newest version its alias, should an earlier run have died before it did."""
    if version == registry.list()[0] and not version.aliases:
        registry.challenge(version.version)


def _params(spec: Spec, result: Result) -> Result:
    parts = ("network", "search", "trees")
    said = spec.training.model_dump(mode="json", exclude={*parts})
    for part in parts:
        held = getattr(spec.training, part).model_dump(mode="json")
        said |= {f"{part}.{name}": value for name, value in held.items()}
    return {**said, "parameters": result["challenger"]["parameters"]}


def _metrics(result: Result) -> list[tuple[str, float, int]]:
    """Return each look at validation as a metric of its stage, and the models' final ones."""
    found = [
        (f"{part}/{look['stage']}/{name}".replace(" ", "_"), float(look[name]), int(look["step"]))
        for part in PARTS
        for look in result[part]["looks"]
        for name in ("train_loss", "validation")
    ]
    found += [
        (f"{part}/validation_logloss", float(result[part]["validation_logloss"]), 0)
        for part in PARTS
    ]
    return [
        *found,
        *((f"seconds/{name}".replace(" ", "_"), s, 0) for name, s in result["steps"].items()),
    ]


def _tags(spec: Spec, result: Result, sums: dict[str, str]) -> dict[str, str]:
    split = result["split"]
    return {
        "ds": result["ds"],
        "model": result["model"],
        "fingerprint": result["fingerprint"],
        "spec_hash": spec_hash(spec),
        "git_commit": git_commit(),
        "delta_version_encoded": str(result["delta_version_encoded"]),
        "vocabulary_version": str(result["vocabulary_version"]),
        "seed": str(result["seed"]),
        "window": f"{split['train'][0]}..{split['train'][-1]}",
        "validate": ",".join(split["validate"]),
        "judge": ",".join(f"{task}:{day}" for task, day in split["judge"].items()),
        "searched_on": result["searched_on"] or "",
        "search_key": result["search_key"],
        "search_reason": result["search_reason"],
        "masks": result["challenger"]["masks"] or "",
        "flips": "" if result["flips"] is None else str(result["flips"]),
        "checksum": sums["challenger"],
        **{f"checksum_{part}": value for part, value in sums.items()},
    }
