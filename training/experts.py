"""Parts that the models of the zoo share: banks of layers, gates, towers, a scenario's layers."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from training.architecture import Architecture
from training.blocks import Dropout
from training.embeddings import Embeddings
from training.prepare import Inputs


def narrowed(widths: Sequence[int], networks: int) -> tuple[int, ...]:
    """Return widths at which ``networks`` nets side by side cost about as much as one.

    A layer between two hidden ones costs the product of their widths, so each shrinks by the root;
    the first layer, which reads the input, gets that root dearer.

    >>> narrowed((256, 128), 4)
    (128, 64)
    """
    return tuple(max(1, round(width / networks**0.5)) for width in widths)


class Reader(nn.Module):
    """The network's input: every embedding, every number, and the scenario if it is a feature."""

    def __init__(self, a: Architecture, *, scenario: bool = False) -> None:
        """Build the embeddings; with ``scenario``, it is read as one-hot beside them."""
        super().__init__()
        self.embeddings = Embeddings(a.sizes, a.dims, a.bags)
        self.scenarios = a.scenarios if scenario else 0
        self.width = a.width + self.scenarios

    def forward(self, inputs: Inputs) -> Tensor:
        """Return [n, width]."""
        read = [self.embeddings(inputs), inputs.numbers]
        if self.scenarios:
            read.append(nn.functional.one_hot(inputs.scenario, self.scenarios).to(read[0].dtype))
        return torch.cat(read, dim=1)


