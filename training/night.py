"""One night's training, from the encoded table to two artifacts; jobs call these in order."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.days import DAY, whole_days
from features.lake import Lake
from features.spec.layout import Layout, layout_of
from features.spec.load import spec_hash
from features.spec.model import Spec
from training import artifact, calibration
from training.architecture import Architecture, Kind, architecture_of
from training.artifact import Card
from training.artifact_files import checksum, read_json
from training.autoifs import AutoIFS
from training.calibration import Calibration
from training.checkpoint import Checkpoints
from training.collapse import collapse
from training.data import (
    Dataset,
    Vocabulary,
    check_vocabulary,
    contents,
    label_counts,
    read_days,
    read_vocabulary,
)
from training.history import Checked, Progress
from training.lightgbm import LightGBM, grow
from training.masks import Masks, mean_keep
from training.model import Model
from training.prepare import NumberStats, inputs_of, measure_numbers
from training.ranks import ALONE, Ranks
from training.rows import Examples
from training.schedule import Decision
from training.scores import predict
from training.search import (
    Record,
    freeze_and_retrain,
    search_and_retrain,
    train_without_flows,
)
from training.settings import Settings, settings_of
from training.split import Split, split_days
from training.stage import Diverged
from training.teacher import softened
from training.trainer import Trainer
from training.zoo import build

RECIPE = 2
"""Counts up when the same data and spec train another model, so that nights are trained again."""


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """Which data a night trains on, fixed before anything is read."""

    layout: Layout
    split: Split
    encoded: int
    """Delta version of ``encoded``."""
    vocabulary: Vocabulary
    contents: Mapping[str, str]
    """Day → content of its partition."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """A night's data as the trainer reads it, shared by every model of the night."""

    train: Examples
    validate: Examples
    card: Card
    """Of the challenger; another model's differs in its architecture."""
    probe: Dataset
    trees: "ForTrees | None" = None
    """Where trees are grown, for the model or its teacher."""

    @property
    def cells(self) -> tuple[tuple[bool, ...], ...]:
        """[K][M] whether the scenario has the task."""
        return self.card.architecture.cells


@dataclass(frozen=True, kw_only=True)
class ForTrees:
    """The same rows with numbers as they are."""

    train: Examples
    validate: Examples
    users: NDArray[np.int64]
    """Of the training rows, [n]."""


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


def pin(spec: Spec, lake: Lake, night: date, versions: tuple[int, int] | None = None) -> Pinned:
    """Choose the days and fix the versions that ``night`` trains on.

    Args:
        spec: the product.
        lake: its tables.
        night: the day trained for.
        versions: of ``encoded`` and ``vocabulary``, where another process chose them; left out, the
            newest.

    Raises:
        LakeError: no encoded table; TrainingError: days or labels are missing.
    """
    layout = layout_of(spec)
    encoded, vocabulary = versions or (lake.open("encoded").version(), None)
    window = whole_days(spec.training.window)
    counts = label_counts(lake, layout, night - (window - 1) * DAY, night, encoded)
    validate = whole_days(spec.training.validate_on)
    split = split_days(night, counts, layout.tasks, window=window, validate=validate)
    return Pinned(
        layout=layout,
        split=split,
        encoded=encoded,
        vocabulary=read_vocabulary(lake, layout, vocabulary),
        contents=contents(lake, split.read, encoded),
    )


