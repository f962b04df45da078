"""STAR: every layer is a shared one times a scenario's own, behind a norm that each scenario has.

Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR
Prediction", CIKM 2021, https://doi.org/10.1145/3459637.3481941.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from training.architecture import Architecture
from training.blocks import Dropout
from training.experts import Grouping, Reader, StarLayer
from training.model import Model
from training.prepare import Inputs

AUXILIARY = 32
"""Hidden width of the auxiliary network."""
EMBEDDING = 8
"""Width of a scenario's embedding in the auxiliary network."""


class STAR(Model):
    """Partitioned normalization, star layers, and an auxiliary network that knows the scenario.

    ``logit_m = star_m(x) + auxiliary_m([e_k, x])``. The paper has one task; here all tasks share
    the star layers and the last of them has an output a task.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the network; every scenario starts as the shared one."""
        super().__init__(architecture)
        a = architecture
        self.reader = Reader(a)
        steps = pairwise((self.reader.width, *a.trunk, *a.scenario, a.tasks))
        self.norm = PartitionedNorm(self.reader.width, a.scenarios)
        self.layers = nn.ModuleList(
            StarLayer(before, after, a.scenarios) for before, after in steps
        )
        self.dropout = Dropout(a.dropout)
        self.scenario = nn.Embedding(a.scenarios, EMBEDDING)
        self.auxiliary = nn.Sequential(
            nn.Linear(EMBEDDING + self.reader.width, AUXILIARY),
            nn.ReLU(),
            nn.Linear(AUXILIARY, a.tasks),
        )

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]; while training they depend on the batch, as a norm does."""
        x = self.reader(inputs)
        grouping = Grouping(inputs.scenario, self.architecture.scenarios)
        h = self.norm(x, grouping)
        *hidden, last = self.layers
        for layer in hidden:
            h = self.dropout(torch.relu(layer(h, grouping)))
        aside = self.auxiliary(torch.cat([self.scenario(inputs.scenario), x], dim=1))
        said: Tensor = last(h, grouping) + aside
        return said


class PartitionedNorm(nn.Module):
    """Batch normalization with each scenario's own moments, scale and shift beside shared ones.

    ``z' = γ γ_k (z - μ_k) / √(σ²_k + ε) + β + β_k``, with the moments of the scenario's rows in the
    batch while training and moving ones otherwise: a prediction depends on its row alone.
    """

    EPSILON = 1e-3
    """Keeps a value that never varied in a scenario from exploding when it first does."""
    MOMENTUM = 0.05
    """Least weight of a batch in the moving moments; the first batches weigh as in a mean."""

    def __init__(self, width: int, scenarios: int) -> None:
        """Build a norm of ``width`` values for K ``scenarios``."""
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))
        self.own_scale = nn.Parameter(torch.ones(scenarios, width))
        self.own_shift = nn.Parameter(torch.zeros(scenarios, width))
        self.mean: Tensor
        self.variance: Tensor
        self.seen: Tensor
        self.register_buffer("mean", torch.zeros(scenarios, width))
        self.register_buffer("variance", torch.ones(scenarios, width))
        self.register_buffer("seen", torch.zeros(scenarios))

    def forward(self, values: Tensor, grouping: Grouping) -> Tensor:
        """Return values [n, width] on each scenario's own scale."""
        return grouping.apply(self._own, values)

    def _own(self, k: int, rows: Tensor) -> Tensor:
        mean, variance = self.mean[k], self.variance[k]
        # One row has no spread: it is put on the scale of the rows before it.
        if self.training and len(rows) > 1:
            mean, variance = rows.mean(0), rows.var(0, unbiased=False)
            self._remember(k, mean.detach(), variance.detach())
        normed = (rows - mean) / (variance + self.EPSILON).sqrt()
        return self.scale * self.own_scale[k] * normed + self.shift + self.own_shift[k]

    @torch.no_grad()
    def _remember(self, k: int, mean: Tensor, variance: Tensor) -> None:
        self.seen[k] += 1
        weight = max(self.MOMENTUM, 1 / float(self.seen[k]))
        self.mean[k].lerp_(mean, weight)
        self.variance[k].lerp_(variance, weight)
