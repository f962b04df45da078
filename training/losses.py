"""The loss every model of the zoo starts from."""

import torch
from torch import Tensor
from torch.nn import functional


def masked_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted binary cross-entropy of the labels that are there.

    Args:
        logits: [b, M].
        targets: [b, M] labels or probabilities, NaN where missing.
        weights: [M], weight of one label of the task, or [b, M], of each label.

    Returns:
        The sum over labels, divided by ``b``: a row's share does not depend on the other rows.
    """
    known = ~targets.isnan()
    losses = functional.binary_cross_entropy_with_logits(
        logits.float(), torch.where(known, targets, 0.0), reduction="none"
    )
    return (torch.where(known, losses, 0.0) * weights).sum() / len(targets)
