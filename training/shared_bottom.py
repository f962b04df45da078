"""Shared bottom: one network, one head a cell. The baseline every model must beat."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.architecture import Architecture
from training.blocks import trunk
from training.embeddings import Embeddings
from training.model import Begin, Model
from training.prepare import Inputs


class SharedBottom(Model):
    """Embeddings, one MLP of all widths, and K · M heads; a row reads its scenario's."""

    def __init__(self, architecture: Architecture) -> None:
        """Build the network with fresh weights from torch's generator."""
        super().__init__(architecture)
        a = architecture
        self.embeddings = Embeddings(a.sizes, a.dims, a.bags)
        widths = (*a.trunk, *a.scenario)
        self.trunk = trunk(a.width, widths, a.dropout)
        self.heads = nn.Linear(widths[-1], a.scenarios * a.tasks)

    def new_scenario(self) -> Mapping[str, Begin]:
        """Return that a new scenario's heads begin as the mean of the others'."""
        return {"heads.weight": Begin(0), "heads.bias": Begin(0)}

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]."""
        x = torch.cat([self.embeddings(inputs), inputs.numbers], dim=1)
        a = self.architecture
        every = self.heads(self.trunk(x)).view(len(x), a.scenarios, a.tasks)
        place = inputs.scenario[:, None, None].expand(-1, 1, a.tasks)
        chosen: Tensor = every.gather(1, place).squeeze(1)
        return chosen
