"""Where a training goes on from when it was stopped: whole files or none, and no pickle."""

import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from features.errors import TrainingError
from training.average import State
from training.parts import SAID, read_parts, write_parts
from training.ranks import ALONE, Ranks

log = logging.getLogger(__name__)

EVERY = 120.0
"""Seconds of training that a kill may cost."""
KEPT = 2
"""Newest steps kept of the stage under way: one more than is needed, should the last be damaged."""


class Stopped(TrainingError):
    """A training that was told to end and can go on later."""

    code = "stopped"
    exit_code = 143
    """128 + SIGTERM, as a shell says it."""


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds."""

    tensors: State
    said: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one training: the end of each stage, and steps of the one under way.

    A training that starts anew runs through the same stages: those with an end are answered from
    it, and the one under way goes on from its newest step. A file gets its name when it is whole on
    the disk, so one that was half-written is never read; one that is damaged, or of another
    training, is passed over.
    """

    def __init__(
        self, folder: Path, identity: str, *, every: float = EVERY, ranks: Ranks = ALONE
    ) -> None:
        """Look at what lies in ``folder``; nothing is written yet.

        Args:
            folder: of this training alone, in sight of every rank.
            identity: of all that decides the result: data, settings, model.
            every: seconds between two checkpoints of a stage.
            ranks: of whom the first writes for all.
        """
        self.folder, self.identity, self.every, self.ranks = folder, identity, every, ranks
        self.parted: Callable[[Iterable[str]], set[str]] | None = None
        """Which tensors are parts of what all ranks hold; left out, the first rank holds it all."""
        self.stop = False
        """Set when the process was told to end."""
        self._last = time.monotonic()

    def ended(self, stage: int) -> Saved | None:
        """Return the end of a stage, counted from 1, if there is one."""
        return self._read(self.folder / _end(stage))

    def under_way(self, stage: int) -> Saved | None:
        """Return the newest readable step of a stage."""
        for path in reversed(self._steps(stage)):
            if (found := self._read(path)) is not None:
                return found
        return None

    def due(self) -> bool:
        """Return whether it is time for the next checkpoint."""
        return self.stop or time.monotonic() - self._last >= self.every

    def end(self, stage: int, saved: Saved) -> None:
        """Keep the end of a stage, in the place of its steps."""
        self._write(self.folder / _end(stage), saved)
        if self.ranks.first:
            for path in self._steps(stage):
                _delete(path)

    def keep(self, stage: int, step: int, saved: Saved) -> None:
        """Keep a step of the stage under way."""
        self._write(self.folder / f"{_stage(stage)}-step-{step:09d}.safetensors", saved)
        if self.ranks.first:
            for path in self._steps(stage)[:-KEPT]:
                _delete(path)
        self._last = time.monotonic()

    def clear(self) -> None:
        """Delete all of it: the training has ended."""
        if self.ranks.first and self.folder.is_dir():
            _delete(self.folder)

    def _steps(self, stage: int) -> list[Path]:
        return sorted(self.folder.glob(f"{_stage(stage)}-step-*.safetensors"))

    def _write(self, path: Path, saved: Saved) -> None:
        """Write a checkpoint: the first rank a file, or all of them a folder, each its parts."""
        said = json.dumps({"identity": self.identity, **saved.said})
        if self.parted is not None:
            write_parts(path, saved.tensors, said, self.parted(saved.tensors), self.ranks)
            return
        if not self.ranks.first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        tensors = {name: one.detach().cpu().contiguous() for name, one in saved.tensors.items()}
        save_file(tensors, half, {"said": said})
        _to_disk(half)
        os.replace(half, path)
        _to_disk(self.folder)

    def _read(self, path: Path) -> Saved | None:
        if not path.exists():
            return None
        try:
            if path.is_dir():
                said = json.loads((path / SAID).read_text())
                tensors = read_parts(path, self.parted, self.ranks)
            else:
                with safe_open(path, "pt") as file:
                    said = json.loads((file.metadata() or {})["said"])
                tensors = load_file(path)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            log.warning("checkpoint %s is damaged (%s) and passed over", path.name, error)
            return None
        if said["identity"] != self.identity:
            log.info("checkpoint %s is of another training and passed over", path.name)
            return None
        return Saved(tensors, said)


@contextmanager
def stopping(checkpoints: Checkpoints) -> Iterator[None]:
    """Let SIGTERM ask for a checkpoint and the end, instead of ending the process where it is."""

    def told(_: int, __: FrameType | None) -> None:
        checkpoints.stop = True

    before = signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Everything:
    """Every parameter and buffer of a module, those that no artifact holds included."""

    def __init__(self, module: nn.Module) -> None:
        """Look at ``module``, which goes on holding them."""
        self.module = module

    def state(self) -> State:
        """Return what :meth:`load` needs to go on from here."""
        return {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        for name, held in self.state().items():
            held.data.copy_(state[name])


def under(prefix: str, state: Mapping[str, Tensor]) -> State:
    """Return ``state`` with ``prefix.`` before every name."""
    return {f"{prefix}.{name}": value for name, value in state.items()}


def below(prefix: str, state: Mapping[str, Tensor]) -> State:
    """Return what :func:`under` put below ``prefix``."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): value for name, value in state.items() if name.startswith(start)
    }


def _stage(stage: int) -> str:
    return f"stage-{stage:03d}"


def _end(stage: int) -> str:
    return f"{_stage(stage)}-end.safetensors"


def _delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _to_disk(path: Path) -> None:
    """Have the system write what it still holds of a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