def fingerprint(spec: Spec, pinned: Pinned, decision: Decision) -> str:
    """Return a hash of all that decides the model: data, spec, masks it starts from, recipe."""
    said = {
        "recipe": RECIPE,
        "spec": spec_hash(spec, "scenarios", "tasks", "features", "training"),
        "contents": dict(pinned.contents),
        "validate": [str(day) for day in pinned.split.validate],
        "vocabulary": [pinned.vocabulary.id, dict(pinned.vocabulary.sizes)],
        "frozen_from": None if decision.search else decision.previous,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def read(spec: Spec, lake: Lake, pinned: Pinned) -> Material:
    """Read the training and validation days and put them on the network's scale."""
    layout = pinned.layout
    dataset = read_days(lake, layout, pinned.split.read, pinned.encoded)
    check_vocabulary(dataset, pinned.vocabulary.sizes)
    train, validate = dataset.on(pinned.split.train), dataset.on(pinned.split.validate)
    architecture = architecture_of(spec, layout, pinned.vocabulary.sizes, spec.training.model)
    stats = measure_numbers(train)
    return Material(
        train=_examples(train, stats, architecture),
        validate=_examples(validate, stats, architecture),
        card=Card(
            architecture=architecture,
            layout=layout,
            stats=stats,
            vocabulary_version=pinned.vocabulary.version,
            vocabulary_id=pinned.vocabulary.id,
            spec_hash=spec_hash(spec),
        ),
        probe=validate.take(slice(0, artifact.PROBE_ROWS)),
        trees=_for_trees(train, validate, architecture) if _grows_trees(spec) else None,
    )


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


def with_targets(material: Material, targets: Tensor) -> Material:
    """Return ``material`` with other targets [n, M] in place of the training rows' labels."""
    return replace(material, train=replace(material.train, labels=targets))


def fit(
    spec: Spec,
    material: Material,
    kind: Kind,
    folder: Path,
    *,
    frozen: Masks | None = None,
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
        report: told of progress.
        ranks: the processes that train it together, of whom the first writes.
        checkpoints: where a training that was stopped goes on from.

    Raises:
        Diverged: the loss became NaN; the last good weights lie beside ``folder``.
        Stopped: the process was told to end; the same call goes on from a checkpoint.
    """
    card = _card(material, kind, frozen)
    model = build(card.architecture, spec.training.seed)
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
        learned = _learn(spec, material, trainer, card, folder, frozen)
    looks = [look.to_json() for look in learned.looks]
    model = learned.model
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
) -> _Learned:
    """Train a network."""
    model, record = trainer.model, Record()
    initial = mean_keep(model, trainer.train.inputs) if isinstance(model, AutoIFS) else None
    try:
        best = _train(spec, trainer, frozen, record)
    except Diverged as error:
        if not trainer.ranks.first:
            raise
        kept = _keep_last_good(folder, model, card, material.probe)
        raise Diverged(f"{error} (kept in {kept})") from None
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


def _train(spec: Spec, trainer: Trainer, frozen: Masks | None, record: Record) -> Checked:
    epochs, search = spec.training.epochs, spec.training.search
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
    rows, layout = (trees or material).validate, material.card.layout
    return calibration.fit(
        torch.sigmoid(predict(model, rows.inputs).double()).numpy(),
        rows.labels.numpy(),
        rows.inputs.scenario.numpy(),
        layout.scenarios,
        layout.tasks,
    )


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


def _examples(rows: Dataset, stats: NumberStats, architecture: Architecture) -> Examples:
    """Return rows as a model reads them; a cell that does not exist has no label."""
    inputs = inputs_of(rows, stats, architecture.sizes)
    cells, labels = torch.tensor(architecture.cells), torch.from_numpy(rows.labels)
    return Examples(inputs, labels.masked_fill(~cells[inputs.scenario], torch.nan))


def _for_trees(train: Dataset, validate: Dataset, architecture: Architecture) -> ForTrees:
    raw = NumberStats.untouched()
    return ForTrees(
        train=_examples(train, raw, architecture),
        validate=_examples(validate, raw, architecture),
        users=train.user,
    )


def _grows_trees(spec: Spec) -> bool:
    return spec.training.model == "lightgbm" or spec.training.teacher is not None


def _keep_last_good(folder: Path, model: Model, card: Card, probe: Dataset) -> Path:
    kept = folder.with_name(f"{folder.name}-last-good")
    masks = artifact.masks_json(model, card.layout, None, None)
    artifact.save(kept, model, card, masks=masks, history={"stopped": True}, probe=probe)
    return kept


def _said(settings: Settings) -> dict[str, Any]:
    return {name: str(value) for name, value in vars(settings).items()}
