"""What one step makes smaller: a model's loss, each label weighed by task, scenario and sample."""

import torch
from torch import Tensor, nn

from training.model import Model
from training.rows import Examples, Tally
from training.settings import Settings

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Objective(nn.Module):
    """The loss of a batch.

    A task weighs what the spec says, however few of its labels are known: a label's weight is the
    task's, divided by the share of rows that have one. With ``loss.balance`` a a row of a scenario
    with n rows weighs ``n^-a``. With ``loss.tasks: uncertainty`` the loss is
    ``Σ_m w_m (exp(-s_m) L_m + s_m / 2)`` with a learned s (Kendall, Gal, Cipolla, "Multi-Task
    Learning Using Uncertainty to Weigh Losses", CVPR 2018, https://arxiv.org/abs/1705.07115).
    """

    def __init__(self, model: Model, tally: Tally, settings: Settings) -> None:
        """Weigh the labels of ``tally`` as ``settings`` ask."""
        super().__init__()
        self.model, self.settings = model, settings
        wanted = torch.tensor(settings.task_weights)
        self.tasks = nn.Buffer(wanted / wanted.sum(), persistent=False)
        self.weights = nn.Buffer(
            _weights(tally, self.tasks, settings.loss.balance), persistent=False
        )
        """[M], or with a balance [K, M]: what a label of a row that stands for one weighs."""
        learned = settings.loss.tasks == "uncertainty"
        self.spread = nn.Parameter(torch.zeros(len(wanted))) if learned else None
        """s, logarithm of each task's variance."""
        self.to(settings.device)

    def forward(self, batch: Examples, share: float = 1.0) -> Tensor:
        """Return the loss of a batch, times ``share``."""
        half = HALF.get(self.settings.precision)
        with torch.autocast(self.settings.device.type, half, enabled=half is not None):
            loss = self.model.loss(batch.inputs, batch.labels, self.weights_of(batch))
        if self.spread is not None:
            loss = loss + (self.tasks * self.spread).sum() / 2
        return loss * share

    def weights_of(self, batch: Examples) -> Tensor:
        """Return what each label weighs: [M] where rows are alike, else [b, M]."""
        weights: Tensor = self.weights
        if weights.dim() == 2:
            weights = weights[batch.inputs.scenario]
        if batch.weight is not None:
            weights = weights * batch.weight[:, None]
        return weights if self.spread is None else weights * torch.exp(-self.spread)

    def own(self) -> list[nn.Parameter]:
        """Return the parameters that are no part of the model."""
        return [] if self.spread is None else [self.spread]


def _weights(tally: Tally, tasks: Tensor, balance: float) -> Tensor:
    rows = tally.rows.sum().item()
    if not balance:
        return tasks * rows / tally.labels.sum(0).clamp(min=1).float()
    scenarios = torch.where(tally.rows > 0, tally.rows, torch.nan).pow(-balance).nan_to_num(0.0)
    known = (tally.labels * scenarios[:, None]).sum(0)
    each = scenarios[:, None] * rows / torch.where(known > 0, known, torch.inf)
    return (tasks * each).float()
