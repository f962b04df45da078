"""TAML: experts of three granularities, and several learners a task that learn from their mean.

Liu et al., "Task Adaptive Multi-learner Network for Joint CTR and CVR Estimation", WWW 2023
Companion, https://doi.org/10.1145/3543873.3584653. There is no public code. What the paper's
abstract says: experts at different levels of granularity represent what tasks share and what they
do not; each task has several learners whose predictions are fused; the fused score teaches every
learner. What is reconstructed here: which granularities (all, a task, a cell), the gate, that
probabilities are averaged, and the weights of the losses.
"""

import torch
from torch import Tensor

from training.architecture import Architecture
from training.cascade import mean_logits
from training.experts import CellHeads, Gates, Grouping, Mlps, Owned, Reader, narrowed
from training.losses import masked_loss
from training.model import Model
from training.prepare import Inputs

SHARED = 2
"""Experts for all; a task has one and a cell has one."""
LEARNERS = 3
DISTILLATION = 0.5
"""Weight of the learners' divergence from what they say together."""


class TAML(Model):
    """``h_m = softmax(x G_m) · [E_all, E_m, E_km]``, then N towers a task; p is their mean."""

    def __init__(self, architecture: Architecture) -> None:
        """Build the network with fresh weights; learners differ in theirs alone."""
        super().__init__(architecture)
        a = architecture
        self.reader = Reader(a, scenario=True)
        width = self.reader.width
        widths = narrowed(a.experts, SHARED + 2 * a.tasks)
        self.shared = Mlps(SHARED, width, widths, a.dropout)
        self.tasks = Mlps(a.tasks, width, widths, a.dropout)
        self.cells = Owned([Mlps(a.tasks, width, widths, a.dropout) for _ in range(a.scenarios)])
        self.gates = Gates(a.tasks, width, SHARED + 2)
        learners = LEARNERS * a.tasks
        self.towers = Mlps(learners, widths[-1], narrowed(a.towers, LEARNERS), a.dropout)
        self.heads = CellHeads(self.towers.out, a.scenarios, learners)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits of the learners' mean probability, [n, M]."""
        return mean_logits(self.learners(inputs))

    def learners(self, inputs: Inputs) -> Tensor:
        """Return each learner's logits, [n, M, N]."""
        x = self.reader(inputs)
        grouping = Grouping(inputs.scenario, self.architecture.scenarios)
        own = torch.stack([self.tasks(x), self.cells(x, grouping)], dim=2)
        share = self.gates(x)
        mixed = share[:, :, :SHARED] @ self.shared(x)
        mixed = mixed + (share[:, :, None, SHARED:] @ own).squeeze(2)
        every = mixed.repeat_interleave(LEARNERS, dim=1)
        said: Tensor = self.heads(self.towers(every), inputs.scenario)
        return said.view(len(x), self.architecture.tasks, LEARNERS)

    def loss(self, inputs: Inputs, labels: Tensor, weights: Tensor) -> Tensor:
        """Return the cross-entropy of the mean and of each learner, and their divergence from it.

        The divergence is ``KL(sg(p) ‖ p_n)``, mean over learners, where the label is known.
        """
        logits = self.learners(inputs)
        together = mean_logits(logits)
        taught = torch.where(labels.isnan(), labels, torch.sigmoid(together.detach()))
        entropy = masked_loss(together.detach(), taught, weights)
        apart = [masked_loss(one, labels, weights) for one in logits.unbind(2)]
        drawn = [masked_loss(one, taught, weights) - entropy for one in logits.unbind(2)]
        of_mean = masked_loss(together, labels, weights)
        return of_mean + torch.stack(apart).mean() + DISTILLATION * torch.stack(drawn).mean()
