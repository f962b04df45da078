"""DFFM: the scenario's own small network sits inside field interactions and history attention.

"DFFM: Domain Facilitated Feature Modeling for CTR Prediction", CIKM 2023,
https://openreview.net/forum?id=Dt0XYL2N5v. There is no faithful public code. What the paper says:
in DFFI a small network, whose weights are the domain's embedding, transforms fields before they
interact (``F(e_i, e_j) = <D(e_i), D(e_j)>``); in DFUB attention over the person's history asks with
target and domain together. What is reconstructed here: the small network is residual, so that it
starts near the identity; fields are first put on one width; how query, key and value are made;
tasks share all but their heads.
"""

import torch
from torch import Tensor, nn

from training.architecture import Architecture
from training.blocks import trunk
from training.embeddings import Embeddings
from training.experts import CellHeads, Reader
from training.model import Model
from training.prepare import Inputs

WIDTH = 8
"""Width that fields are put on to interact."""
DEPTH = 2
"""Layers of a scenario's small network."""
FIELDS = 24
"""Most columns that interact, in the spec's order (ids first); products grow with the square."""


class DFFM(Model):
    """``logit = MLP([x ; <D(e_i), D(e_j)> of i ≤ j ; u])``, with one head a cell.

    Fields are the first embedded columns and all numbers together as one more. ``u`` is what
    attention finds in each sequence of the spec (``features.sequences``); without any, that part is
    left out.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the network; every scenario's small network starts near the identity."""
        super().__init__(architecture)
        a = architecture
        self.reader = Reader(a)
        self.fields = [self.reader.embeddings.place(p) for p in range(min(len(a.dims), FIELDS))]
        self.lift = nn.ModuleList(
            nn.Linear(a.dims[position], WIDTH) for position in range(len(self.fields))
        )
        if a.numbers:
            self.fields.append(slice(sum(a.dims), a.width))
            self.lift.append(nn.Linear(a.numbers, WIDTH))
        self.domain = Domain(a.scenarios)
        self.histories = nn.ModuleList(
            History(a, place, reads) for place, reads in zip(a.histories, a.listed, strict=True)
        )
        pairs = len(self.fields) * (len(self.fields) + 1) // 2
        widths = (*a.trunk, *a.scenario)
        self.trunk = trunk(a.width + pairs + WIDTH * len(self.histories), widths, a.dropout)
        self.heads = CellHeads(widths[-1], a.scenarios, a.tasks)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]."""
        x = self.reader(inputs)
        steps = zip(self.lift, self.fields, strict=True)
        fields = torch.stack([lift(x[:, held]) for lift, held in steps], dim=1)
        moved = self.domain(fields, inputs.scenario)
        first, second = torch.triu_indices(*[fields.shape[1]] * 2, device=x.device)
        products = (moved @ moved.transpose(1, 2))[:, first, second]
        known = self.domain.weights(inputs.scenario)
        found = [one(self.reader.embeddings, inputs, x, known) for one in self.histories]
        h = self.trunk(torch.cat([x, products, *found], dim=1))
        said: Tensor = self.heads(h, inputs.scenario)
        return said


class Domain(nn.Module):
    """The small networks whose weights are the scenarios' embeddings.

    ``h_l = h_{l-1} + tanh(h_{l-1} W_l + b_l)`` with all ``W_l, b_l`` of a scenario in one vector.
    """

    SIZE = DEPTH * (WIDTH * WIDTH + WIDTH)
    """Numbers in a scenario's embedding."""

    def __init__(self, scenarios: int) -> None:
        """Build the embeddings of K ``scenarios``."""
        super().__init__()
        self.embedding = nn.Parameter(0.1 * torch.randn(scenarios, self.SIZE))

    def weights(self, scenario: Tensor) -> Tensor:
        """Return the embeddings of the rows' scenarios, [n, SIZE]."""
        return self.embedding.index_select(0, scenario)

    def forward(self, fields: Tensor, scenario: Tensor) -> Tensor:
        """Return fields [n, F, WIDTH] as the row's scenario sees them."""
        for layer in self.weights(scenario).view(-1, DEPTH, WIDTH + 1, WIDTH).unbind(1):
            fields = fields + torch.tanh(fields @ layer[:, :WIDTH] + layer[:, WIDTH:])
        return fields


class History(nn.Module):
    """Attention over one sequence, asked with the target and the scenario.

    The target is the category whose values the sequence lists, in the same embeddings; for a
    sequence of values that are no category it is the whole input.
    """

    def __init__(self, a: Architecture, place: int, reads: int) -> None:
        """Build attention over the column at ``place`` that lists the one at ``reads`` (or -1)."""
        super().__init__()
        self.place, self.reads = place, reads
        asked = a.dims[reads] if reads >= 0 else a.width
        self.query = nn.Linear(asked + Domain.SIZE, WIDTH)
        self.key = nn.Linear(a.dims[place], WIDTH)
        self.value = nn.Linear(a.dims[place], WIDTH)

    def forward(self, embeddings: Embeddings, inputs: Inputs, x: Tensor, known: Tensor) -> Tensor:
        """Return [n, WIDTH], 0 for an empty history.

        Args:
            embeddings: of the network.
            inputs: the rows.
            x: their network input, [n, width].
            known: their scenarios' embeddings, [n, SIZE].
        """
        reads = self.reads if self.reads >= 0 else self.place
        tokens, there = embeddings.tokens(inputs, self.place, reads)
        target = x[:, embeddings.place(reads)] if self.reads >= 0 else x
        query = self.query(torch.cat([target, known], dim=1))
        fit = (self.key(tokens) @ query[:, :, None]).squeeze(2) / WIDTH**0.5
        share = torch.softmax(fit.masked_fill(~there, -1e9), dim=1) * there
        found: Tensor = (share[:, None] @ self.value(tokens)).squeeze(1)
        return found
