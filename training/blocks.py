"""The parts networks are built from: trunk, scenario layers, task layers and heads."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


def trunk(width: int, widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Return layers with ReLU and dropout after each, from ``width`` to the last of ``widths``."""
    layers: list[nn.Module] = []
    for before, after in zip((width, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
        if dropout:
            layers.append(Dropout(dropout))
    return nn.Sequential(*layers)


class Dropout(nn.Module):
    """Dropout from random bytes: torch draws a double a value, a fifth of a training step on a CPU.

    The share dropped is rounded to a 256th, and the scale matches the rounded share.
    """

    def __init__(self, share: float) -> None:
        """Drop about ``share`` of the values while training."""
        super().__init__()
        self.cut = round(share * 256)

    def forward(self, values: Tensor) -> Tensor:
        """Return ``values``, or while training the kept ones scaled up and the others 0."""
        if not self.training or not self.cut:
            return values
        words = torch.empty(-(-values.numel() // 8), dtype=torch.int64, device=values.device)
        drawn = words.random_(-(2**63), None).view(torch.uint8)[: values.numel()]
        kept = (drawn >= self.cut).view(values.shape)
        return values * (kept.to(values.dtype) * (256 / (256 - self.cut)))


class ScenarioLayer(nn.Module):
    """A layer with a part for all scenarios and a low-rank part for each.

    ``shared = h W + b`` and ``specific = (h A_k) B_k + c_k`` for the row's scenario ``k``, both
    before any activation, from two matrix products for all scenarios at once.
    """

    def __init__(
        self, width: int, out: int, scenarios: int, rank: int, *, spread: float = 0.0
    ) -> None:
        """Build the layer.

        Args:
            width: of the input.
            out: width of both outputs.
            scenarios: K.
            rank: of a scenario's own part.
            spread: scale of the specific part at the start, in units of the shared part's; at 0
                every scenario starts as the shared model.
        """
        super().__init__()
        self.rank, self.scenarios, self.out = rank, scenarios, out
        self.shared = nn.Linear(width, out)
        self.down = nn.Parameter(torch.randn(width, scenarios * rank) / width**0.5)
        self.up = nn.Parameter(torch.randn(scenarios * rank, out) * (spread / (3 * rank) ** 0.5))
        self.bias = nn.Parameter(torch.zeros(scenarios, out))

    def own(self, scenario: int) -> tuple[Tensor, Tensor]:
        """Return a scenario's matrices ``A_k`` [width, rank] and ``B_k`` [rank, out]."""
        mine = slice(scenario * self.rank, (scenario + 1) * self.rank)
        return self.down[:, mine], self.up[mine]

    def forward(self, h: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(shared, specific)``, each [n, out].

        Args:
            h: [n, width].
            chosen: [n, K], the row's scenario as one-hot.
        """
        both = h @ torch.cat([self.shared.weight.t(), self.down], dim=1)
        low = both[:, self.out :].view(len(h), self.scenarios, self.rank) * chosen[:, :, None]
        specific = torch.cat([low.flatten(1), chosen], dim=1) @ torch.cat([self.up, self.bias])
        return both[:, : self.out] + self.shared.bias, specific


class TaskUnits(nn.Module):
    """From a scenario part to logits: one way that all tasks share, and each task's own.

    Both go through the hidden layers apart. The heads at the end are one wide.
    """

    def __init__(
        self, width: int, hidden: Sequence[int], ranks: Sequence[int], tasks: int, *, spread: float
    ) -> None:
        """Build units that read ``width`` values; see :class:`TaskLayer` for the rest."""
        super().__init__()
        widths = (width, *hidden)
        self.layers = nn.ModuleList(
            TaskLayer(before, after, tasks, rank, spread=spread)
            for before, after, rank in zip(widths, hidden, ranks, strict=False)
        )
        self.heads = TaskHeads(widths[-1], tasks)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the shared unit [n, 1] and the tasks' own units [n, M] say of [n, width]."""
        if not self.layers:
            return cast(tuple[Tensor, Tensor], self.heads(values))
        return self.common(values) @ self.heads.shared[:, None], self.heads.own(self.own(values))

    def joined(self, values: Tensor) -> Tensor:
        """Return what both say [n, M] when they join in every hidden layer."""
        if not self.layers:
            both, own = self(values)
            return cast(Tensor, both + own)
        each = values[:, None]
        for layer in self._hidden:
            each = torch.relu(layer.shared(each) + layer.own(each))
        return each @ self.heads.shared + self.heads.own(each)

    def common(self, values: Tensor) -> Tensor:
        """Return what the shared unit's head reads, [n, H]."""
        for layer in self._hidden:
            values = torch.relu(layer.shared(values))
        return values

    def own(self, values: Tensor) -> Tensor:
        """Return what the tasks' own heads read, [n, M, H]; [n, 1, H] without hidden layers."""
        each = values[:, None]
        for layer in self._hidden:
            each = torch.relu(layer.own(each))
        return each

    @property
    def _hidden(self) -> list["TaskLayer"]:
        return cast(list[TaskLayer], list(self.layers))


class TaskLayer(nn.Module):
    """A hidden layer of the task units: a part for all tasks and a low-rank part for each.

    Unlike in a scenario layer every row has all tasks, and what is shared and what is a task's own
    go separate ways from the first layer to the last.
    """

    def __init__(self, width: int, out: int, tasks: int, rank: int, *, spread: float = 0.0) -> None:
        """Build the layer.

        Args:
            width: of the input.
            out: width of both outputs.
            tasks: M.
            rank: of a task's own part.
            spread: scale of the own part at the start, in units of the shared part's.
        """
        super().__init__()
        self.shared = nn.Linear(width, out)
        self.down = nn.Parameter(torch.randn(tasks, width, rank) / width**0.5)
        self.up = nn.Parameter(torch.randn(tasks, rank, out) * (spread / (3 * rank) ** 0.5))
        self.bias = nn.Parameter(torch.zeros(tasks, out))

    def own(self, values: Tensor) -> Tensor:
        """Return each task's own part [n, M, out] of [n, M, width], or of [n, 1, width]."""
        wide = values.expand(-1, len(self.down), -1)
        low = torch.einsum("nmi,mir->nmr", wide, self.down)
        return torch.einsum("nmr,mro->nmo", low, self.up) + self.bias


class TaskHeads(nn.Module):
    """One vector for all tasks and one for each: full vectors, since a head is one wide."""

    def __init__(self, width: int, tasks: int) -> None:
        """Build heads that read ``width`` values for each of ``tasks``."""
        super().__init__()
        self.shared = nn.Parameter(torch.empty(width).uniform_(-1, 1) / width**0.5)
        self.specific = nn.Parameter(torch.empty(tasks, width).uniform_(-1, 1) / width**0.5)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the shared vector [n, 1] and the tasks' own vectors [n, M] say of [n, H]."""
        said = functional.linear(values, torch.cat([self.shared[None], self.specific]))
        return said[:, :1], said[:, 1:]

    @torch.no_grad()
    def scale(self, factor: Tensor) -> None:
        """Make everything the heads say ``factor`` times as large."""
        self.shared.mul_(factor)
        self.specific.mul_(factor)

    def own(self, values: Tensor) -> Tensor:
        """Return what each task's own vector says of its own values [n, M, H], or [n, 1, H]."""
        return (values * self.specific).sum(2)
