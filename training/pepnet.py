"""PEPNet: what is known of the scenario gates the embeddings, and of the person every layer.

Chang et al., "PEPNet: Parameter and Embedding Personalized Network for Infusing with Personalized
Prior Information", KDD 2023, https://arxiv.org/abs/2302.01115.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from training.architecture import Architecture
from training.blocks import Dropout
from training.experts import Bank, Reader, narrowed
from training.model import Model
from training.prepare import Inputs

EMBEDDING = 8
"""Width of a scenario's embedding."""
HIDDEN = 16
"""Hidden width of a gate; at the width of what it gates, gates would outweigh the network."""


class PEPNet(Model):
    """EPNet, then a tower a task whose layers PPNet gates.

    - EPNet: ``x' = Gate([e_k ; sg(x)]) ∘ x``
    - PPNet, task m, layer l: ``h = relu(h W + b) ∘ Gate_ml([prior ; sg(x')])``

    with ``Gate(u) = 2 sigmoid(W₂ relu(W₁ u))`` and ``sg`` a stopped gradient. The prior is the
    embeddings of the columns the spec calls ids (person, item, author), or of all columns of one
    value where it names none.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the network with fresh weights."""
        super().__init__(architecture)
        a = architecture
        self.reader = Reader(a)
        width = self.reader.width
        self.prior = a.ids or tuple(range(len(a.sizes) - a.bags))
        self.scenario = nn.Embedding(a.scenarios, EMBEDDING)
        self.embedding_gate = GateNU(1, EMBEDDING + width, width)
        widths = narrowed((*a.trunk, *a.scenario), a.tasks)
        steps = pairwise((width, *widths))
        self.layers = nn.ModuleList(Bank(a.tasks, before, after) for before, after in steps)
        known = sum(a.dims[position] for position in self.prior) + width
        self.gates = nn.ModuleList(GateNU(a.tasks, known, out) for out in widths)
        self.dropout = Dropout(a.dropout)
        self.heads = Bank(a.tasks, widths[-1], 1)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]."""
        x = self.reader(inputs)
        prior = [x[:, self.reader.embeddings.place(position)] for position in self.prior]
        told = torch.cat([self.scenario(inputs.scenario), x.detach()], dim=1)
        h = x = self.embedding_gate(told).squeeze(1) * x
        known = torch.cat([*prior, x.detach()], dim=1)
        for layer, gate in zip(self.layers, self.gates, strict=True):
            h = self.dropout(torch.relu(layer(h)) * gate(known))
        said: Tensor = self.heads(h).squeeze(2)
        return said


class GateNU(nn.Module):
    """Gates between 0 and 2, so that a gate can weaken or strengthen what it gates."""

    def __init__(self, groups: int, width: int, out: int) -> None:
        """Build ``groups`` gates of ``out`` values that read ``width``."""
        super().__init__()
        self.first, self.second = Bank(groups, width, HIDDEN), Bank(groups, HIDDEN, out)

    def forward(self, known: Tensor) -> Tensor:
        """Return [n, groups, out] of [n, width]."""
        return 2 * torch.sigmoid(self.second(torch.relu(self.first(known))))
