"""``autoifs train``: train a night's challenger and its baseline, or say that it was done."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.lake import Lake
from features.spec import Spec
from jobs.console import STDERR
from jobs.handover import hand_over, take_over
from jobs.home import Home
from jobs.timing import Stopwatch
from training.artifact_files import checksum, read_json, write_json
from training.registry import Registry
from training.versions import Version

if TYPE_CHECKING:
    from training import night as rooms
    from training.history import Progress
    from training.schedule import Decision
    from training.search import Masks

log = logging.getLogger(__name__)

RESULT = "train.json"
"""What ``register`` reads: the result of the night's training."""
PARTS = ("challenger", "baseline")


def train(
    *, spec: Spec, lake: Lake, home: Home, day: date, retrain: bool = False
) -> dict[str, Any]:
    """Train the spec's model and the baseline for the night of ``day``.

    A night whose data, spec and starting masks are those of a registered version is not trained
    again: its files are fetched back if they are gone, and ``skipped`` is true.

    Args:
        spec: the product.
        lake: its tables.
        home: where the artifacts go, below ``work/<product>/<day>/train``.
        day: the night.
        retrain: train although the night has a version.

    Raises:
        TrainingError: days, labels or columns are missing, or the loss became NaN.
    """
    watch = Stopwatch()
    with watch.step("imports"):
        from training import night, schedule
        from training.settings import prepare_torch

        prepare_torch()
    with watch.step("pin"):
        pinned = night.pin(spec, lake, day)
    registry = registry_of(spec, home)
    with watch.step("registry"):
        versions = registry.list()
    decision = schedule.decide(
        spec, pinned.layout, day, [(one.version, one.tags) for one in versions]
    )
    fingerprint = night.fingerprint(spec, pinned, decision)
    folder = home.work(spec.product, day) / "train"
    take_over(home, folder, RESULT)
    result = _describe(spec, pinned, decision, day, fingerprint)
    known = next((one for one in versions if one.tags.get("fingerprint") == fingerprint), None)
    if not retrain and (done := _done(registry, known, folder, fingerprint)) is not None:
        return {**result, **done, "steps": watch.seconds}
    fitted = _fit_both(spec, lake, pinned, decision, registry, folder, watch)
    result |= {**fitted, "skipped": False, "version": None, "steps": watch.seconds}
    write_json(folder / RESULT, result)
    hand_over(home, folder, RESULT)
    return result


def registry_of(spec: Spec, home: Home) -> Registry:
    """Return the registry of a product in a home."""
    return Registry(home.mlflow_uri, spec.product, home.mlflow_artifacts)


def _describe(
    spec: Spec, pinned: "rooms.Pinned", decision: "Decision", day: date, fingerprint: str
) -> dict[str, Any]:
    from training.schedule import search_key

    split = pinned.split
    return {
        "ds": day.isoformat(),
        "model": spec.training.model,
        "fingerprint": fingerprint,
        "split": {
            "train": [one.isoformat() for one in split.train],
            "validate": [one.isoformat() for one in split.validate],
            "judge": {task: one.isoformat() for task, one in split.judge.items()},
        },
        "delta_version_encoded": pinned.encoded,
        "vocabulary_version": pinned.vocabulary.version,
        "seed": spec.training.seed,
        "search": decision.search,
        "searched_on": decision.searched_on.isoformat() if decision.searched_on else None,
        "search_key": search_key(spec, pinned.layout),
        "search_reason": decision.reason,
        "previous": decision.previous,
    }


def _done(
    registry: Registry, known: Version | None, folder: Path, fingerprint: str
) -> dict[str, Any] | None:
    """Return what an earlier run of the same night left, registered or only trained."""
    here = _kept_result(folder, fingerprint)
    if known is None:
        return None if here is None else {**here, "skipped": True, "version": None}
    if here is None:
        log.info("fetching the files of version %s", known.version)
        for part in PARTS:
            if f"checksum_{part}" in known.tags:
                registry.download(known.version, folder, part)
        here = {"restored": True, "fingerprint": fingerprint}
    done = {**here, "skipped": True, "version": known.version}
    write_json(folder / RESULT, done)
    return done


def _kept_result(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the result in ``folder`` when it is of this fingerprint and its files are whole."""
    if not (folder / RESULT).is_file():
        return None
    said = read_json(folder / RESULT)
    if said.get("fingerprint") != fingerprint:
        return None
    for part in PARTS:
        if not (folder / part).is_dir():
            return None
        checksum(folder / part)
    return said


def _fit_both(
    spec: Spec,
    lake: Lake,
    pinned: "rooms.Pinned",
    decision: "Decision",
    registry: Registry,
    folder: Path,
    watch: Stopwatch,
) -> dict[str, Any]:
    from training import night
    from training.search import Masks, flips

    with watch.step("read"):
        material = night.read(spec, lake, pinned)
    with watch.step("teach"), _bar("teacher") as report:
        material = night.teach(spec, material, report)
    with watch.step("masks before"):
        before = _masks_before(registry, decision, folder)
    with watch.step("train challenger"), _bar("challenger") as report:
        challenger = night.fit(
            spec,
            material,
            spec.training.model,
            folder / "challenger",
            frozen=None if decision.search else before,
            report=report,
        )
    with watch.step("train baseline"), _bar("baseline") as report:
        baseline = night.fit(spec, material, "shared_bottom", folder / "baseline", report=report)
    after = night.masks_in(challenger.folder)
    changed = flips(before or Masks(strength=None, shrink=None), after, material.cells)
    return {
        "rows": {"train": len(material.train), "validate": len(material.validate)},
        "flips": changed,
        "challenger": _model(challenger),
        "baseline": _model(baseline),
    }


@contextmanager
def _bar(model: str) -> "Iterator[Callable[[Progress], None] | None]":
    """Yield what shows a model's progress to a person at a terminal; None without one."""
    if not STDERR.is_terminal:
        yield None
        return
    import rich.progress

    with rich.progress.Progress(console=STDERR, transient=True) as shown:
        bar = shown.add_task(model, total=None)

        def report(told: "Progress") -> None:
            words = f"{model}: {told.stage}, loss {told.loss:.4f}"
            shown.update(bar, description=words, completed=told.step, total=told.steps)

        yield report


def _masks_before(registry: Registry, decision: "Decision", folder: Path) -> "Masks | None":
    """Return the masks of the version before, to be frozen or compared with."""
    from training import night

    if decision.previous is None:
        return None
    return night.masks_in(registry.download(decision.previous, folder / "previous"))


def _model(fitted: "rooms.Fitted") -> dict[str, Any]:
    return {
        "folder": str(fitted.folder),
        "checksum": fitted.checksum,
        "validation_logloss": round(fitted.validation, 6),
        "best_epoch": fitted.epochs,
        "parameters": fitted.parameters,
        "shrink": fitted.shrink,
        "flows": None if fitted.strength is None else _kept(fitted.strength),
        "looks": [
            {key: look[key] for key in ("stage", "step", "train_loss", "validation", "seconds")}
            for look in fitted.looks
        ],
    }


def _kept(strength: list[list[list[float] | None]]) -> dict[str, int]:
    held = [one for row in strength for cell in row if cell is not None for one in cell]
    return {"kept": sum(one > 0 for one in held), "of": len(held)}
