"""Labelled rows, and the order in which a trainer takes them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from training.prepare import Inputs

HELD_OUT = 10
"""One in so many training rows is set aside for a model that learns from held-out rows."""


@dataclass(frozen=True)
class Examples:
    """Inputs with their labels on the training device."""

    inputs: Inputs
    labels: Tensor
    """float32 [n, M], NaN where a label is missing."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.inputs)

    def take(self, rows: Tensor) -> "Examples":
        """Return the rows of the given indices, int64 [b]."""
        return Examples(self.inputs.take(rows), self.labels.index_select(0, rows))

    def to(self, device: torch.device) -> "Examples":
        """Return the same rows on ``device``."""
        return Examples(self.inputs.to(device), self.labels.to(device))


def batches(rows: int, size: int, seed: int) -> Iterator[Tensor]:
    """Yield row indices for ever: an epoch is a seeded permutation cut into equal batches."""
    generator = torch.Generator().manual_seed(seed)
    count = steps_per_epoch(rows, size)
    while True:
        yield from torch.randperm(rows, generator=generator).tensor_split(count)


def steps_per_epoch(rows: int, size: int) -> int:
    """Return how many batches of about ``size`` rows an epoch has."""
    return max(1, round(rows / size))


def set_aside(rows: Examples, seed: int) -> tuple[Examples, Examples]:
    """Return ``rows`` without one in ten, and those; too few to part are both, whole."""
    if len(rows) < HELD_OUT:
        return rows, rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    order = order.to(rows.labels.device)
    cut = len(rows) // HELD_OUT
    return rows.take(order[cut:].sort().values), rows.take(order[:cut])
