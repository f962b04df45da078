"""One night's training, from the encoded table to two artifacts; jobs call these in order."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from features.spec.load import spec_hash
from features.spec.model import Spec
from training import artifact, calibration
from training.architecture import Architecture, Kind
from training.artifact import Card
from training.artifact_files import checksum, read_json
from training.autoifs import AutoIFS
from training.calibration import Calibration
from training.checkpoint import Checkpoints
from training.collapse import collapse
from training.data import Dataset
from training.history import Checked, Progress
from training.lightgbm import LightGBM, grow
from training.masks import Masks, mean_keep
from training.material import Material, Pinned, with_targets
from training.model import Model
from training.prepare import NumberStats
from training.ranks import ALONE, Ranks
from training.rows import Examples, Rows, pieces
from training.schedule import Decision
from training.scores import predict
from training.search import (
    Record,
    freeze_and_retrain,
    go_on,
    search_and_retrain,
    train_without_flows,
)
from training.settings import Settings, settings_of
from training.sharded import join
from training.stage import Diverged
from training.teacher import softened
from training.trainer import Trainer
from training.warm import Start
from training.zoo import build

RECIPE = 2
"""Counts up when the same data and spec train another model, so that nights are trained again."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """One trained model, saved."""

    folder: Path
    checksum: str
    validation: float
    """Pooled log loss on the validation days."""
    epochs: float | None
    """Epochs of the final training after which its weights were kept; None: it has none."""
    parameters: int
    shrink: float | None
    strength: list[list[list[float] | None]] | None
    masks: Literal["cells", "rows"] | None
    """Whether a table holds the masks, or a net decides row by row; None for other models."""
    looks: list[dict[str, Any]]
    warm: dict[str, Any] | None = None
    """Of weights that went on from a version: which, what was new, how far answers moved."""


def fingerprint(spec: Spec, pinned: Pinned, decision: Decision) -> str:
    """Return a hash of all that decides the model: data, spec, masks it starts from, recipe."""
    said = {
        "recipe": RECIPE,
        "spec": spec_hash(spec, "scenarios", "tasks", "features", "training"),
        "contents": dict(pinned.contents),
        "validate": [str(day) for day in pinned.split.validate],
        "vocabulary": [pinned.vocabulary.id, dict(pinned.vocabulary.sizes)],
        "frozen_from": None if decision.search else decision.previous,
        **({} if decision.start is None else {"start": decision.start}),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def teach(
    spec: Spec,
    material: Material,
    report: Callable[[Progress], None] | None = None,
    ranks: Ranks = ALONE,
) -> Material:
    """Return ``material`` with labels softened by the teacher that the spec names, if it does."""
    training, rows = spec.training, material.trees
    if training.teacher is None or rows is None:
        return material
    targets = rows.train.labels
    if ranks.first:
        targets = softened(
            rows.train,
            rows.users,
            training.teacher,
            training.trees,
            material.card.architecture,
            tasks=material.card.layout.tasks,
            seed=training.seed,
            report=report,
        )
    return with_targets(material, ranks.from_first(targets))


def fit(
    spec: Spec,
    material: Material,
    kind: Kind,
    folder: Path,
    *,
    frozen: Masks | None = None,
    start: Start | None = None,
    report: Callable[[Progress], None] | None = None,
    ranks: Ranks = ALONE,
    checkpoints: Checkpoints | None = None,
) -> Fitted:
    """Train one model and save it to ``folder``.

    Args:
        spec: the settings.
        material: the night's data.
        kind: which model of the zoo.
        folder: where the artifact goes, in one move.
        frozen: flows to train with; left out, AutoIFS searches its own.
        start: the version whose weights it goes on from; left out, it starts anew.
        report: told of progress.
        ranks: the processes that train it together, of whom the first writes.
        checkpoints: where a training that was stopped goes on from.

    Raises:
        Diverged: the loss became NaN; the last good weights lie beside ``folder``.
        Stopped: the process was told to end; the same call goes on from a checkpoint.
    """
    card = _card(material, kind, frozen)
    model = build(card.architecture, spec.training.seed)
    warm = start.adopted_by(model, card, material.train) if start else None
    if isinstance(model, LightGBM):
        learned = _grow(spec, material, model, report)
    else:
        trainer = Trainer(
            model,
            material.train,
            material.validate,
            settings_of(spec),
            report,
            ranks=ranks,
            checkpoints=checkpoints,
        )
        learned = _learn(spec, material, trainer, card, folder, frozen, warm)
    looks = [look.to_json() for look in learned.looks]
    model = learned.model
    join(model)
    model.cpu()
    card = replace(card, architecture=model.architecture)
    if ranks.first:
        artifact.save(
            folder,
            model,
            card,
            masks=artifact.masks_json(model, card.layout, learned.initial, learned.shrink),
            history={"settings": learned.settings, "stages": learned.stages, "looks": looks},
            probe=material.probe,
            calibration=_calibrated(spec, model, material),
        )
    ranks.wait()
    if start is not None and warm is not None:
        warm["moved"] = start.moved(artifact.load(folder), material.probe)
    strength = artifact.masks_json(model, card.layout, None, None)["strength"]
    return Fitted(
        folder=folder,
        checksum=checksum(folder),
        validation=learned.best.validation,
        epochs=learned.epochs,
        parameters=model.size(),
        shrink=learned.shrink,
        strength=strength,
        masks=_masks(model),
        looks=looks,
        warm=warm,
    )


def masks_in(folder: Path) -> Masks:
    """Return the masks an artifact was trained with; an absent cell's are whole."""
    said = read_json(folder / "masks.json")
    strength = said["strength"]
    if strength is None:
        return Masks(strength=None, shrink=said["shrink"])
    whole = [[cell or [1.0] * len(said["flows"]) for cell in row] for row in strength]
    return Masks(strength=whole, shrink=said["shrink"])


