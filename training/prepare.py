"""From a dataset to the tensors a network reads: numbers standardised, tokens padded and offset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from training.data import Dataset

CHUNK = 8192
"""Rows scored at a time: enough for full matrix products, few enough for the cache."""
CLIP = 5.0
"""Standard deviations beyond which a number says nothing more."""


@dataclass(frozen=True, kw_only=True)
class NumberStats:
    """How each number column is put on the network's scale; measured on the training days."""

    log: tuple[bool, ...]
    """Whether log1p is taken (of the absolute value, with its sign) first."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    raw: bool = False
    """Whether numbers are left as they are, null included: trees need no scale."""

    @classmethod
    def untouched(cls) -> "NumberStats":
        """Return the statistics of numbers that are left as they are."""
        return cls(log=(), mean=(), std=(), raw=True)

    def apply(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``numbers`` [n, N] standardised, clipped to ±5; null becomes 0, the mean.

        Where they are ``raw``, they are as they were.
        """
        if self.raw:
            return numbers
        scaled = _logged(numbers, self.log)
        scaled = (scaled - np.array(self.mean)) / np.array(self.std)
        clipped: NDArray[np.float64] = np.nan_to_num(np.clip(scaled, -CLIP, CLIP), nan=0.0)
        return clipped.astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as JSON holds them."""
        scale = {"log": list(self.log), "mean": list(self.mean), "std": list(self.std)}
        return {**scale, "raw": self.raw}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "NumberStats":
        """Return the statistics that :meth:`to_json` wrote."""
        log, mean, std = (tuple(said[name]) for name in ("log", "mean", "std"))
        return cls(log=log, mean=mean, std=std, raw=said.get("raw", False))


@dataclass(frozen=True)
class Moments:
    """Count, sum of values and of squared distances to their mean of number columns, [N] each."""

    count: NDArray[np.float64]
    total: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def none(cls, columns: int) -> "Moments":
        """Return the moments of no rows."""
        return cls(*np.zeros((3, columns)))

    @classmethod
    def of(cls, numbers: NDArray[np.float32], log: tuple[bool, ...]) -> "Moments":
        """Return the moments of ``numbers`` [n, N], nulls left out, after log1p where asked for."""
        scaled = _logged(numbers, log)
        known = ~np.isnan(scaled)
        count, total = known.sum(axis=0), np.where(known, scaled, 0.0).sum(axis=0)
        mean = total / np.maximum(count, 1)
        return cls(count, total, (np.where(known, scaled - mean, 0.0) ** 2).sum(axis=0))

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of both (Chan, Golub and LeVeque, 1983)."""
        apart = other.total / np.maximum(other.count, 1) - self.total / np.maximum(self.count, 1)
        count = self.count + other.count
        between = apart**2 * self.count * other.count / np.maximum(count, 1)
        return Moments(count, self.total + other.total, self.spread + other.spread + between)

    def stats(self, log: tuple[bool, ...]) -> NumberStats:
        """Return the mean and spread of each column; a column without values has 0 and 1."""
        count = np.maximum(self.count, 1)
        mean, spread = self.total / count, np.sqrt(self.spread / count)
        # Below this a spread is rounding: a constant column must not blow up to ±5.
        flat = spread <= 1e-6 * np.maximum(np.abs(mean), 1.0)
        std = np.where(flat, 1.0, spread)
        return NumberStats(log=log, mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def measure_numbers(dataset: Dataset) -> NumberStats:
    """Return the statistics of ``dataset``'s numbers; nulls do not count."""
    log = tuple(column.scale == "log1p" for column in dataset.layout.of("number"))
    return Moments.of(dataset.numbers, log).stats(log)


def _logged(numbers: NDArray[np.float32], log: tuple[bool, ...]) -> NDArray[np.float64]:
    values = numbers.astype(np.float64)
    which = np.array(log, dtype=bool)
    values[:, which] = np.sign(values[:, which]) * np.log1p(np.abs(values[:, which]))
    return values


@dataclass(frozen=True)
class Inputs:
    """What a network reads of ``n`` rows."""

    scenario: Tensor
    """int64 [n]"""
    index: Tensor
    """int32 [n, C + Σ widths]: a token a category, then each bag's tokens, -1 padded."""
    numbers: Tensor
    """float32 [n, N]"""
    widths: tuple[int, ...] = ()
    """How many columns of ``index`` each multi-value column takes."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.scenario)

    @property
    def taken(self) -> tuple[int, ...]:
        """How many columns of ``index`` each embedding takes: a category 1, a bag its width."""
        return (1,) * (self.index.shape[1] - sum(self.widths)) + tuple(self.widths)

    def take(self, rows: Tensor) -> "Inputs":
        """Return the rows of the given indices, int64 [b]."""
        return replace(
            self,
            scenario=self.scenario.index_select(0, rows),
            index=self.index.index_select(0, rows),
            numbers=self.numbers.index_select(0, rows),
        )

    def widened(self, widths: tuple[int, ...]) -> "Inputs":
        """Return the same rows with room for ``widths`` tokens of each multi-value column."""
        if widths == self.widths:
            return self
        alone = self.index.shape[1] - sum(self.widths)
        singles, *bags = torch.split(self.index, [alone, *self.widths], dim=1)
        padded = [
            pad(bag, (0, width - bag.shape[1]), value=-1)
            for bag, width in zip(bags, widths, strict=True)
        ]
        return replace(self, index=torch.cat([singles, *padded], dim=1), widths=widths)

    def narrow(self, start: int, length: int) -> "Inputs":
        """Return a run of rows without copying them."""
        return replace(
            self,
            scenario=self.scenario.narrow(0, start, length),
            index=self.index.narrow(0, start, length),
            numbers=self.numbers.narrow(0, start, length),
        )

    def chunks(self) -> Iterator["Inputs"]:
        """Yield the rows in order, at most ``CHUNK`` at a time; no rows are one empty chunk."""
        for start in range(0, max(len(self), 1), CHUNK):
            yield self.narrow(start, min(CHUNK, len(self) - start))

    def to(self, device: torch.device) -> "Inputs":
        """Return the same rows on ``device``."""
        return replace(
            self,
            scenario=self.scenario.to(device),
            index=self.index.to(device),
            numbers=self.numbers.to(device),
        )


def inputs_of(dataset: Dataset, stats: NumberStats, sizes: Sequence[int]) -> Inputs:
    """Return the network's inputs of ``dataset``, whose layout must be the model's.

    Args:
        dataset: the rows.
        stats: how numbers are scaled.
        sizes: rows of each embedding, categories then multi-value; a token beyond, which the
            vocabulary got after the model was trained, is read as unknown: 0, or none in a bag.
    """
    count = dataset.categories.shape[1]
    known = np.array(sizes, dtype=np.int32)
    tokens = [np.where(dataset.categories < known[:count], dataset.categories, 0)]
    tokens += [
        np.where(bag < size, bag, -1)
        for bag, size in zip(dataset.multi, known[count:], strict=True)
    ]
    return Inputs(
        scenario=torch.from_numpy(dataset.scenario),
        index=torch.from_numpy(
            np.ascontiguousarray(np.concatenate(tokens, axis=1), dtype=np.int32)
        ),
        numbers=torch.from_numpy(stats.apply(dataset.numbers)),
        widths=tuple(bag.shape[1] for bag in dataset.multi),
    )
