"""The moving average of the weights, of which a table's rows cost only when they change."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

State = dict[str, Tensor]
"""Tensors by name, as a checkpoint holds them."""

YOUNG = 10
"""While step / (step + 10) is below the decay it is the decay: a young average trusts the weights
more."""


class Average:
    """``average ← decay · average + (1 - decay) · weight`` after every step.

    Rows of ``tables`` are brought up to date when they are about to change and when the average is
    asked for; in between a row stands still, so that n steps of averaging are one: what is left of
    the distance to the row is the product of the decays. The result is that of folding in every row
    at every step.
    """

    def __init__(
        self, weights: Sequence[Tensor], tables: Sequence[Tensor], decay: float, steps: int
    ) -> None:
        """Start at the weights as they are; at decay 0 there is no average."""
        self.on = decay > 0
        self.decay, self.step, self.swapped = decay, 0, False
        self.weights, self.tables = list(weights), list(tables)
        self.mean = [one.detach().clone() for one in self.weights] if self.on else []
        self.means = [one.detach().clone() for one in self.tables] if self.on else []
        self.seen = [
            torch.zeros(len(one), dtype=torch.int32, device=one.device) for one in self.means
        ]
        """Step up to which each row's average is true."""
        logs = [0.0, *(math.log(self._decay_at(step)) for step in range(1, steps + 1))]
        self.logs = torch.tensor(logs if self.on else [0.0], dtype=torch.float64).cumsum(0)

    def _decay_at(self, step: int) -> float:
        return min(self.decay, step / (step + YOUNG)) if self.decay else 1.0

    @torch.no_grad()
    def before(self, table: Tensor, rows: Tensor) -> None:
        """Fold the steps so far into the average of ``rows``, which are about to change."""
        for held, mean, seen in zip(self.tables, self.means, self.seen, strict=False):
            if held is table:
                now = held.index_select(0, rows)
                left = self._left(seen.index_select(0, rows))
                mean.index_copy_(0, rows, now.lerp(mean.index_select(0, rows), left[:, None]))
                seen.index_fill_(0, rows, self.step)

    @torch.no_grad()
    def fold(self) -> None:
        """Fold in the weights as one more step left them."""
        self.step += 1
        if self.mean:
            torch._foreach_lerp_(self.mean, self.weights, 1 - self._decay_at(self.step))

    @torch.no_grad()
    def swap(self) -> None:
        """Put the average in the place of the weights, or the weights back again."""
        if not self.swapped:
            self._catch_up()
        for weight, mean in zip(
            (*self.weights, *self.tables), (*self.mean, *self.means), strict=False
        ):
            weight.data, mean.data = mean.data, weight.data
        self.swapped = not self.swapped

    def _catch_up(self) -> None:
        for weight, mean, seen in zip(self.tables, self.means, self.seen, strict=False):
            mean.copy_(weight.lerp(mean, self._left(seen)[:, None]))
            seen.fill_(self.step)

    def _left(self, seen: Tensor) -> Tensor:
        """Return what is left of each row's distance to its weight, [n]."""
        logs = self.logs.to(seen.device)
        return (logs[self.step] - logs[seen.long()]).exp().float()

    def state(self) -> State:
        """Return what :meth:`load` needs to go on from here."""
        return {**self._held(), "step": torch.tensor(self.step)}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        self.step = int(state["step"])
        for name, held in self._held().items():
            held.copy_(state[name])

    def _held(self) -> State:
        named = {"mean": self.mean, "means": self.means, "seen": self.seen}
        return {f"{name}.{at}": one for name, held in named.items() for at, one in enumerate(held)}
