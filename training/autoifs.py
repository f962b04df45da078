"""AutoIFS for any number of scenarios and tasks: four information flows a cell, some pruned."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from training.architecture import Architecture
from training.blocks import ScenarioLayer, TaskUnits, trunk
from training.embeddings import Embeddings
from training.gates import Coefficients, Removal, TableRemoval, gates_of
from training.model import Begin, Model
from training.prepare import Inputs

ALIVE = 1e-3
"""What a new scenario's own part says of every row."""


class AutoIFS(Model):
    """A trunk, scenario layers, task layers and heads, and gates between scenarios and tasks.

    Forms (arXiv 2512.13396, generalised to K × M):

    - ``additive``: ``logit = Σ_j keep_j f_j + bias_km``; the activation is applied to the shared
      and the specific part apart, so that a pruned flow is really gone.
    - ``official``: ``logit = fused - Σ_j (1 - keep_j) f_j`` with flows before the activation.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the network with fresh weights from torch's generator."""
        super().__init__(architecture)
        a = architecture
        self.embeddings = Embeddings(a.sizes, a.dims, a.bags)
        self.trunk = trunk(a.width, a.trunk, a.dropout)
        widths = (a.trunk[-1] if a.trunk else a.width, *a.scenario)
        # A specific part that starts at exactly 0 gets no gradient through its own ReLU, so the
        # last layer of the additive form starts with a small one.
        last = len(a.scenario) - 1
        self.layers = nn.ModuleList(
            ScenarioLayer(
                before,
                after,
                a.scenarios,
                rank,
                spread=1.0 if a.form == "additive" and place == last else 0.0,
            )
            for place, (before, after, rank) in enumerate(
                zip(widths, a.scenario, a.rank, strict=False)
            )
        )
        self.units = TaskUnits(
            widths[-1],
            a.task,
            a.rank[len(a.scenario) :],
            a.tasks,
            spread=1.0 if a.form == "additive" else 0.0,
        )
        if a.form == "additive":
            self.cell_bias = nn.Parameter(torch.zeros(a.scenarios, a.tasks))
        else:
            self.shared_bias = nn.Parameter(torch.zeros(1))
            self.task_bias = nn.Parameter(torch.zeros(a.tasks))
        self.gates = gates_of(a, self._context())

    def _context(self) -> list[int]:
        """Return the columns of the network's input that context gates read."""
        a = self.architecture
        found: list[int] = []
        for place in a.context:
            number = place - len(a.sizes)
            if number < 0:
                columns = self.embeddings.place(place)
                found += range(columns.start, columns.stop)
            else:
                found.append(sum(a.dims) + number)
        return found

    def new_scenario(self) -> Mapping[str, Begin]:
        """Return that a new scenario begins as the shared model: nothing specific is said of it."""
        begins: dict[str, Begin] = {}
        last = len(self.layers) - 1
        for place in range(len(self.layers)):
            # Were it 0, no gradient would pass the activation that is its own.
            own = self.architecture.form == "additive" and place == last
            begins[f"layers.{place}.down"] = Begin(1, fresh=True)
            begins[f"layers.{place}.up"] = Begin(0, 0.0)
            begins[f"layers.{place}.bias"] = Begin(0, ALIVE if own else 0.0)
        if self.architecture.form == "additive":
            begins["cell_bias"] = Begin(0)
        return begins

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]."""
        return self.parts(inputs)[0]

    def parts(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``(logits [n, M], flows [n, M, 4], kept share of each flow [n, M, 4])``."""
        x = self.embed(inputs)
        base, flows = self.branches(self.trunk(x), inputs.scenario)
        keep = self.gates(x, inputs.scenario)
        return base + (keep * flows).sum(2), flows, keep

    def embed(self, inputs: Inputs) -> Tensor:
        """Return the network's input: every embedding, then every number."""
        return torch.cat([self.embeddings(inputs), inputs.numbers], dim=1)

    def branches(self, h: Tensor, scenario: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is left without any flow [n, M], and the flows [n, M, 4], of a trunk's ``h``.

        A logit is the first plus the sum of the flows, each times the share of it that is kept.
        """
        shared, specific = self._scenario_parts(h, scenario)
        if self.architecture.form == "additive":
            return self.cell_bias[scenario], self._flows(torch.relu(shared), torch.relu(specific))
        flows = self._flows(shared, specific)
        fused = self.units.joined(torch.relu(shared + specific))
        return fused + self.shared_bias + self.task_bias - flows.sum(2), flows

    def _scenario_parts(self, h: Tensor, scenario: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shared and specific part of the last layer, before the activation."""
        chosen = nn.functional.one_hot(scenario, self.architecture.scenarios).to(h.dtype)
        *before, last = self.layers
        for layer in before:
            shared, specific = layer(h, chosen)
            h = torch.relu(shared + specific)
        return cast(tuple[Tensor, Tensor], last(h, chosen))

    def _flows(self, shared: Tensor, specific: Tensor) -> Tensor:
        """Return what both task units say of both scenario parts, [n, M, 4]."""
        both_s, own_s = self._said(shared)
        both_k, own_k = self._said(specific)
        wide = own_s.shape
        return torch.stack([both_s.expand(wide), own_k, own_s, both_k.expand(wide)], dim=2)

    def _said(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the shared unit [n, 1] and the tasks' own [n, M] say, biases in."""
        both, own = self.units(values)
        if self.architecture.form == "additive":
            return both, own
        return both + self.shared_bias, own + self.task_bias

    def gate_parameters(self) -> list[nn.Parameter]:
        """Return the gates' parameters, also while they are held still."""
        return list(cast(nn.Module, self.gates).parameters())

    @property
    def coefficients(self) -> Coefficients | None:
        """The boxed coefficients, when that is how this model keeps its flows."""
        return self.gates if isinstance(self.gates, Coefficients) else None

    @property
    def removal(self) -> Removal | None:
        """The removal gates, when that is how this model keeps its flows."""
        return self.gates if isinstance(self.gates, Removal) else None

    def table(self) -> Tensor | None:
        """Return the kept strength of each cell's flows [K, M, 4]; None for gates a row each."""
        if isinstance(self.gates, Coefficients):
            return self.gates.strength.detach()
        if isinstance(self.gates, TableRemoval):
            return (self.gates.table.detach() <= 0).to(torch.float32)
        return None

    def harden(self) -> None:
        """End the search: flows stay as the gates now say, and gates are not trained further."""
        self.gates.hard = True
        self.gates.requires_grad_(False)

    def soften(self) -> None:
        """Let the gates be trained."""
        self.gates.hard = False
        self.gates.requires_grad_(True)
