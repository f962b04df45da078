"""One network a task, for all scenarios together, with the scenario as a feature."""

import torch
from torch import Tensor, nn

from training.architecture import Architecture
from training.mlp_per_cell import Alone
from training.model import Model
from training.prepare import Inputs


class MLPPerTask(Model):
    """For each task: embeddings, an MLP of all widths and a head; tasks share nothing.

    The reference that says whether sharing between tasks helps.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build M networks with fresh weights."""
        super().__init__(architecture)
        each = (Alone(architecture, scenario=True) for _ in range(architecture.tasks))
        self.tasks = nn.ModuleList(each)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]."""
        return torch.stack([task(inputs) for task in self.tasks], dim=1)
