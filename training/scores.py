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
    return mean_log_loss(log_loss_sums(logits, labels))


def log_loss_sums(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the sums, float64 [2, M], of the log losses of known labels and of their number.

    Args:
        logits: [n, M].
        labels: [n, M], NaN where missing.
        weight: [n], how often each row counts.
    """
    known = ~labels.isnan()
    losses = functional.binary_cross_entropy_with_logits(
        logits.double(), torch.where(known, labels, 0.0).double(), reduction="none"
    )
    losses, counts = torch.where(known, losses, 0.0), known.double()
    if weight is not None:
        losses, counts = losses * weight[:, None], counts * weight[:, None]
    return torch.stack([losses.sum(0), counts.sum(0)])


def mean_log_loss(sums: Tensor) -> float:
    """Return the mean over tasks that have labels of the log loss that ``sums`` [2, M] add up to.

    Sums of parts of the rows may be added first, so that ranks come to one number.
    """
    losses, count = sums
    return float((losses[count > 0] / count[count > 0]).mean())