class Bank(nn.Module):
    """G linear layers side by side, in one product: ``out_g = x_g W_g + b_g``."""

    def __init__(self, groups: int, width: int, out: int) -> None:
        """Build ``groups`` layers from ``width`` to ``out``, each as ``nn.Linear`` starts."""
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(groups, width, out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(groups, 1, out).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        """Return [n, G, out] of values [n, width], which all layers read, or [n, G, width]."""
        if values.dim() == 3:
            return torch.baddbmm(self.bias, values.transpose(0, 1), self.weight).transpose(0, 1)
        groups, _, out = self.weight.shape
        said = values @ self.weight.transpose(0, 1).flatten(1)
        return said.view(len(values), groups, out) + self.bias[:, 0]


class Mlps(nn.Module):
    """G networks side by side, ReLU and dropout after every layer."""

    def __init__(self, groups: int, width: int, widths: Sequence[int], dropout: float) -> None:
        """Build ``groups`` networks from ``width`` to the last of ``widths``, if there is one."""
        super().__init__()
        steps = pairwise((width, *widths))
        self.layers = nn.ModuleList(Bank(groups, before, after) for before, after in steps)
        self.dropout = Dropout(dropout)
        self.out = widths[-1] if widths else width

    def forward(self, values: Tensor) -> Tensor:
        """Return [n, G, out] of values [n, width] or [n, G, width]."""
        for layer in self.layers:
            values = self.dropout(torch.relu(layer(values)))
        return values


class Gates(nn.Module):
    """Softmax gates: what each of G mixtures takes of a number of experts."""

    def __init__(self, groups: int, width: int, experts: int) -> None:
        """Build ``groups`` gates that read ``width`` values and share out ``experts``."""
        super().__init__()
        self.layer = Bank(groups, width, experts)

    def forward(self, values: Tensor) -> Tensor:
        """Return shares [n, G, experts] of values [n, width] or [n, G, width]; they sum to 1."""
        return torch.softmax(self.layer(values), dim=2)


class Grouping:
    """A batch's rows brought together by scenario, for layers that a scenario owns, and back."""

    def __init__(self, scenario: Tensor, scenarios: int) -> None:
        """Sort rows whose scenarios are ``scenario`` [n]."""
        self.scenario, self.scenarios = scenario, scenarios
        if torch.compiler.is_exporting():
            return
        self.order = torch.argsort(scenario, stable=True)
        self.back = torch.argsort(self.order)
        self.counts: list[int] = torch.bincount(scenario, minlength=scenarios).tolist()

    def apply(self, layer: Callable[[int, Tensor], Tensor], values: Tensor) -> Tensor:
        """Return ``layer(k, rows)`` of each scenario's rows, in the order of ``values`` [n, …].

        A scenario without a row costs nothing. In an exported program, whose shapes may not depend
        on the rows' values, every scenario's layer gets every row instead.
        """
        if torch.compiler.is_exporting():
            every = torch.stack([layer(k, values) for k in range(self.scenarios)])
            return every[self.scenario, torch.arange(len(values), device=values.device)]
        parts = torch.split(values.index_select(0, self.order), self.counts)
        done = [layer(k, rows) for k, rows in enumerate(parts) if len(rows)]
        if not done:
            return layer(0, values)
        return torch.cat(done).index_select(0, self.back)


class Owned(nn.Module):
    """One module for each scenario; a row goes through its own alone."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        """Take the modules in the order of the scenarios."""
        super().__init__()
        self.each = nn.ModuleList(modules)

    def forward(self, values: Tensor, grouping: Grouping) -> Tensor:
        """Return what each row's module says of values [n, …]."""
        return grouping.apply(lambda k, rows: self.each[k](rows), values)


class StarLayer(nn.Module):
    """A layer of STAR: ``out = x (W ∘ W_k) + b + b_k`` for a row of scenario ``k``.

    ``W_k`` starts at 1 and ``b_k`` at 0, so that every scenario starts as the shared layer.
    """

    def __init__(self, width: int, out: int, scenarios: int) -> None:
        """Build a layer from ``width`` to ``out`` for K ``scenarios``."""
        super().__init__()
        self.shared = nn.Linear(width, out)
        self.weight = nn.Parameter(torch.ones(scenarios, out, width))
        self.bias = nn.Parameter(torch.zeros(scenarios, out))

    def forward(self, values: Tensor, grouping: Grouping) -> Tensor:
        """Return [n, out] of values [n, width], before any activation."""

        def own(k: int, rows: Tensor) -> Tensor:
            weight = self.shared.weight * self.weight[k]
            return nn.functional.linear(rows, weight, self.shared.bias + self.bias[k])

        return grouping.apply(own, values)


class CellHeads(nn.Module):
    """One linear head a cell; a row reads its scenario's."""

    def __init__(self, width: int, scenarios: int, tasks: int) -> None:
        """Build K · M heads that read ``width`` values."""
        super().__init__()
        self.heads = Bank(tasks, width, scenarios)

    def forward(self, values: Tensor, scenario: Tensor) -> Tensor:
        """Return [n, M] of values [n, width], which all tasks read, or [n, M, width]."""
        every = self.heads(values)
        place = scenario[:, None, None].expand(-1, every.shape[1], 1)
        own: Tensor = every.gather(2, place).squeeze(2)
        return own


class Towers(nn.Module):
    """A small network a task, ending in one head a cell."""

    def __init__(self, width: int, a: Architecture) -> None:
        """Build M towers of the architecture's tower widths on ``width`` values."""
        super().__init__()
        self.towers = Mlps(a.tasks, width, a.towers, a.dropout)
        self.heads = CellHeads(self.towers.out, a.scenarios, a.tasks)

    def forward(self, values: Tensor, scenario: Tensor) -> Tensor:
        """Return the logits [n, M] of values [n, M, width]."""
        said: Tensor = self.heads(self.towers(values), scenario)
        return said


class CGC(nn.Module):
    """Customized gate control: each task mixes an expert of its own with the shared ones.

    The extraction layer of PLE (Tang et al., RecSys 2020, https://doi.org/10.1145/3383313.3412236).
    """

    SHARED = 2
    """Experts all tasks share; a task has one of its own."""

    def __init__(self, width: int, widths: Sequence[int], a: Architecture, *, last: bool) -> None:
        """Build experts from ``width`` to the last of ``widths``.

        Args:
            width: of the input.
            widths: of an expert's layers.
            a: says how many tasks.
            last: whether no layer follows, so that nothing mixes experts for all tasks.
        """
        super().__init__()
        self.own = Mlps(a.tasks, width, widths, a.dropout)
        self.common = Mlps(self.SHARED, width, widths, a.dropout)
        self.gates = Gates(a.tasks, width, 1 + self.SHARED)
        self.common_gate = None if last else Gates(1, width, a.tasks + self.SHARED)

    def forward(self, own: Tensor, common: Tensor) -> tuple[Tensor, Tensor]:
        """Return what goes on for each task [n, M, out] and for all [n, out].

        Args:
            own: what the tasks' experts and gates read, [n, M, width], or [n, width] for all.
            common: what the shared experts and gate read, [n, width].
        """
        mine, shared = self.own(own), self.common(common)
        share = self.gates(own)
        mixed = share[:, :, :1] * mine + share[:, :, 1:] @ shared
        if self.common_gate is None:
            return mixed, common
        every = torch.cat([mine, shared], dim=1)
        return mixed, (self.common_gate(common) @ every).squeeze(1)
