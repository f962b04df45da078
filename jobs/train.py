"""``autoifs train``: train a night's challenger and its baseline, or say that it was done."""

import logging
import shutil
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
from jobs.runs import results
from jobs.timing import Stopwatch
from training.artifact_files import checksum, read_json, write_json
from training.registry import Registry
from training.versions import Version

if TYPE_CHECKING:
    from training import night as rooms
    from training.architecture import Kind
    from training.history import Progress
    from training.material import Pinned
    from training.ranks import Ranks
    from training.schedule import Decision
    from training.warm import Start

log = logging.getLogger(__name__)

RESULT = "train.json"
"""What ``register`` reads: the result of the night's training."""
PARTS = ("challenger", "baseline")
BASELINE: "Kind" = "shared_bottom"
"""What every night trains beside the spec's model."""


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
        from training.ranks import joined, local_device
        from training.settings import choose_device, prepare_torch

        prepare_torch()
    registry = registry_of(spec, home)
    folder = home.work(spec.product, day) / "train"
    with joined(local_device(choose_device(spec.training.device))) as ranks:
        if ranks.first:
            take_over(home, folder, RESULT)
        order = ranks.told(
            _decide(spec, lake, registry, folder, day, retrain, watch) if ranks.first else None
        )
        if "done" in order:
            return {**order["night"], **order["done"], "steps": watch.seconds}
        fitted = _fit_both(spec, lake, day, order, folder, watch, ranks)
        result = {**order["night"], **fitted, "ranks": ranks.count, "skipped": False}
        result |= {"version": None}
        result["steps"] = watch.seconds
        if ranks.first:
            write_json(folder / RESULT, result)
            for part in PARTS:
                shutil.rmtree(folder / _checkpoints(part), ignore_errors=True)
            hand_over(home, folder, PARTS, RESULT)
    return result


def _decide(
    spec: Spec,
    lake: Lake,
    registry: Registry,
    folder: Path,
    day: date,
    retrain: bool,
    watch: Stopwatch,
) -> dict[str, Any]:
    """Return what is to be done, as the first rank tells it to the others in JSON.

    ``night`` describes it for the result, ``done`` is there when it was done before, and ``before``
    is the folder of the version before it, if there is one.
    """
    from training import material, night, schedule

    with watch.step("pin"):
        pinned = material.pin(spec, lake, day)
    with watch.step("registry"):
        versions = registry.list()
    decision = schedule.decide(
        spec,
        pinned.layout,
        day,
        [(one.version, one.tags) for one in versions],
        lambda night: results(lake, night).get("evaluate", {}),
    )
    fingerprint = night.fingerprint(spec, pinned, decision)
    order: dict[str, Any] = {"night": _describe(spec, pinned, decision, day, fingerprint)}
    known = next((one for one in versions if one.tags.get("fingerprint") == fingerprint), None)
    if not retrain and (done := _done(registry, known, folder, fingerprint)) is not None:
        return {**order, "done": done}
    with watch.step("version before"):
        if (before := decision.previous or decision.start) is not None:
            order["before"] = str(registry.download(before, folder / "previous"))
    return order


def registry_of(spec: Spec, home: Home) -> Registry:
    """Return the registry of a product in a home."""
    return Registry(home.mlflow_uri, spec.product, home.mlflow_artifacts)


def _describe(
    spec: Spec, pinned: "Pinned", decision: "Decision", day: date, fingerprint: str
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
        "start": decision.start,
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
    day: date,
    order: dict[str, Any],
    folder: Path,
    watch: Stopwatch,
    ranks: "Ranks",
) -> dict[str, Any]:
    from training import night
    from training.checkpoint import Checkpoints, stopping
    from training.masks import Masks, flips
    from training.material import pin, read
    from training.warm import unknown_shares

    said = order["night"]
    with watch.step("read"):
        versions = said["delta_version_encoded"], said["vocabulary_version"]
        pinned = pin(spec, lake, day, versions)
        start = _start(spec, pinned, order)
        material = read(spec, lake, pinned, start.scale if start else None)
    with watch.step("teach"), _bar("teacher", ranks) as report:
        material = night.teach(spec, material, report, ranks)
    before = night.masks_in(Path(order["before"])) if said["previous"] else None
    fitted = {}
    kinds = {"challenger": spec.training.model, "baseline": BASELINE}
    for part in PARTS:
        held = Checkpoints(
            folder / _checkpoints(part), f"{said['fingerprint']} {kinds[part]}", ranks=ranks
        )
        with watch.step(f"train {part}"), _bar(part, ranks) as report, stopping(held):
            fitted[part] = night.fit(
                spec,
                material,
                kinds[part],
                folder / part,
                frozen=before if part == "challenger" and not said["search"] else None,
                start=start if part == "challenger" else None,
                report=report,
                ranks=ranks,
                checkpoints=held,
            )
    after = night.masks_in(fitted["challenger"].folder)
    changed = flips(before or Masks(strength=None, shrink=None), after, material.cells)
    return {
        "rows": {"train": len(material.train), "validate": len(material.validate)},
        "flips": changed,
        "unknown": unknown_shares(material.validate, material.card.layout),
        **{part: _model(one) for part, one in fitted.items()},
    }


def _start(spec: Spec, pinned: "Pinned", order: dict[str, Any]) -> "Start | None":
    """Return the version whose weights the challenger goes on from, if it does."""
    from training.material import planned
    from training.warm import Start

    said = order["night"]
    if said["start"] is None:
        return None
    start = Start.of(said["start"], Path(order["before"]))
    now = planned(spec, pinned, start.scale)
    return start if start.wanted(now, searched=said["search"]) else None


def _checkpoints(part: str) -> str:
    """Return the folder, beside a model's, in which its training can be taken up again."""
    return f"{part}-checkpoints"


@contextmanager
def _bar(model: str, ranks: "Ranks") -> "Iterator[Callable[[Progress], None] | None]":
    """Yield what shows a model's progress to a person at a terminal; None without one."""
    if not (STDERR.is_terminal and ranks.first):
        yield None
        return
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(compact=True),
        progress.TextColumn("left"),
    )
    with progress.Progress(*columns, console=STDERR, transient=True) as shown:
        bar, stage = shown.add_task(model, total=None, rate=""), ""

        def report(told: "Progress") -> None:
            nonlocal stage
            if told.stage != stage:  # its steps take a time of their own
                shown.reset(bar, total=told.steps)
                stage = told.stage
            words = f"{model}: {told.stage}, loss {told.loss:.4f}"
            shown.update(bar, description=words, completed=told.step, total=told.steps)
            if (speed := shown.tasks[0].speed) is not None:
                shown.update(bar, rate=f"{speed:.1f} steps a second")

        yield report


def _model(fitted: "rooms.Fitted") -> dict[str, Any]:
    return {
        "folder": str(fitted.folder),
        "checksum": fitted.checksum,
        "validation_logloss": round(fitted.validation, 6),
        "best_epoch": fitted.epochs,
        "parameters": fitted.parameters,
        "shrink": fitted.shrink,
        "flows": None if fitted.strength is None else _kept(fitted.strength),
        "masks": fitted.masks,
        "warm": fitted.warm,
        "looks": [
            {key: look[key] for key in ("stage", "step", "train_loss", "validation", "seconds")}
            for look in fitted.looks
        ],
    }


def _kept(strength: list[list[list[float] | None]]) -> dict[str, int]:
    held = [one for row in strength for cell in row if cell is not None for one in cell]
    return {"kept": sum(one > 0 for one in held), "of": len(held)}
