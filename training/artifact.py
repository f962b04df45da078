"""A trained model as a folder: safetensors and JSON, checked by hash, loaded without pickle."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.errors import ArtifactError, RegistryError
from features.spec.layout import FLOWS, Column, Layout
from training.architecture import Architecture
from training.artifact_files import checksum, read_json, scratch_beside, seal, write_json
from training.autoifs import AutoIFS
from training.calibration import Calibration
from training.data import Dataset
from training.folded import fold
from training.model import Model
from training.prepare import Inputs, NumberStats, inputs_of
from training.scores import predict
from training.settings import prepare_torch
from training.zoo import MODELS

FORMAT = 2
"""Changes when an older reader could misread the folder; format 1 had no calibration."""
CALIBRATION, PROBE = "calibration.json", "probe.json"
PROBE_ROWS = 64
PROBE_TOLERANCE = 1e-5
"""Largest difference of a probability that another machine's arithmetic may make."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model is: everything needed to read data for it and to build it again."""

    architecture: Architecture
    layout: Layout
    stats: NumberStats
    vocabulary_version: int
    """Delta version of the vocabulary that the embeddings were sized by."""
    vocabulary_id: str = ""
    """Id of that vocabulary table."""
    spec_hash: str

    @property
    def sizes(self) -> dict[str, int]:
        """Column → rows of its embedding: the highest index of its vocabulary, and one."""
        columns = (*self.layout.of("category"), *self.layout.of("multi"))
        return {one.name: n for one, n in zip(columns, self.architecture.sizes, strict=True)}

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON holds it."""
        return {
            "format": FORMAT,
            "architecture": self.architecture.to_json(),
            "layout": asdict(self.layout),
            "numbers": self.stats.to_json(),
            "vocabulary_version": self.vocabulary_version,
            "vocabulary_id": self.vocabulary_id,
            "spec_hash": self.spec_hash,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Card":
        """Return the card that :meth:`to_json` wrote.

        Raises:
            ArtifactError: when a newer release wrote it.
        """
        if said["format"] not in (1, FORMAT):
            raise ArtifactError(
                f"the model has format {said['format']} and this release reads {FORMAT}; "
                "train it again, or use the release that wrote it"
            )
        layout = said["layout"]
        return cls(
            architecture=Architecture.from_json(said["architecture"]),
            layout=Layout(
                scenarios=tuple(layout["scenarios"]),
                tasks=tuple(layout["tasks"]),
                columns=tuple(Column(**column) for column in layout["columns"]),
            ),
            stats=NumberStats.from_json(said["numbers"]),
            vocabulary_version=said["vocabulary_version"],
            vocabulary_id=said["vocabulary_id"],
            spec_hash=said["spec_hash"],
        )


class Scorer:
    """A model that is ready to predict."""

    def __init__(self, model: Model, card: Card, calibration: Calibration | None = None) -> None:
        """Wrap ``model``, which is not trained further; what can be folded answers folded."""
        self.model = model.eval().requires_grad_(False)
        self.answering = fold(self.model)
        self.card = card
        self.calibration = calibration

    @property
    def layout(self) -> Layout:
        """The scenarios, tasks and columns the model was trained with."""
        return self.card.layout

    @property
    def table(self) -> Tensor | None:
        """The strengths [K, M, 4] of masks that do not depend on the row; None for others."""
        return self.model.table() if isinstance(self.model, AutoIFS) else None

    @property
    def uncalibrated(self) -> "Scorer":
        """The same model as it was before its calibration."""
        return Scorer(self.model, self.card)

    def score(self, dataset: Dataset) -> NDArray[np.float32]:
        """Return the calibrated probabilities [n, M] in the order of the model's own tasks.

        A row of a scenario the model does not know gets NaN, as does a cell that does not exist.
        Tokens that came after the model was trained are read as unknown.
        """
        inputs, known = self._inputs(dataset)
        logits = predict(self.answering, inputs).numpy()
        said = self.probabilities(logits, inputs.scenario.numpy())
        said[~known] = np.nan
        return said

    def probabilities(
        self, logits: NDArray[np.floating], scenario: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Return what logits [n, M] of rows of scenarios [n] mean; NaN where there is no cell."""
        if self.calibration is None:
            said = torch.sigmoid(torch.from_numpy(logits)).numpy()
        else:
            said = self.calibration.of_logits(logits, scenario)
        cells = np.array(self.card.architecture.cells)
        return np.where(cells[scenario], said, np.nan).astype(np.float32)

    @torch.inference_mode()
    def flows(self, dataset: Dataset) -> NDArray[np.float32] | None:
        """Return the kept strength of each flow [n, M, 4], 0 for pruned; None without flows."""
        if not isinstance(self.model, AutoIFS):
            return None
        inputs, known = self._inputs(dataset)
        kept = torch.cat([self.model.parts(chunk)[2] for chunk in inputs.chunks()])
        said = kept.numpy().astype(np.float32)
        said[~np.array(self.card.architecture.cells)[inputs.scenario.numpy()]] = np.nan
        said[~known] = np.nan
        return said

    @torch.inference_mode()
    def contributions(
        self, dataset: Dataset
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Return the logits [n, M] and what each flow adds to them [n, M, 4]; None without flows.

        Rows of an unknown scenario are answered like those of the first.
        """
        if not isinstance(self.model, AutoIFS):
            return None
        inputs, _ = self._inputs(dataset)
        logits, flows, kept = (
            torch.cat(one)
            for one in zip(*(self.model.parts(chunk) for chunk in inputs.chunks()), strict=True)
        )
        return logits.numpy(), (kept * flows).numpy()

    def _inputs(self, dataset: Dataset) -> tuple[Inputs, NDArray[np.bool_]]:
        """Return the model's inputs and which rows are of a scenario that it knows."""
        mine = self.card.vocabulary_id
        if dataset.vocabulary and mine and dataset.vocabulary != mine:
            raise RegistryError(
                "the vocabulary was built anew since the model was trained, so its indices mean "
                "other tokens: promote a version trained since (autoifs models promote)"
            )
        arranged, known = arrange(dataset, self.layout)
        return inputs_of(arranged, self.card.stats, self.card.architecture.sizes), known


def arrange(dataset: Dataset, layout: Layout) -> tuple[Dataset, NDArray[np.bool_]]:
    """Return ``dataset`` with the columns and scenario numbers of ``layout``.

    Also says which rows are of a scenario that ``layout`` has; the others are given number 0.

    Raises:
        RegistryError: when a column the model reads is absent.
    """
    place = {name: number for number, name in enumerate(layout.scenarios)}
    numbers = np.array([place.get(name, -1) for name in dataset.layout.scenarios], dtype=np.int64)
    scenario = numbers[dataset.scenario]
    picked = {
        kind: [_find(column.name, dataset.layout.of(kind)) for column in layout.of(kind)]
        for kind in ("category", "multi", "number")
    }
    arranged = replace(
        dataset,
        layout=replace(layout, tasks=dataset.layout.tasks),
        scenario=np.maximum(scenario, 0),
        categories=dataset.categories[:, picked["category"]],
        multi=tuple(dataset.multi[place] for place in picked["multi"]),
        numbers=dataset.numbers[:, picked["number"]],
    )
    return arranged, scenario >= 0


def _find(name: str, columns: tuple[Column, ...]) -> int:
    for place, column in enumerate(columns):
        if column.name == name:
            return place
    raise RegistryError(
        f"the model reads column '{name}', which these samples do not have; "
        "score it on samples built with its own spec, or train a new model"
    )


def save(
    folder: Path,
    model: Model,
    card: Card,
    *,
    masks: Mapping[str, Any],
    history: Mapping[str, Any],
    probe: Dataset,
    calibration: Calibration | None = None,
) -> str:
    """Write the artifact in one move, over whatever was at ``folder``; return its checksum.

    Args:
        folder: where it goes.
        model: on any device.
        card: what it is.
        masks: see :func:`masks_json`.
        history: the record of the training.
        probe: rows whose predictions are kept, to know the model again on another machine.
        calibration: what its logits are turned into probabilities with; left out: the sigmoid.
    """
    scratch = scratch_beside(folder)
    model.write(scratch)
    write_json(scratch / "model.json", card.to_json())
    write_json(scratch / "masks.json", masks)
    write_json(scratch / "history.json", history)
    rows = probe.take(slice(0, PROBE_ROWS))
    if calibration is not None:
        write_json(scratch / CALIBRATION, calibration.to_json())
    write_json(scratch / PROBE, _probe_json(rows, read(scratch)))
    return seal(scratch, folder)


def load(folder: Path) -> Scorer:
    """Return the model in ``folder``, on the CPU.

    Raises:
        ArtifactError: when a file is absent, changed, or of another format.
    """
    prepare_torch()
    checksum(folder)
    return read(folder)


def verify(folder: Path) -> str:
    """Check every file's hash and that the model predicts what it did; return the checksum.

    Raises:
        ArtifactError: naming the file that changed, or the prediction that moved.
    """
    found = checksum(folder)
    scorer = load(folder)
    said = read_json(folder / PROBE)
    wanted = np.array(said["probabilities"], dtype=np.float64).reshape(-1, len(scorer.layout.tasks))
    now = scorer.score(probe_of(said, scorer.layout)).astype(np.float64)
    if not np.allclose(wanted, now, rtol=0, atol=PROBE_TOLERANCE, equal_nan=True):
        moved = float(np.nanmax(np.abs(wanted - now)))
        raise ArtifactError(
            f"the model in {folder.name} predicts its probe rows {moved:.2g} off what it did when "
            "saved; do not use it: train again, or roll back"
        )
    return found


def masks_json(model: Model, layout: Layout, initial: Any, shrink: float | None) -> dict[str, Any]:
    """Return what ``masks.json`` says: the kept strength of each flow of each existing cell.

    ``strength`` is [K][M][4] with None for an absent cell, and None as a whole for gates that
    decide row by row; ``initial`` is the mean strength before training.
    """
    said: dict[str, Any] = {
        "scenarios": list(layout.scenarios),
        "tasks": list(layout.tasks),
        "flows": list(FLOWS),
        "form": None,
        "gates": None,
        "strength": None,
        "initial": initial,
        "shrink": shrink,
    }
    if not isinstance(model, AutoIFS):
        return said
    a = model.architecture
    strength = model.table()
    if strength is not None:
        cells = zip(strength.tolist(), a.cells, strict=True)
        said["strength"] = [
            [kept if exists else None for kept, exists in zip(row, has, strict=True)]
            for row, has in cells
        ]
    return {**said, "form": a.form, "gates": a.gates}


def read(folder: Path) -> Scorer:
    """Return the model in a folder whose hashes were checked, or are not there yet."""
    card = card_of(folder)
    file = folder / CALIBRATION
    calibration = Calibration.from_json(read_json(file)) if file.is_file() else None
    return Scorer(_load_model(folder, card), card, calibration)


def card_of(folder: Path) -> Card:
    """Return what the model in a folder is, without loading it.

    Raises:
        ArtifactError: when the card is absent, or a newer release wrote it.
    """
    return Card.from_json(read_json(folder / "model.json"))


def _load_model(folder: Path, card: Card) -> Model:
    model = MODELS[card.architecture.kind](card.architecture)
    model.read(folder)
    if isinstance(model, AutoIFS):
        model.harden()
    return model.eval()


def _probe_json(rows: Dataset, scorer: Scorer) -> dict[str, Any]:
    return {
        "scenario": rows.scenario.tolist(),
        "categories": rows.categories.tolist(),
        "multi": [bag.tolist() for bag in rows.multi],
        "numbers": [[None if np.isnan(one) else float(one) for one in row] for row in rows.numbers],
        "probabilities": [
            [None if np.isnan(one) else float(one) for one in row] for row in scorer.score(rows)
        ],
    }


def probe_of(said: Mapping[str, Any], layout: Layout) -> Dataset:
    """Return the rows of a ``probe.json``."""
    n = len(said["scenario"])
    return Dataset(
        layout=layout,
        ds=np.zeros(n, dtype="datetime64[D]"),
        sample_id=np.full(n, "", dtype=object),
        user=np.zeros(n, dtype=np.int64),
        scenario=np.array(said["scenario"], dtype=np.int64),
        categories=np.array(said["categories"], dtype=np.int32).reshape(n, -1),
        multi=tuple(np.array(bag, dtype=np.int32).reshape(n, -1) for bag in said["multi"]),
        numbers=np.array(said["numbers"], dtype=np.float32).reshape(n, -1),
        labels=np.full((n, len(layout.tasks)), np.nan, dtype=np.float32),
    )
