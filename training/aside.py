"""The steps, on rows set aside, of the parameters a model learns from them."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from training.average import State
from training.objective import Objective
from training.optimiser import load_into, state_of
from training.ranks import Ranks
from training.rows import Batch, Rows


class Aside:
    """One step on a batch of held-out rows after each step of the other parameters."""

    def __init__(
        self, objective: Objective, rows: Rows, rate: float, seed: int, ranks: Ranks
    ) -> None:
        """Build Adam for what ``objective.model`` holds out, at ``rate``."""
        self.objective, self.rows, self.ranks = objective, rows, ranks
        # A seed of its own: these batches must not follow the order of the others.
        self.seed, self.taken = seed + 500, 0
        self.parameters = objective.model.held_out()
        self.optimiser = torch.optim.Adam(self.parameters, lr=rate, fused=True)
        self.batches: Iterator[Batch] | None = None

    def step(self) -> None:
        """Take one step with the other parameters as they now are (first order)."""
        if self.batches is None:
            size = self.objective.settings.batch
            self.batches = self.rows.batches(size, self.seed, self.taken)
        batch = next(self.batches)
        self.taken += 1
        loss = self.objective(batch.examples, batch.share)
        found = torch.autograd.grad(loss, self.parameters)
        for parameter, gradient in zip(self.parameters, found, strict=True):
            parameter.grad = self.ranks.sum(gradient) / self.ranks.count
        self.optimiser.step()

    def state(self) -> State:
        """Return what :meth:`load` needs to go on from here."""
        return {**state_of(self.optimiser), "taken": torch.tensor(self.taken)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        self.taken = int(state["taken"])
        load_into(self.optimiser, state)
