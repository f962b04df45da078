"""AutoIFS as its paper's reference code computes it: what our own form is timed against.

Kept apart from `training/autoifs.py` on purpose and written for likeness, not for speed: every row
gathers its scenario's low-rank matrices, the gates are a second trunk as wide as the first, and in
retraining they read a second embedding table. `tests/unit/training/test_official.py` holds it, and
ours, to a NumPy transcription of the equations (arXiv 2512.13396).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

FLOWS = 4
"""Shared → shared, specific → specific, shared → specific, specific → shared."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """The settings that the paper's code trains with."""

    learning_rate: float = 3e-4
    weight_decay: float = 3e-5
    gate_rate: float = 3e-6
    """A hundredth of the weights'."""
    retrain_rate: float = 1e-4
    retrain_decay: float = 3e-4
    final_temperature: float = 100.0
    price: float = 0.0
    """Added to the loss for each task, times its mean gate; a gate of 1 removes its flow."""


class LiteralAutoIFS(nn.Module):
    """A trunk, one scenario layer, one-wide task heads, gates of full size a row.

    ``n`` rows, ``F`` fields, ``K`` scenarios, ``M`` tasks.
    """

    def __init__(
        self,
        *,
        rows: int,
        fields: int,
        dim: int,
        trunk: Sequence[int],
        scenario: int,
        scenarios: int,
        tasks: int,
        rank: int,
    ) -> None:
        """Build the network.

        Args:
            rows: of the embedding table that all fields share.
            fields: F.
            dim: of an embedding.
            trunk: widths of the shared layers, and of the gates' own.
            scenario: width of the scenario layer.
            scenarios: K.
            tasks: M.
            rank: of the scenarios' and the tasks' own parts.
        """
        super().__init__()
        self.scenarios, self.tasks = scenarios, tasks
        self.embedding = nn.Embedding(rows, dim)
        nn.init.xavier_uniform_(self.embedding.weight)
        self.share_mlp = _mlp((fields * dim, *trunk))
        self.d_kernel, self.d_bias, self.d_a, self.d_b, self.d_own = _unit(
            trunk[-1], scenario, scenarios, rank
        )
        self.t_kernel, self.t_bias, self.t_a, self.t_b, self.t_own = _unit(scenario, 1, tasks, rank)
        self.gate_hypernet = _mlp((fields * dim, *trunk))
        self.gate_heads = nn.ModuleList(nn.Linear(trunk[-1], FLOWS) for _ in range(tasks))
        self.gate_embedding = nn.Embedding(rows, dim).requires_grad_(False)
        self.temperature = 1.0
        self.ticket = False

    def forward(self, index: Tensor, scenario: Tensor) -> Tensor:
        """Return the logits [n, M] of rows with tokens [n, F] in scenarios [n]."""
        return self.parts(index, scenario)[0]

    def parts(self, index: Tensor, scenario: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits [n, M] and the gates [n, M, 4]."""
        x = self.embedding(index).flatten(1)
        h = self.share_mlp(x)
        shared = h @ self.d_kernel + self.d_bias
        specific = _gathered(h, self.d_a, self.d_b, self.d_own, scenario)
        fused = torch.relu(shared + specific)
        gates = self.gates(index, x)
        logits = []
        for m in range(self.tasks):
            task = torch.full_like(scenario, m)

            def both(values: Tensor) -> Tensor:
                return values @ self.t_kernel + self.t_bias

            def own(values: Tensor, task: Tensor = task) -> Tensor:
                return _gathered(values, self.t_a, self.t_b, self.t_own, task)

            flows = torch.cat([both(shared), own(specific), own(shared), both(specific)], dim=1)
            removed = (gates[:, m] * flows).sum(1, keepdim=True)
            logits.append(both(fused) + own(fused) - removed)
        return torch.cat(logits, dim=1), gates

    def gates(self, index: Tensor, x: Tensor) -> Tensor:
        """Return how much of each flow is removed, [n, M, 4], for inputs ``x`` [n, F · dim]."""
        seen = self.gate_embedding(index).flatten(1) if self.ticket else x.detach()
        said = self.gate_hypernet(seen)
        logits = torch.stack([head(said) for head in self.gate_heads], dim=1)
        if self.ticket:
            return (logits > 0).to(logits.dtype)
        return torch.sigmoid(self.temperature * logits)

    def harden(self) -> None:
        """Go on to retraining: hard gates that read the embeddings as the search left them."""
        with torch.no_grad():
            self.gate_embedding.weight.copy_(self.embedding.weight)
        self.ticket = True


class LiteralSteps:
    """The training step of either stage with the optimisers of the paper's code."""

    def __init__(self, model: LiteralAutoIFS, published: Published) -> None:
        """Build the optimisers for the stage that ``model`` is in."""
        self.model, self.published = model, published
        named = list(model.named_parameters())
        weights = [one for name, one in named if "gate" not in name]
        gates = [one for name, one in named if "gate" in name and one.requires_grad]
        rate, decay = published.learning_rate, published.weight_decay
        if model.ticket:
            rate, decay = published.retrain_rate, published.retrain_decay
        self.optimisers = [torch.optim.Adam(weights, lr=rate, weight_decay=decay)]
        if not model.ticket:
            self.optimisers.append(torch.optim.Adam(gates, lr=published.gate_rate))

    def step(self, index: Tensor, scenario: Tensor, labels: Tensor) -> Tensor:
        """Take one step on ``n`` rows with labels [n, M] and return the loss."""
        logits, gates = self.model.parts(index, scenario)
        loss = (
            functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
            .mean(0)
            .sum()
            + self.published.price * gates.mean((0, 2)).sum()
        )
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in self.optimisers:
            optimiser.step()
        return loss.detach()


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


def _unit(width: int, out: int, parts: int, rank: int) -> list[nn.Parameter]:
    """Return kernel, bias, A [parts, width, rank], B [parts, rank, out] and the parts' biases."""
    kernel, down = torch.empty(width, out), torch.empty(parts, width, rank)
    nn.init.xavier_normal_(kernel)
    nn.init.xavier_normal_(down)
    zeros = [torch.zeros(out), torch.zeros(parts, rank, out), torch.zeros(parts, out)]
    return [nn.Parameter(one) for one in (kernel, zeros[0], down, zeros[1], zeros[2])]


def _gathered(h: Tensor, down: Tensor, up: Tensor, bias: Tensor, part: Tensor) -> Tensor:
    """Return ``(h A_p) B_p + c_p`` with each row's own matrices gathered, [n, out]."""
    low = torch.bmm(h[:, None], down[part])
    return torch.bmm(low, up[part])[:, 0] + bias[part]
