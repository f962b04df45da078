"""One night's training, from the encoded table to two artifacts; jobs call these in order."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from features.days import DAY, whole_days
from features.lake import Lake
from features.spec.layout import Layout, layout_of
from features.spec.load import spec_hash
from features.spec.model import Spec
from training import artifact
from training.architecture import Architecture, Kind, architecture_of
from training.artifact import Card
from training.artifact_files import read_json
from training.autoifs import AutoIFS
from training.data import (
    Dataset,
    Vocabulary,
    check_vocabulary,
    contents,
    label_counts,
    read_days,
    read_vocabulary,
)
from training.model import Model
from training.prepare import inputs_of, measure_numbers
from training.schedule import Decision
from training.search import (
    Masks,
    Record,
    freeze_and_retrain,
    mean_keep,
    search_and_retrain,
    train_without_flows,
)
from training.split import Split, split_days
from training.trainer import (
    Checked,
    Diverged,
    Examples,
    Progress,
    Settings,
    Trainer,
    settings_of,
)
from training.zoo import build, parameters_of

RECIPE = 1
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

    @property
    def cells(self) -> tuple[tuple[bool, ...], ...]:
        """[K][M] whether the scenario has the task."""
        return self.card.architecture.cells


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """One trained model, saved."""

    folder: Path
    checksum: str
    validation: float
    """Pooled log loss on the validation days."""
    epochs: float
    """Epochs of the final training after which its weights were kept."""
    parameters: int
    shrink: float | None
    strength: list[list[list[float] | None]] | None
    looks: list[dict[str, Any]]


def pin(spec: Spec, lake: Lake, night: date) -> Pinned:
    """Choose the days and fix the versions that ``night`` trains on.

    Raises:
        LakeError: no encoded table; TrainingError: days or labels are missing.
    """
    layout = layout_of(spec)
    encoded = lake.open("encoded").version()
    window = whole_days(spec.training.window)
    counts = label_counts(lake, layout, night - (window - 1) * DAY, night, encoded)
    validate = whole_days(spec.training.validate_on)
    split = split_days(night, counts, layout.tasks, window=window, validate=validate)
    return Pinned(
        layout=layout,
        split=split,
        encoded=encoded,
        vocabulary=read_vocabulary(lake, layout),
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
    stats = measure_numbers(train)
    architecture = architecture_of(spec, layout, pinned.vocabulary.sizes, spec.training.model)
    cells = torch.tensor(architecture.cells)

    def examples(rows: Dataset) -> Examples:
        inputs = inputs_of(rows, stats, architecture.sizes)
        labels = torch.from_numpy(rows.labels)
        return Examples(inputs, labels.masked_fill(~cells[inputs.scenario], torch.nan))

    return Material(
        train=examples(train),
        validate=examples(validate),
        card=Card(
            architecture=architecture,
            layout=layout,
            stats=stats,
            vocabulary_version=pinned.vocabulary.version,
            vocabulary_id=pinned.vocabulary.id,
            spec_hash=spec_hash(spec),
        ),
        probe=validate.take(slice(0, artifact.PROBE_ROWS)),
    )


def fit(
    spec: Spec,
    material: Material,
    kind: Kind,
    folder: Path,
    *,
    frozen: Masks | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Fitted:
    """Train one model and save it to ``folder``.

    Args:
        spec: the settings.
        material: the night's data.
        kind: which model of the zoo.
        folder: where the artifact goes, in one move.
        frozen: flows to train with; left out, AutoIFS searches its own.
        report: told of progress.

    Raises:
        Diverged: the loss became NaN; the last good weights lie beside ``folder``.
    """
    card = _card(material, kind)
    settings = settings_of(spec)
    model = build(card.architecture, settings.seed)
    trainer = Trainer(model, material.train, material.validate, settings, report)
    record = Record()
    initial = mean_keep(model, trainer.train.inputs) if isinstance(model, AutoIFS) else None
    try:
        best = _train(spec, trainer, frozen, record)
    except Diverged as error:
        kept = _keep_last_good(folder, model, card, material.probe)
        raise Diverged(f"{error} (kept in {kept})") from None
    shrink = frozen.shrink if frozen else record.shrink
    looks = [look.to_json() for look in trainer.history]
    checksum = artifact.save(
        folder,
        model,
        card,
        masks=artifact.masks_json(model, card.layout, initial, shrink),
        history={"settings": _said(settings), "stages": record.stages, "looks": looks},
        probe=material.probe,
    )
    strength = artifact.masks_json(model, card.layout, None, None)["strength"]
    return Fitted(
        folder=folder,
        checksum=checksum,
        validation=best.validation,
        epochs=round(best.step / trainer.epoch, 2),
        parameters=parameters_of(model),
        shrink=shrink,
        strength=strength,
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


def _train(spec: Spec, trainer: Trainer, frozen: Masks | None, record: Record) -> Checked:
    epochs, search = spec.training.epochs, spec.training.search
    if not isinstance(trainer.model, AutoIFS):
        return train_without_flows(trainer, search, epochs, record)
    if frozen is not None:
        return freeze_and_retrain(trainer, search, frozen, epochs, record)
    return search_and_retrain(trainer, search, epochs, record)


def _card(material: Material, kind: Kind) -> Card:
    architecture: Architecture = replace(material.card.architecture, kind=kind)
    return replace(material.card, architecture=architecture)


def _keep_last_good(folder: Path, model: Model, card: Card, probe: Dataset) -> Path:
    kept = folder.with_name(f"{folder.name}-last-good")
    masks = artifact.masks_json(model, card.layout, None, None)
    artifact.save(kept, model, card, masks=masks, history={"stopped": True}, probe=probe)
    return kept


def _said(settings: Settings) -> dict[str, Any]:
    return {name: str(value) for name, value in vars(settings).items()}
