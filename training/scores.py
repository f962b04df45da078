"""Predictions of a model, and their log loss."""

import torch
from torch import Tensor
from torch.nn import functional

from training.model import Model
from training.prepare import Inputs


@torch.inference_mode()
def predict(model: Model, inputs: Inputs) -> Tensor:
    """Return the logits [n, M] of every row, without dropout."""
    model.eval()
    return torch.cat([model(chunk) for chunk in inputs.chunks()])


def pooled_log_loss(logits: Tensor, labels: Tensor) -> float:
    """Return the mean over tasks of the log loss over all rows that have the task's label.

    Args:
        logits: [n, M].
        labels: [n, M], NaN where missing; a task without any label is left out.
    """
    known = ~labels.isnan()
    losses = functional.binary_cross_entropy_with_logits(
        logits.double(), torch.where(known, labels, 0.0).double(), reduction="none"
    )
    count = known.sum(0)
    means = torch.where(known, losses, 0.0).sum(0)[count > 0] / count[count > 0]
    return float(means.mean())
