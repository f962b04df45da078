"""AITM: each task's network is told what the task before it found out.

Xi et al., "Modeling the Sequential Dependence among Audience Multi-step Conversions with Multi-task
Learning in Targeted Display Advertising", KDD 2021, https://doi.org/10.1145/3447548.3467071.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.architecture import Architecture
from training.experts import CellHeads, Mlps, Reader, narrowed
from training.losses import masked_loss
from training.model import Model
from training.prepare import Inputs

CALIBRATION = 0.6
"""Weight of the calibrator, as in the paper."""


class AITM(Model):
    """A network a task over shared embeddings, with information handed from task to task.

    ``z_1 = q_1``; then ``z_m = Attention(relu(z_{m-1} I_m), q_m)``. The calibrator adds
    ``0.6 · mean max(p_m - p_{m-1}, 0)`` to the loss: a later step is no likelier than an earlier
    one. The order of the tasks in the spec is the order of the steps, the first furthest upstream;
    a scenario's tasks are compared with the nearest earlier one that it has.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the network with fresh weights."""
        super().__init__(architecture)
        a = architecture
        self.reader = Reader(a)
        widths = narrowed((*a.trunk, *a.scenario), a.tasks)
        self.networks = Mlps(a.tasks, self.reader.width, widths, a.dropout)
        self.transfers = nn.ModuleList(Transfer(widths[-1]) for _ in range(a.tasks - 1))
        self.heads = CellHeads(widths[-1], a.scenarios, a.tasks)
        self.earlier = [_earlier(row) for row in a.cells]
        """[K][M]: the task each is compared with."""

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]."""
        first, *rest = self.networks(self.reader(inputs)).unbind(1)
        told = [first]
        for transfer, own in zip(self.transfers, rest, strict=True):
            told.append(transfer(told[-1], own))
        said: Tensor = self.heads(torch.stack(told, dim=1), inputs.scenario)
        return said

    def loss(self, inputs: Inputs, labels: Tensor, weights: Tensor) -> Tensor:
        """Return the cross-entropy and the calibrator's mean over rows and tasks."""
        logits = self(inputs)
        p = torch.sigmoid(logits)
        earlier = torch.tensor(self.earlier, device=p.device)[inputs.scenario]
        above = (p - p.gather(1, earlier)).clamp(min=0).mean()
        return masked_loss(logits, labels, weights) + CALIBRATION * above


def _earlier(has: Sequence[bool]) -> list[int]:
    """Return, for each task of a scenario, the nearest earlier one it has; else the task itself."""
    found, last = [], -1
    for task, exists in enumerate(has):
        found.append(last if exists and last >= 0 else task)
        last = task if exists else last
    return found


class Transfer(nn.Module):
    """Adaptive information transfer: attention over what is handed on and what is one's own.

    ``z = Σ_u softmax_u(<h2(u), h3(u)> / √H) h1(u)`` over ``u`` of the two.
    """

    def __init__(self, width: int) -> None:
        """Build the transfer between two networks of ``width``."""
        super().__init__()
        self.hand_on = nn.Linear(width, width)
        self.value, self.key, self.query = (nn.Linear(width, width) for _ in range(3))

    def forward(self, before: Tensor, own: Tensor) -> Tensor:
        """Return [n, H] of what the task before knows and the task's own, [n, H] each."""
        two = torch.stack([torch.relu(self.hand_on(before)), own], dim=1)
        fit = (self.key(two) * self.query(two)).sum(2, keepdim=True) / two.shape[2] ** 0.5
        mixed: Tensor = (torch.softmax(fit, dim=1) * self.value(two)).sum(1)
        return mixed
