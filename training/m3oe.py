"""M3oE (also MDMTRec): shared, scenario and task experts, weighed on rows held out of training.

Zhang et al., "M3oE: Multi-Domain Multi-Task Mixture-of-Experts Recommendation Framework", SIGIR
2024, https://arxiv.org/abs/2404.18465.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from training.architecture import Architecture
from training.blocks import Dropout
from training.experts import Bank, Gates, Grouping, Owned, Reader, StarLayer, Towers
from training.model import Model
from training.prepare import Inputs

SHARED = 4
"""Experts that all cells mix."""


class M3oE(Model):
    """A star layer, three kinds of experts, and two levels of weights between them.

    - ``v = MLP(x (W ∘ W_k) + b + b_k) + skip(x)``
    - level 1: ``D'_k = s(β_d) D_k + (1 - s(β_d)) mean_{j≠k} D_j``, and ``T'_m`` likewise with β_t
    - level 2: ``f_km = softmax(sg(v) G_km) · S + s(α_d) D'_k + s(α_t) T'_m``

    then a tower a task and a head a cell. The four numbers α and β are learned on rows held out of
    training (the paper's bilevel search, first order, a step after each step of the weights); in
    the authors' code they are also trained with the weights, on the same rows. With one scenario or
    one task there are no others to average, and that β does not exist.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the network with fresh weights; all four weights start at s(1) = 0.73."""
        super().__init__(architecture)
        a = architecture
        self.reader = Reader(a)
        first, *rest = a.experts
        inner = rest or [first]
        out = (a.towers or a.experts)[0]
        self.star = StarLayer(self.reader.width, first, a.scenarios)
        self.mlp = nn.Sequential(
            *(NormedBank(1, *step, a.dropout) for step in pairwise((first, *inner))), nn.Flatten()
        )
        self.skip = nn.Linear(self.reader.width, inner[-1])
        self.shared = NormedBank(SHARED, inner[-1], out, a.dropout)
        self.scenarios = NormedBank(a.scenarios, inner[-1], out, a.dropout)
        self.tasks = NormedBank(a.tasks, inner[-1], out, a.dropout)
        self.gates = Owned([Gates(a.tasks, inner[-1], SHARED) for _ in range(a.scenarios)])
        self.towers = Towers(out, a)
        self.balance = nn.ParameterDict(
            {name: torch.ones(()) for name in ("scenario", "task")}
            | ({"own scenario": torch.ones(())} if a.scenarios > 1 else {})
            | ({"own task": torch.ones(())} if a.tasks > 1 else {})
        )
        """α_d, α_t, β_d and β_t."""

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]."""
        x = self.reader(inputs)
        grouping = Grouping(inputs.scenario, self.architecture.scenarios)
        v = self.mlp(self.star(x, grouping)) + self.skip(x)
        mixed = self.gates(v.detach(), grouping) @ self.shared(v)
        scenarios = self._viewed(self.scenarios(v), "own scenario")
        place = inputs.scenario[:, None, None].expand(-1, 1, scenarios.shape[2])
        of_scenario = torch.sigmoid(self.balance["scenario"]) * scenarios.gather(1, place)
        of_task = torch.sigmoid(self.balance["task"]) * self._viewed(self.tasks(v), "own task")
        said: Tensor = self.towers(mixed + of_scenario + of_task, inputs.scenario)
        return said

    def held_out(self) -> list[nn.Parameter]:
        """Return the weights of both levels."""
        return list(self.balance.values())

    def _viewed(self, experts: Tensor, name: str) -> Tensor:
        """Return each expert of [n, G, out] mixed with the mean of the others."""
        others = experts.shape[1] - 1
        if not others:
            return experts
        own = torch.sigmoid(self.balance[name])
        mean = (experts.sum(1, keepdim=True) - experts) / others
        return own * experts + (1 - own) * mean


class NormedBank(nn.Module):
    """G layers side by side, each with a layer norm, ReLU and dropout."""

    def __init__(self, groups: int, width: int, out: int, dropout: float) -> None:
        """Build ``groups`` layers from ``width`` to ``out``."""
        super().__init__()
        self.layer = Bank(groups, width, out)
        self.scale = nn.Parameter(torch.ones(groups, out))
        self.shift = nn.Parameter(torch.zeros(groups, out))
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Return [n, G, out] of values [n, width] or [n, G, width]."""
        raw = self.layer(values)
        normed = nn.functional.layer_norm(raw, raw.shape[2:]) * self.scale + self.shift
        said: Tensor = self.dropout(torch.relu(normed))
        return said
