"""One network a cell that shares nothing: what a cell can learn from its own labels alone."""

import torch
from torch import Tensor, nn

from training.architecture import Architecture
from training.blocks import trunk
from training.experts import Grouping, Reader
from training.model import Model
from training.prepare import Inputs


class MLPPerCell(Model):
    """For each cell: embeddings, an MLP of all widths and a head of its own.

    The reference that says whether sharing helps or hurts a cell; it costs K · M times the
    parameters of one network and, a row, M times the compute.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the networks of the cells that exist, with fresh weights."""
        super().__init__(architecture)
        self.cells = nn.ModuleDict(
            {
                f"{k}-{m}": Alone(architecture)
                for k, row in enumerate(architecture.cells)
                for m, exists in enumerate(row)
                if exists
            }
        )

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]; 0 where the cell does not exist."""
        a = self.architecture
        grouping = Grouping(inputs.scenario, a.scenarios)

        def own(k: int, rows: Tensor) -> Tensor:
            mine = inputs.take(rows)
            none = torch.zeros(len(rows), device=rows.device)
            said = [self.cells[f"{k}-{m}"](mine) if a.cells[k][m] else none for m in range(a.tasks)]
            return torch.stack(said, dim=1)

        return grouping.apply(own, torch.arange(len(inputs), device=inputs.scenario.device))


class Alone(nn.Module):
    """A network with one output that shares nothing with any other."""

    def __init__(self, a: Architecture, *, scenario: bool = False) -> None:
        """Build it; with ``scenario``, it reads the scenario as a feature."""
        super().__init__()
        widths = (*a.trunk, *a.scenario)
        self.reader = Reader(a, scenario=scenario)
        self.trunk = trunk(self.reader.width, widths, a.dropout)
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n]."""
        said: Tensor = self.head(self.trunk(self.reader(inputs))).squeeze(1)
        return said
