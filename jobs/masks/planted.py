"""Data whose flows are known: a cell's logit is the sum of a random subset of the four flows.

Dense inputs, so that embeddings are not what limits a model; a shared representation and one for
each scenario, a vector for all tasks and one for each, as in AutoIFS itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from features.spec import FLOWS
from training.prepare import Inputs
from training.rows import Examples

WIDTH = 32
"""Of the input."""
SHARES = (0.7, 0.2, 0.08, 0.02)
"""Of the scenarios."""
TASKS = 3
SHARED, OWN = 16, 4
"""Widths of the shared representation and of a scenario's own; AutoIFS can hold both."""
SPREAD = 3.0
"""Standard deviation of the true logits, about."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Rows to learn from, rows to judge by, and the truth."""

    train: Examples
    validate: Examples
    test: Examples
    """As many rows of each scenario, so that a small one is judged as well as a large one."""
    chances: Tensor
    """[n, M] true probabilities of the test rows' labels."""
    truth: Tensor
    """[K, M, 4] 1 where a cell has the flow, else 0."""

    @property
    def cells(self) -> tuple[tuple[bool, ...], ...]:
        """[K][M]: every scenario has every task."""
        return ((True,) * TASKS,) * len(SHARES)


def plant(seed: int, *, train: int, validate: int, test: int) -> Planted:
    """Return the data of a seed, with so many rows of each kind."""
    g = torch.Generator().manual_seed(seed)
    scenarios, learned = len(SHARES), train + validate
    shared = torch.randn(WIDTH, SHARED, generator=g)
    own = torch.randn(scenarios, WIDTH, OWN, generator=g)
    both = torch.randn(SHARED, generator=g)
    each = torch.randn(TASKS, SHARED, generator=g)
    truth = (torch.rand(scenarios, TASKS, len(FLOWS), generator=g) < 0.5).float()
    truth[truth.sum(2) == 0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    x = torch.randn(learned + test, WIDTH, generator=g)
    k = torch.cat(
        [
            torch.multinomial(torch.tensor(SHARES), learned, True, generator=g),
            torch.arange(test) % scenarios,
        ]
    )
    s = torch.relu(x @ shared / WIDTH**0.5)
    z = torch.relu(torch.einsum("nd,kdh->nkh", x, own) / WIDTH**0.5)[torch.arange(len(k)), k]
    flows = torch.stack(
        [
            (s @ both)[:, None].expand(-1, TASKS),
            z @ each[:, :OWN].t(),
            s @ each.t(),
            (z @ both[:OWN])[:, None].expand(-1, TASKS),
        ],
        dim=2,
    )
    flows = (flows - flows[:learned].mean(0)) / flows[:learned].std(0)
    chances = torch.sigmoid(SPREAD * (truth[k] * flows).sum(2) / truth[k].sum(2).sqrt())
    labels = (torch.rand(chances.shape, generator=g) < chances).float()
    rows = Examples(Inputs(k, torch.zeros(len(k), 0, dtype=torch.int32), x), labels)
    cuts = [torch.arange(train), torch.arange(train, learned), torch.arange(learned, len(k))]
    parts = [rows.take(cut) for cut in cuts]
    return Planted(
        train=parts[0],
        validate=parts[1],
        test=parts[2],
        chances=chances[learned:],
        truth=truth,
    )
