"""HiNet: what all scenarios, one's own and the others know, and then what tasks make of it.

Zhou et al., "HiNet: Novel Multi-Scenario & Multi-Task Learning with Hierarchical Information
Extraction", ICDE 2023, https://arxiv.org/abs/2303.06095.
"""

import torch
from torch import Tensor, nn

from training.architecture import Architecture
from training.experts import CGC, Gates, Mlps, Reader, Towers, narrowed
from training.model import Model
from training.prepare import Inputs

EXPERTS = 2
"""Sub-experts that each mixture integrates."""
EMBEDDING = 8
"""Width of a scenario's embedding."""


class HiNet(Model):
    """Scenario extraction ``[shared ; own ; look at the others]``, then CGC for the tasks.

    Every scenario has a mixture of sub-experts (SEI). A row of scenario ``k`` looks at the others
    by ``Σ_{j≠k} softmax_j(e_k W) S_j(x)`` (SAN): their mixtures run on the row too, so a row costs
    K + 1 mixtures. Task extraction, towers and heads are those of PLE.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the network with fresh weights."""
        super().__init__(architecture)
        a = architecture
        self.reader = Reader(a)
        *below, last = a.experts
        lower = narrowed(below or [last], EXPERTS * (a.scenarios + 1))
        upper = narrowed([last], a.tasks + CGC.SHARED)
        self.shared = Integration(1, self.reader.width, lower, a)
        self.scenarios = Integration(a.scenarios, self.reader.width, lower, a)
        self.attention = Attention(a.scenarios) if a.scenarios > 2 else None
        parts = 3 if a.scenarios > 1 else 2
        self.tasks = CGC(parts * lower[-1], upper, a, last=True)
        self.towers = Towers(upper[-1], a)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]."""
        x = self.reader(inputs)
        every = self.scenarios(x)
        place = inputs.scenario[:, None, None].expand(-1, 1, every.shape[2])
        own = every.gather(1, place)
        known = [self.shared(x), own]
        if self.attention is not None:
            known.append(self.attention(inputs.scenario) @ every)
        elif every.shape[1] > 1:
            known.append(every.sum(1, keepdim=True) - own)
        extracted = torch.cat(known, dim=2).squeeze(1)
        each, _ = self.tasks(extracted, extracted)
        said: Tensor = self.towers(each, inputs.scenario)
        return said


class Integration(nn.Module):
    """Sub-expert integration: G mixtures of a few experts each, with a gate each."""

    def __init__(self, groups: int, width: int, widths: tuple[int, ...], a: Architecture) -> None:
        """Build ``groups`` mixtures from ``width`` to the last of ``widths``."""
        super().__init__()
        self.groups = groups
        self.experts = Mlps(groups * EXPERTS, width, widths, a.dropout)
        self.gates = Gates(groups, width, EXPERTS)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixtures [n, G, out] of x [n, width]."""
        experts = self.experts(x).view(len(x), self.groups, EXPERTS, self.experts.out)
        mixed: Tensor = (self.gates(x)[:, :, None] @ experts).squeeze(2)
        return mixed


class Attention(nn.Module):
    """How much a scenario looks at each of the others; it looks at itself elsewhere."""

    def __init__(self, scenarios: int) -> None:
        """Build it for K ``scenarios``, at least three: of two, there is one other to look at."""
        super().__init__()
        self.scenario = nn.Embedding(scenarios, EMBEDDING)
        self.look = nn.Linear(EMBEDDING, scenarios)

    def forward(self, scenario: Tensor) -> Tensor:
        """Return shares [n, 1, K] that sum to 1 and are 0 at the row's own scenario."""
        fit = self.look(self.scenario.weight)
        own = torch.eye(len(fit), dtype=torch.bool, device=fit.device)
        return torch.softmax(fit.masked_fill(own, -torch.inf), dim=1)[scenario, None]
