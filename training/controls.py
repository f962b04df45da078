"""Masks that nobody searched: what a search must beat to have found anything."""

from collections.abc import Sequence

import torch
from torch import Tensor

from features.spec.layout import FLOWS

Cells = Sequence[Sequence[bool]]


def whole(cells: Cells) -> Tensor:
    """Return the strengths [K, M, 4] of a model that prunes nothing."""
    return torch.ones(len(cells), len(cells[0]), len(FLOWS))


def bare(cells: Cells) -> Tensor:
    """Return the strengths of a model that prunes every flow: a bias a cell is left."""
    return torch.zeros_like(whole(cells))


def even(found: Tensor, cells: Cells) -> Tensor:
    """Return every flow at the mean strength of ``found``'s existing cells.

    Smaller strengths slow down the heads, which helps by itself; what is better than this was
    gained by telling flows apart.
    """
    return torch.full_like(found, float(found[torch.tensor(cells)].mean()))


def shuffled(found: Tensor, cells: Cells, seed: int) -> Tensor:
    """Return the kept strengths of ``found`` [K, M, 4] in random places of the existing cells.

    So it is as sparse and as strong, and a cell keeps at least one flow, as cells of ``found`` do.
    """
    random = torch.Generator().manual_seed(seed)
    exists = torch.tensor(cells)
    held = found[exists]
    kept = held[held > 0]
    kept = kept[torch.randperm(len(kept), generator=random)]
    order = torch.rand(held.shape, generator=random)
    # The first place of each cell comes before all second ones.
    order[torch.arange(len(held)), order.argmin(1)] -= 1.0
    mixed = torch.zeros(held.numel())
    mixed[order.flatten().argsort()[: len(kept)]] = kept
    moved = torch.ones_like(found)
    moved[exists] = mixed.view_as(held)
    return moved
