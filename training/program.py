"""A network as a torch.export program: what serves it needs torch, and none of this code."""

import json
import logging
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from features.errors import ArtifactError
from training.data import TOKENS
from training.model import Model
from training.prepare import Inputs

Logits = Callable[[Inputs], Tensor]
"""Returns the logits [n, M] of rows."""

_RAW = ("data/weights/weight_", "data/constants/tensor_")
"""Places of an archive that hold numbers, unless their configuration says otherwise."""
_MARKS = (
    "archive_format",
    "archive_version",
    "byteorder",
    ".data/version",
    ".data/serialization_id",
)


class _Forward(nn.Module):
    """The model's forward pass on plain tensors, every multi-value column ``TOKENS`` wide."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.widths = (TOKENS,) * model.architecture.bags

    def forward(self, scenario: Tensor, index: Tensor, numbers: Tensor) -> Tensor:
        said: Tensor = self.model(Inputs(scenario, index, numbers, self.widths))
        return said


def save_program(model: Model, path: Path) -> None:
    """Write the forward pass as a program for any number of rows.

    Its inputs are ``scenario`` int64 [n], ``index`` int32 [n, C + bags · 32] (a token a category,
    then 32 a multi-value column, -1 after its last) and ``numbers`` float32 [n, N], standardised;
    its output are logits [n, M].
    """
    a = model.architecture
    rows = 3  # any number but 0 and 1, which the compiler takes for constants
    width = len(a.sizes) - a.bags + a.bags * TOKENS
    example = (
        torch.zeros(rows, dtype=torch.int64),
        torch.zeros(rows, width, dtype=torch.int32),
        torch.zeros(rows, a.numbers),
    )
    n = torch.export.Dim("n", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch
        program = torch.export.export(
            _Forward(model.eval()),
            example,
            dynamic_shapes=({0: n}, {0: n}, {0: n}),
            strict=True,
        )
        # The example would be kept as a pickle beside the weights.
        program._example_inputs = None
        torch.export.save(program, path)
    refuse_pickle_in(path)


def load_program(path: Path) -> Logits:
    """Return the logits that a program computes.

    Raises:
        ArtifactError: when it holds a pickle, which torch would load, or is no program.
    """
    refuse_pickle_in(path)
    # It warns of symbols that a program once had and needs no longer.
    logging.getLogger("torch._export.serde.serialize").setLevel(logging.ERROR)
    try:
        program = torch.export.load(path).module()
    except Exception as error:  # torch raises kinds of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtifactError(
            f"{path.name} can't be loaded: {reason}; promote the version again"
        ) from None

    def logits(inputs: Inputs) -> Tensor:
        wide = widened(inputs)
        said: Tensor = program(wide.scenario, wide.index, wide.numbers)
        return said

    return logits


def widened(inputs: Inputs) -> Inputs:
    """Return the rows with every multi-value column ``TOKENS`` wide."""
    if not inputs.widths:
        return inputs
    singles = inputs.index.shape[1] - sum(inputs.widths)
    parts = torch.split(inputs.index, [singles, *inputs.widths], dim=1)
    padded = [
        nn.functional.pad(part, (0, TOKENS - width), value=-1)
        for part, width in zip(parts[1:], inputs.widths, strict=True)
    ]
    index = torch.cat([parts[0], *padded], dim=1)
    return Inputs(inputs.scenario, index, inputs.numbers, (TOKENS,) * len(padded))


def refuse_pickle_in(path: Path) -> None:
    """Look through a program's archive for what torch would unpickle.

    Raises:
        ArtifactError: naming what is there.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if info.file_size]
            wrong = [name for name in names if not _is_harmless(archive, name)]
    except (OSError, zipfile.BadZipFile):
        raise ArtifactError(f"{path.name} is no program; promote the version again") from None
    if wrong:
        raise ArtifactError(
            f"{path.name} holds a pickle ({wrong[0]}), which could run anything and is never "
            "loaded; find out who wrote it, and promote another version"
        )


def _is_harmless(archive: zipfile.ZipFile, name: str) -> bool:
    """Return whether a file of the archive is JSON or raw numbers, as those we write are."""
    place = name.partition("/")[2]
    if place.endswith("_config.json"):
        entries = json.loads(archive.read(name)).get("config", {})
        return not any(entry.get("use_pickle") for entry in entries.values())
    return place.startswith(_RAW) or place in _MARKS or place.startswith("models/")
