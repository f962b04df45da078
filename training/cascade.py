"""Arithmetic of probabilities that models make from several logits, in logits: exact and stable."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def product_logits(logits: Tensor, scenario: Tensor, cells: Sequence[Sequence[bool]]) -> Tensor:
    """Return the logits of ``p_1 · … · p_m`` for every task ``m``, with ``p = sigmoid(logits)``.

    With ``P`` the product so far, ``log P' = log P + log p`` and ``1 - P' = (1 - P) + P (1 - p)``,
    which is a sum of positive numbers: nothing cancels, so no clamp is needed.

    Args:
        logits: [n, M].
        scenario: [n].
        cells: [K][M]; a task that the row's scenario lacks is no factor and keeps its own logit.
    """
    has = torch.tensor(cells, device=logits.device)[scenario]
    yes = logits.new_zeros(len(logits))
    no = torch.full_like(yes, -1e9)
    said = []
    for m in range(logits.shape[1]):
        then, otherwise = logsigmoid(logits[:, m]), logsigmoid(-logits[:, m])
        after = yes + then, torch.logaddexp(no, yes + otherwise)
        said.append(torch.where(has[:, m], after[0] - after[1], logits[:, m]))
        yes = torch.where(has[:, m], after[0], yes)
        no = torch.where(has[:, m], after[1], no)
    return torch.stack(said, dim=1)


def mean_logits(logits: Tensor) -> Tensor:
    """Return the logits [n, M] of the mean of ``sigmoid(logits)`` [n, M, N] over the last axis."""
    yes, no = logsigmoid(logits), logsigmoid(-logits)
    return torch.logsumexp(yes, dim=2) - torch.logsumexp(no, dim=2)
