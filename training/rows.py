"""Labelled rows, and the order in which a trainer takes them."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from training.prepare import CHUNK, Inputs
from training.ranks import ALONE, Ranks

HELD_OUT = 10
"""One in so many training rows is set aside for a model that learns from held-out rows."""


@dataclass(frozen=True)
class Examples:
    """Inputs with their labels on the training device."""

    inputs: Inputs
    labels: Tensor
    """float32 [n, M], NaN where a label is missing."""
    weight: Tensor | None = None
    """float32 [n], how many rows of the log each stands for; None: one."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.inputs)

    def take(self, rows: Tensor) -> "Examples":
        """Return the rows of the given indices, int64 [b]."""
        weight = None if self.weight is None else self.weight.index_select(0, rows)
        return Examples(self.inputs.take(rows), self.labels.index_select(0, rows), weight)

    def narrow(self, start: int, length: int) -> "Examples":
        """Return a run of rows without copying them."""
        return Examples(
            self.inputs.narrow(start, length),
            self.labels.narrow(0, start, length),
            None if self.weight is None else self.weight.narrow(0, start, length),
        )

    def chunks(self) -> Iterator["Examples"]:
        """Yield the rows in order, at most ``CHUNK`` at a time."""
        for start in range(0, len(self), CHUNK):
            yield self.narrow(start, min(CHUNK, len(self) - start))

    def to(self, device: torch.device) -> "Examples":
        """Return the same rows on ``device``."""
        weight = None if self.weight is None else self.weight.to(device)
        return Examples(self.inputs.to(device), self.labels.to(device), weight)

    def tally(self, scenarios: int) -> "Tally":
        """Return how many rows and labels there are, for K ``scenarios``."""
        stands = torch.ones(len(self)) if self.weight is None else self.weight.cpu()
        stands, scenario = stands.double(), self.inputs.scenario.cpu()
        known = (~self.labels.isnan()).cpu().double() * stands[:, None]
        return Tally(
            rows=torch.zeros(scenarios, dtype=torch.float64).index_add_(0, scenario, stands),
            labels=torch.zeros(scenarios, known.shape[1], dtype=torch.float64).index_add_(
                0, scenario, known
            ),
        )


def joined_examples(parts: Sequence[Examples]) -> Examples:
    """Return the rows of all parts, one after another; bags get the width of the widest."""
    if len(parts) == 1:
        return parts[0]
    inputs = [part.inputs for part in parts]
    widths = tuple(max(sizes) for sizes in zip(*(one.widths for one in inputs), strict=True))
    weights = [part.weight for part in parts if part.weight is not None]
    return Examples(
        Inputs(
            scenario=torch.cat([one.scenario for one in inputs]),
            index=torch.cat([one.widened(widths).index for one in inputs]),
            numbers=torch.cat([one.numbers for one in inputs]),
            widths=widths,
        ),
        torch.cat([part.labels for part in parts]),
        torch.cat(weights) if weights else None,
    )


@dataclass(frozen=True)
class Tally:
    """How many rows there are, each counted as often as it stands for."""

    rows: Tensor
    """float64 [K], rows of each scenario."""
    labels: Tensor
    """float64 [K, M], known labels of each cell."""

    def __add__(self, other: "Tally") -> "Tally":
        """Return the tally of both."""
        return Tally(self.rows + other.rows, self.labels + other.labels)


@dataclass(frozen=True)
class Batch:
    """This rank's rows of one step."""

    examples: Examples
    share: float = 1.0
    """What its mean counts for in the mean over the ranks: its rows, as a share of the step's,
    times the number of ranks."""


@runtime_checkable
class Rows(Protocol):
    """Training or validation rows, wherever they lie."""

    def __len__(self) -> int:
        """Return the number of rows, of all ranks together."""
        ...

    @property
    def inputs(self) -> Inputs:
        """Rows spread evenly over all of them, to look at flows with: all, where they are held."""
        ...

    def placed(self, device: torch.device, ranks: Ranks) -> "Rows":
        """Return the same rows for the training device, one of ``ranks``' processes reading."""
        ...

    def tally(self, scenarios: int) -> Tally:
        """Return how many rows and labels there are, of all ranks together."""
        ...

    def batches(self, size: int, seed: int, start: int = 0) -> Generator[Batch]:
        """Yield batches of about ``size`` rows for ever, from the ``start``-th on.

        The rows of a batch do not depend on the number of ranks.
        """
        ...

    def chunks(self) -> Iterator[Examples]:
        """Yield this rank's share of the rows once, in a fixed order."""
        ...

    def set_aside(self, seed: int) -> tuple["Rows", "Rows"]:
        """Return the rows without one in ten, and those; too few to part are both, whole."""
        ...


def pieces(rows: Examples | Rows) -> Iterator[Examples]:
    """Yield rows in memory in one piece, others a piece at a time."""
    return iter([rows]) if isinstance(rows, Examples) else rows.chunks()


@dataclass(frozen=True)
class Held:
    """Rows in memory, on the training device; every rank holds all of them."""

    examples: Examples
    ranks: Ranks = ALONE

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.examples)

    @property
    def inputs(self) -> Inputs:
        """All rows."""
        return self.examples.inputs

    @property
    def labels(self) -> Tensor:
        """All labels."""
        return self.examples.labels

    def placed(self, device: torch.device, ranks: Ranks) -> "Held":
        """Return the same rows on the training device."""
        return Held(self.examples.to(device), ranks)

    def tally(self, scenarios: int) -> Tally:
        """Return how many rows and labels there are."""
        return self.examples.tally(scenarios)

    def batches(self, size: int, seed: int, start: int = 0) -> Generator[Batch]:
        """Yield batches for ever: an epoch is a seeded permutation cut into equal batches."""
        device = self.labels.device
        for rows in islice(batches(len(self), size, seed), start, None):
            mine = self.ranks.share(rows)
            # A rank without a row takes one that counts for nothing, so that all take the step.
            taken = self.examples.take((mine if len(mine) else rows[:1]).to(device))
            yield Batch(taken, len(mine) * self.ranks.count / len(rows))

    def chunks(self) -> Iterator[Examples]:
        """Yield this rank's run of the rows, in one piece."""
        rows = self.ranks.share(torch.arange(len(self)))
        if len(rows):
            yield self.examples.narrow(int(rows[0]), len(rows))

    def set_aside(self, seed: int) -> tuple["Held", "Held"]:
        """Return the rows without one in ten, and those; too few to part are both, whole."""
        if len(self) < HELD_OUT:
            return self, self
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        order = order.to(self.labels.device)
        cut = len(self) // HELD_OUT
        first, second = order[cut:].sort().values, order[:cut]
        return (
            replace(self, examples=self.examples.take(first)),
            replace(self, examples=self.examples.take(second)),
        )


def batches(rows: int, size: int, seed: int) -> Iterator[Tensor]:
    """Yield row indices for ever: an epoch is a seeded permutation cut into equal batches."""
    generator = torch.Generator().manual_seed(seed)
    count = steps_per_epoch(rows, size)
    while True:
        yield from torch.randperm(rows, generator=generator).tensor_split(count)


def steps_per_epoch(rows: int, size: int) -> int:
    """Return how many batches of about ``size`` rows an epoch has."""
    return max(1, round(rows / size))
