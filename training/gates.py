"""Which share of each flow is kept: a coefficient a cell and flow, or a small net's word a row."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from features.spec.layout import FLOWS
from training.architecture import Architecture

START = -1.0
"""Logit a removal gate starts at: on the keeping side, too far for noise to prune."""
GATE_WIDTH = 32
"""Width of the instance gates' hidden layer."""


class Gates(Protocol):
    """What AutoIFS asks of its gates."""

    hard: bool

    def __call__(self, x: Tensor, scenario: Tensor) -> Tensor:
        """Return how much of each flow is kept, [n, M, 4]."""
        ...


class Coefficients(nn.Module):
    """A strength in [0, 1] for every scenario, task and flow; 0 is a pruned flow.

    They start at 1 and are boxed by the search after each step; retraining holds them still.
    """

    def __init__(self, scenarios: int, tasks: int) -> None:
        """Build coefficients for ``scenarios`` × ``tasks`` cells, all 1."""
        super().__init__()
        self.strength = nn.Parameter(torch.ones(scenarios, tasks, len(FLOWS)))
        self.hard = False

    def forward(self, _: Tensor, scenario: Tensor) -> Tensor:
        """Return the strengths of each row's cells, [n, M, 4]."""
        return self.strength[scenario]

    @torch.no_grad()
    def shrink(self, price: float) -> None:
        """Take ``price`` off every coefficient and put it back into [0, 1]."""
        self.strength.sub_(price).clamp_(0.0, 1.0)


class Removal(nn.Module):
    """Gates of the paper's form: 1 means the flow is REMOVED, so what is kept is 1 - gate.

    While searching the gate is ``sigmoid(temperature · logit)``; when hard it is ``logit > 0``.
    """

    def __init__(self) -> None:
        """Build soft gates at temperature 1."""
        super().__init__()
        # A buffer, so that a checkpoint holds it; no artifact does, for there gates are hard.
        self.heat = nn.Buffer(torch.ones(()), persistent=False)
        self.hard = False

    @property
    def temperature(self) -> float:
        """How sharply soft gates tell keeping from removing."""
        return float(self.heat)

    @temperature.setter
    def temperature(self, value: float) -> None:
        self.heat.fill_(value)

    def logits(self, x: Tensor, scenario: Tensor) -> Tensor:
        """Return the removal logits of each row, [n, M, 4]."""
        raise NotImplementedError

    def forward(self, x: Tensor, scenario: Tensor) -> Tensor:
        """Return how much of each flow is kept, [n, M, 4]."""
        logits = self.logits(x, scenario)
        if self.hard:
            return (logits <= 0).to(x.dtype)
        return torch.sigmoid(-self.heat * logits)


class TableRemoval(Removal):
    """One removal logit for every scenario, task and flow."""

    def __init__(self, scenarios: int, tasks: int) -> None:
        """Build gates for ``scenarios`` × ``tasks`` cells, all keeping."""
        super().__init__()
        self.table = nn.Parameter(torch.full((scenarios, tasks, len(FLOWS)), START))

    def logits(self, x: Tensor, scenario: Tensor) -> Tensor:
        """Return the logits of each row's cells."""
        return self.table[scenario]


class NetRemoval(Removal):
    """Removal logits from a small net over the scenario and (part of) the network's input.

    No gradient flows through what it reads: the paper's gates have a trunk and, in retraining, an
    embedding table of their own, as large as the network's; these read the model's, detached.
    """

    def __init__(
        self, width: int, scenarios: int, tasks: int, columns: Sequence[int] | None
    ) -> None:
        """Build a net.

        Args:
            width: of the network's input.
            scenarios: K.
            tasks: M.
            columns: of the input that it reads; None: all of them.
        """
        super().__init__()
        self.tasks, self.scenarios = tasks, scenarios
        self.columns = columns
        self.net = nn.Sequential(
            nn.Linear((width if columns is None else len(columns)) + scenarios, GATE_WIDTH),
            nn.ReLU(),
            nn.Linear(GATE_WIDTH, tasks * len(FLOWS)),
        )
        last = self.net[2]
        nn.init.constant_(last.bias, START)  # type: ignore[arg-type]

    def logits(self, x: Tensor, scenario: Tensor) -> Tensor:
        """Return the net's logits, [n, M, 4]."""
        chosen = nn.functional.one_hot(scenario, self.scenarios).to(x.dtype)
        seen = x.detach() if self.columns is None else x.detach()[:, list(self.columns)]
        said: Tensor = self.net(torch.cat([seen, chosen], dim=1))
        return said.view(len(x), self.tasks, len(FLOWS))


def gates_of(a: Architecture, context: Sequence[int]) -> Coefficients | Removal:
    """Return the gates that ``a`` asks for; context gates read those columns of the input."""
    if a.gates == "strength":
        return Coefficients(a.scenarios, a.tasks)
    if a.gates == "table":
        return TableRemoval(a.scenarios, a.tasks)
    return NetRemoval(a.width, a.scenarios, a.tasks, context if a.gates == "context" else None)
