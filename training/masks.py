"""Masks: what a search decided, what flows carry of a cell's logits, and pruning by it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from features.spec.layout import FLOWS
from training.autoifs import AutoIFS
from training.gates import Coefficients
from training.prepare import Inputs

MEASURED_ROWS = 20_000
"""Training rows on which flows are measured."""
FEWEST = 30
"""Rows of a scenario below which the spread of its flows says nothing."""


@dataclass(frozen=True, kw_only=True)
class Masks:
    """What a search decided."""

    strength: list[list[list[float]]] | None
    """[K][M][4], 0 for a pruned flow; None for gates of a net, which decide row by row."""
    shrink: float | None
    """The price it was found with; None for the official recipe."""


@dataclass(frozen=True)
class Flowing:
    """The flows of ``n`` rows spread evenly over a data set."""

    flows: Tensor
    """[n, M, 4]"""
    keep: Tensor
    """[n, M, 4] kept share of each."""
    scenario: Tensor
    """[n]"""


def masks_of(model: AutoIFS, shrink: float | None = None) -> Masks:
    """Return the model's masks: strengths of a table, or None for gates of a net."""
    table = model.table()
    return Masks(strength=None if table is None else table.tolist(), shrink=shrink)


def flips(before: Masks, after: Masks, cells: Sequence[Sequence[bool]]) -> int | None:
    """Return how many flows of existing cells were kept before and not after, or the reverse."""
    if before.strength is None or after.strength is None:
        return None
    old, new = torch.tensor(before.strength), torch.tensor(after.strength)
    if old.shape != new.shape:
        return None
    return int((((old > 0) != (new > 0)) & torch.tensor(cells)[:, :, None]).sum())


def kept(strength: Tensor, cells: Sequence[Sequence[bool]]) -> int:
    """Return how many flows of existing cells have a strength [K, M, 4] above 0."""
    exists = torch.tensor(cells, device=strength.device)
    return int(((strength > 0) & exists[:, :, None]).sum())


@torch.inference_mode()
def flowing(model: AutoIFS, inputs: Inputs) -> Flowing:
    """Return the flows of at most ``MEASURED_ROWS`` rows."""
    model.eval()
    stride = -(-len(inputs) // MEASURED_ROWS)
    held = inputs.take(torch.arange(0, len(inputs), stride, device=inputs.scenario.device))
    parts = [model.parts(chunk)[1:] for chunk in held.chunks()]
    flows, keep = (torch.cat(one) for one in zip(*parts, strict=True))
    return Flowing(flows, keep, held.scenario)


def mean_keep(model: AutoIFS, inputs: Inputs) -> list[list[list[float] | None]]:
    """Return the mean kept strength [K][M][4] over rows; None without a row or cell."""
    said = flowing(model, inputs)
    found: list[list[list[float] | None]] = []
    for k, row in enumerate(model.architecture.cells):
        mine = said.keep[said.scenario == k]
        found.append(
            [
                mine[:, m].mean(0).tolist() if exists and len(mine) else None
                for m, exists in enumerate(row)
            ]
        )
    return found


def shares(model: AutoIFS, inputs: Inputs) -> Tensor:
    """Return each flow's share [K, M, 4] of its cell's logit spread, ``std(a f) / Σ std(a f)``.

    A scenario with too few rows to judge has NaN.
    """
    said = flowing(model, inputs)
    found = torch.full((*_shape(model), len(FLOWS)), torch.nan, device=said.flows.device)
    for k in range(len(found)):
        mine = said.scenario == k
        if int(mine.sum()) >= FEWEST:
            spread = (said.flows * said.keep)[mine].std(0)
            found[k] = spread / spread.sum(1, keepdim=True).clamp(min=1e-12)
    return found


@torch.no_grad()
def prune(model: AutoIFS, inputs: Inputs, floor: float) -> dict[str, Any]:
    """Set to 0 each coefficient whose flow has less than ``floor`` of its cell's logit spread.

    The largest flow of a cell always stays; a scenario with too few rows keeps every flow whole.

    Returns:
        For the record: flows kept and pruned, and the shares [K][M][4].
    """
    strength, found = strengths_of(model).strength, shares(model, inputs)
    judged = ~found.isnan()
    strength.copy_(torch.where(judged, torch.where(found < floor, 0.0, strength), 1.0))
    keep_one(strength, torch.where(judged, found, 0.0))
    cells = model.architecture.cells
    left, of = kept(strength, cells), len(FLOWS) * sum(map(sum, cells))
    return {"kept": left, "pruned": of - left, "shares": rounded(found)}


def keep_one(strength: Tensor, weight: Tensor) -> None:
    """Give each cell of ``strength`` [K, M, 4] that lost every flow its heaviest back, whole."""
    none = ~(strength > 0).any(2)
    largest = torch.nn.functional.one_hot(weight.argmax(2), len(FLOWS)).to(strength.dtype)
    strength.copy_(torch.where(none[:, :, None], largest, strength))


def strengths_of(model: AutoIFS) -> Coefficients:
    """Return the model's strengths.

    Raises:
        TypeError: it has gates of another kind.
    """
    if model.coefficients is None:
        raise TypeError("these gates have no coefficients")
    return model.coefficients


def rounded(values: Tensor) -> list[list[list[float | None]]]:
    """Return [K][M][4] for JSON, NaN as None."""
    return [
        [[None if math.isnan(one) else round(one, 4) for one in flows] for flows in row]
        for row in values.tolist()
    ]


def _shape(model: AutoIFS) -> tuple[int, int]:
    return model.architecture.scenarios, model.architecture.tasks
