"""CausalInt: a representation free of the scenario, one of the scenario, and transfer between them.

Wang et al., "CausalInt: Causal Inspired Intervention for Multi-Scenario Recommendation", KDD 2022,
https://doi.org/10.1145/3534678.3539221. There is no official code, and the one public port leaves
three of its parts out. What the paper says: the two representations are pulled apart by orthogonal
gradients, conflicts are lessened by a meta-learning step and by orthogonal gradients of the
scenarios, and TransNet imagines the row in each other scenario. What is reconstructed here: K × M
cells; the meta-learning step (see ``_stepped``); which representation the scenarios' gradients are
taken at (the invariant one); all losses weigh 1; no batch norm, so that rows stay apart.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.architecture import Architecture
from training.blocks import trunk
from training.experts import Bank, CellHeads, Reader, narrowed
from training.losses import masked_loss
from training.model import Model
from training.prepare import Inputs

STEP = 0.1
"""Rate of the inner step."""
SIDE = 8
"""TransNet's matrix is SIDE × SIDE."""


class CausalInt(Model):
    """Two networks of the input, z_I for all scenarios and z_S for the row's, and TransNet.

    ``T = Σ_p q_p h_p`` with ``q = softmax(C z_S)`` and ``h_p = LeakyReLU(G_p z_S)``, which trains
    only scenario p's own rows; ``logit_km = C_km ((W z_I)ᵀ T)``.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the network with fresh weights."""
        super().__init__(architecture)
        a = architecture
        self.reader = Reader(a)
        widths = narrowed((*a.trunk, *a.scenario), 2)
        self.invariant, self.specific = (self._encoder(widths) for _ in range(2))
        size = widths[-1]
        self.invariant_heads = nn.Linear(size, a.tasks)
        self.combined_heads = nn.Linear(2 * size, a.tasks)
        self.classifier = nn.Linear(size, a.scenarios) if a.scenarios > 1 else None
        self.imagine = Bank(a.scenarios, size, SIDE * SIDE)
        self.enter = nn.Linear(size, SIDE)
        self.heads = CellHeads(SIDE, a.scenarios, a.tasks)

    def _encoder(self, widths: tuple[int, ...]) -> nn.Sequential:
        before = (self.reader.width, *widths)[-2]
        hidden = trunk(self.reader.width, widths[:-1], self.architecture.dropout)
        return nn.Sequential(hidden, nn.Linear(before, widths[-1]))

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]."""
        x = self.reader(inputs)
        invariant = self.invariant(x)[:, None].expand(-1, self.architecture.tasks, -1)
        return self._transferred(invariant, self.specific(x), inputs.scenario)

    def loss(self, inputs: Inputs, labels: Tensor, weights: Tensor) -> Tensor:
        """Return the sum of the six losses, two of them on gradients: a step costs about thrice."""
        x = self.reader(inputs)
        x = x if x.requires_grad else x.requires_grad_()
        invariant, specific = self.invariant(x), self.specific(x)
        general = self.invariant_heads(invariant)
        combined = self.combined_heads(torch.cat([invariant, specific], dim=1))
        served = self._transferred(
            self._stepped(invariant, general, labels, weights), specific, inputs.scenario
        )
        of_invariant = masked_loss(general, labels, weights)
        of_served = masked_loss(served, labels, weights)
        total = of_invariant + masked_loss(combined, labels, weights) + of_served
        if self.classifier is None:
            return total
        of_scenario = functional.cross_entropy(self.classifier(specific), inputs.scenario)
        apart = _alignment(of_invariant, of_scenario, x)
        return total + of_scenario + apart + self._conflict(of_served, invariant, inputs.scenario)

    def _transferred(self, invariant: Tensor, specific: Tensor, scenario: Tensor) -> Tensor:
        """Return TransNet's logits [n, M] of representations [n, M, H] and [n, H]."""
        scenarios = self.architecture.scenarios
        imagined = functional.leaky_relu(self.imagine(specific), 0.2)
        own = functional.one_hot(scenario, scenarios)[:, :, None].bool()
        imagined = torch.where(own, imagined, imagined.detach())
        if self.classifier is not None:
            share = torch.softmax(self.classifier(specific), dim=1)
            imagined = share[:, :, None] * imagined
        matrix = imagined.sum(1).view(-1, SIDE, SIDE)
        said: Tensor = self.heads(self.enter(invariant) @ matrix, scenario)
        return said

    def _stepped(
        self, invariant: Tensor, general: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Return the invariant representation [n, M, H] after a task's inner step.

        A step on a row's own representation would write its label into it, and there is no label
        when a row is served. So the step is on the encoder's last bias, with the gradient of the
        other half of the batch; a served row sees no step.
        """
        known = ~labels.isnan()
        miss = torch.where(known, torch.sigmoid(general) - labels.nan_to_num(), 0.0) * weights
        half = torch.arange(len(miss), device=miss.device) % 2
        sides = functional.one_hot(1 - half, 2).to(miss.dtype)
        mean = (sides.t() @ miss) / sides.sum(0).clamp(min=1)[:, None]
        gradient = mean[half][:, :, None] * self.invariant_heads.weight
        return invariant[:, None] - STEP * gradient

    def _conflict(self, loss: Tensor, at: Tensor, scenario: Tensor) -> Tensor:
        """Return how far the scenarios' gradients lie in the span of those before (Gram-Schmidt).

        The directions of earlier scenarios are held still; so the order of scenarios matters, as it
        does in the paper.
        """
        (gradient,) = torch.autograd.grad(loss, at, create_graph=True)
        each = gradient.new_zeros(self.architecture.scenarios, gradient.shape[1])
        each = each.index_add(0, scenario, gradient)
        basis = each.new_zeros(0, each.shape[1])
        total = gradient.new_zeros(())
        for one in each:
            inside = (basis @ one) @ basis
            total = total + inside.square().sum() / 2
            direction = functional.normalize((one - inside).detach(), dim=0)
            basis = torch.cat([basis, direction[None]])
        return total


def _alignment(one: Tensor, other: Tensor, at: Tensor) -> Tensor:
    """Return the mean squared cosine between two losses' gradients at each row of ``at``."""
    first, second = (
        functional.normalize(torch.autograd.grad(loss, at, create_graph=True)[0], dim=1)
        for loss in (one, other)
    )
    return (first * second).sum(1).square().mean()
