"""A champion as a folder that serves: what it takes to score raw feature rows, and nothing else.

Three lines of Python::

    from training.bundle import load
    model = load("serving")
    model.score([{"scenario": "feed", "c_device": "phone", "n_price": 3.5}])

The folder holds the registered model's files (weights, ``model.json``, ``calibration.json``), the
vocabulary, and the network as a torch.export program; LightGBM is served from its own text. Nothing
in it is a pickle, and every file is checked by hash.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from features.errors import ArtifactError
from training import artifact
from training.artifact import Scorer, probe_of
from training.artifact_files import checksum, read_json, scratch_beside, seal, write_json
from training.lightgbm import LightGBM
from training.prepare import inputs_of
from training.program import Logits, load_program, save_program
from training.raw import Rows, Tokens, dataset, raw_rows
from training.settings import prepare_torch

VOCABULARY, PROGRAM, SAID = "vocabulary.parquet", "program.pt2", "bundle.json"
EXACT = 1e-6
"""How far a served probability may be from the registered model's, on the same machine."""


class Bundle:
    """A model that scores raw rows."""

    def __init__(self, scorer: Scorer, logits: Logits, tokens: Tokens) -> None:
        """Put the parts together."""
        self._scorer, self._logits, self._tokens = scorer, logits, tokens

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The scenarios it knows."""
        return self._scorer.layout.scenarios

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it predicts, in the order of the scores' columns."""
        return self._scorer.layout.tasks

    @property
    def features(self) -> tuple[str, ...]:
        """The columns it reads beside ``scenario``."""
        return tuple(column.name for column in self._scorer.layout.columns)

    @torch.inference_mode()
    def score(self, rows: Rows) -> NDArray[np.float32]:
        """Return probabilities [n, M] in the order of ``tasks``.

        NaN in a scenario that the model does not know, and where a scenario has no such task.

        Args:
            rows: a table with the columns of ``samples``, or a mapping a row.

        Raises:
            UserError: a column is missing, or can't be read.
        """
        card = self._scorer.card
        encoded, known = dataset(rows, card.layout, self._tokens)
        inputs = inputs_of(encoded, card.stats, card.architecture.sizes)
        parts = [self._logits(chunk) for chunk in inputs.chunks() if len(chunk)]
        logits = torch.cat(parts) if parts else torch.zeros(0, len(self.tasks))
        said = self._scorer.probabilities(logits.numpy(), inputs.scenario.numpy())
        said[~known] = np.nan
        return said


def load(folder: str | Path) -> Bundle:
    """Return the model of a serving folder, on the CPU.

    Raises:
        ArtifactError: a file is absent, changed, a pickle, or of another format.
    """
    prepare_torch()
    folder = Path(folder)
    checksum(folder)
    scorer = artifact.read(folder)
    if isinstance(scorer.model, LightGBM):
        logits: Logits = scorer.model
    else:
        logits = load_program(folder / PROGRAM)
    return Bundle(scorer, logits, Tokens.read(folder / VOCABULARY))


def save(model: Path, tokens: Tokens, folder: Path, said: dict[str, Any]) -> str:
    """Make a serving folder of a registered model's, in one move; return its checksum.

    Args:
        model: the registered folder.
        tokens: the vocabulary it was trained with.
        folder: where the serving folder goes.
        said: whose it is: product, version.

    Raises:
        ArtifactError: the model's files changed, or what would be served says something else than
            the registered model.
    """
    scorer = artifact.load(model)
    scratch = scratch_beside(folder)
    for path in model.iterdir():
        shutil.copyfile(path, scratch / path.name)
    (scratch / "checksums.json").unlink()
    tokens.write(scratch / VOCABULARY)
    if not isinstance(scorer.model, LightGBM):
        save_program(scorer.model, scratch / PROGRAM)
    layout = scorer.layout
    columns = {one.name: {"kind": one.kind, "is": one.source} for one in layout.columns}
    reads = {"scenario": {"kind": "scenario", "values": list(layout.scenarios)}, **columns}
    write_json(
        scratch / SAID,
        {**said, "tasks": list(layout.tasks), "reads": reads, "torch": torch.__version__},
    )
    sealed = seal(scratch, folder)
    _check(folder, scorer, tokens)
    return sealed


def _check(folder: Path, scorer: Scorer, tokens: Tokens) -> None:
    """Compare what is served with the registered model, from raw rows on."""
    probe = probe_of(read_json(folder / artifact.PROBE), scorer.layout)
    known = raw_rows(probe, tokens)
    served, wanted = load(folder).score(known), scorer.score(probe)
    if not np.allclose(served, wanted, rtol=0, atol=EXACT, equal_nan=True):
        off = float(np.nanmax(np.abs(served - wanted)))
        raise ArtifactError(
            f"the served model would be {off:.2g} off the registered one on its probe rows; do not "
            "promote it, and report this"
        )