@dataclass(frozen=True, kw_only=True)
class _Learned:
    """What a training leaves."""

    model: Model
    best: Checked
    epochs: float | None = None
    looks: Sequence[Checked]
    stages: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any]
    initial: list[list[list[float] | None]] | None = None
    """Mean strength of the flows before training."""
    shrink: float | None = None


def _learn(
    spec: Spec,
    material: Material,
    trainer: Trainer,
    card: Card,
    folder: Path,
    frozen: Masks | None,
    warm: Mapping[str, Any] | None,
) -> _Learned:
    """Train a network."""
    model, record = trainer.model, Record()
    if warm is not None:
        record.say("start", **warm)
    initial = mean_keep(model, trainer.train.inputs) if isinstance(model, AutoIFS) else None
    try:
        best = _train(spec, trainer, frozen, record, warm is not None)
    except Diverged as error:
        join(model)
        if not trainer.ranks.first:
            raise
        kept = _keep_last_good(folder, model, card, material.probe)
        hint = f"; {error.suspect.sentence(card.layout)}" if error.suspect else ""
        raise Diverged(f"{error}{hint} (kept in {kept})") from None
    return _Learned(
        model=trainer.model,
        best=best,
        epochs=round(best.step / trainer.epoch, 2),
        looks=trainer.history,
        stages=record.stages,
        settings=_said(trainer.settings),
        initial=initial,
        shrink=frozen.shrink if frozen else record.shrink,
    )


def _grow(
    spec: Spec,
    material: Material,
    model: LightGBM,
    report: Callable[[Progress], None] | None,
) -> _Learned:
    """Grow the trees of LightGBM."""
    rows, training = material.trees, spec.training
    if rows is None:
        raise ValueError("the material was read for networks alone")
    tasks = material.card.layout.tasks
    looks = grow(
        model,
        rows.train,
        rows.validate,
        training.trees,
        tasks=tasks,
        seed=training.seed,
        report=report,
    )
    return _Learned(
        model=model, best=looks[-1], looks=looks, settings=training.trees.model_dump(mode="json")
    )


def _train(
    spec: Spec, trainer: Trainer, frozen: Masks | None, record: Record, warm: bool
) -> Checked:
    epochs, search = spec.training.epochs, spec.training.search
    if warm and spec.training.warm_start and (frozen or not isinstance(trainer.model, AutoIFS)):
        return go_on(trainer, frozen, spec.training.warm_start.epochs, record)
    if not isinstance(trainer.model, AutoIFS):
        return train_without_flows(trainer, search, epochs, record)
    if frozen is not None:
        return freeze_and_retrain(trainer, search, frozen, epochs, record)
    best = search_and_retrain(trainer, search, epochs, record)
    if search.collapse is not None and trainer.model.table() is None:
        return collapse(trainer, search.collapse, best, record)
    return best


def _calibrated(spec: Spec, model: Model, material: Material) -> Calibration | None:
    """Return the calibration of each cell on the validation days, which no weight was fitted to."""
    if spec.training.calibration == "none":
        return None
    trees = material.trees if isinstance(model, LightGBM) else None
    said, labels, scenario = _validated(model, (trees or material).validate)
    layout = material.card.layout
    return calibration.fit(said, labels, scenario, layout.scenarios, layout.tasks)


def _validated(
    model: Model, rows: Examples | Rows
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int64]]:
    """Return probabilities [n, M], labels [n, M] and scenarios [n] of all rows."""
    parts = [
        (predict(model, one.inputs).double().sigmoid(), one.labels.clone(), one.inputs.scenario)
        for one in pieces(rows)
    ]
    said, labels, scenario = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return said, labels, scenario


def _masks(model: Model) -> Literal["cells", "rows"] | None:
    if not isinstance(model, AutoIFS):
        return None
    return "rows" if model.table() is None else "cells"


def _card(material: Material, kind: Kind, frozen: Masks | None) -> Card:
    architecture: Architecture = replace(material.card.architecture, kind=kind)
    if frozen is not None:  # whatever gates found them
        architecture = replace(architecture, gates="strength", context=())
    stats = NumberStats.untouched() if kind == "lightgbm" else material.card.stats
    return replace(material.card, architecture=architecture, stats=stats)


def _keep_last_good(folder: Path, model: Model, card: Card, probe: Dataset) -> Path:
    kept = folder.with_name(f"{folder.name}-last-good")
    masks = artifact.masks_json(model, card.layout, None, None)
    artifact.save(kept, model, card, masks=masks, history={"stopped": True}, probe=probe)
    return kept


def _said(settings: Settings) -> dict[str, Any]:
    return {name: str(value) for name, value in vars(settings).items()}
