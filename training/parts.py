"""Checkpoints that every rank writes its part of, and that any number of ranks can read.

``torch.distributed.checkpoint`` does both. Its own index is a pickle, so these are read from the
folder of a training under way and from nowhere else.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from training.average import State
from training.ranks import Ranks, message_device
from training.sharded import as_parts, run

SAID = "said.json"


def write_parts(path: Path, tensors: State, said: str, names: set[str], ranks: Ranks) -> None:
    """Write a checkpoint, by all ranks together; it gets its name when it is whole.

    Args:
        path: the folder it becomes.
        tensors: what this rank holds.
        said: beside them.
        names: which tensors are parts of what all ranks hold together.
        ranks: who writes.
    """
    half = path.with_suffix(".half")
    if ranks.first:
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
    ranks.wait()
    # A copy: an average's and a weight's storage may be one.
    held = {name: one.detach().clone() for name, one in tensors.items()}
    save(dict(as_parts(held, names, ranks)), checkpoint_id=half, no_dist=ranks.alone)
    if ranks.first:
        (half / SAID).write_text(said, encoding="utf-8")
        shutil.rmtree(path, ignore_errors=True)
        os.replace(half, path)
    ranks.wait()


def read_parts(
    path: Path, parted: Callable[[Iterable[str]], set[str]] | None, ranks: Ranks
) -> State:
    """Return what a checkpoint holds, of parted tensors this rank's part of them."""
    index = FileSystemReader(path).read_metadata().state_dict_metadata
    names = parted(index) if parted is not None and not ranks.alone else set()
    found: dict[str, Tensor] = {}
    for name, one in index.items():
        if isinstance(one, TensorStorageMetadata):
            mine = run(one.size[0], ranks) if name in names else None
            size = (mine.stop - mine.start, *one.size[1:]) if mine else one.size
            where = None if mine is None else message_device()
            found[name] = torch.empty(size, dtype=one.properties.dtype, device=where)
    # What is loaded into a part's description lands in the part itself.
    load(dict(as_parts(found, names, ranks)), checkpoint_id=path, no_dist=ranks.alone)
    return found
