"""From Arrow's columns to what a network reads, in memory that is used again and again.

What a :class:`Decoder` makes of rows is what :func:`training.prepare.inputs_of` makes of them, to
the rounding of 32 bits, at a fraction of the cost. Two things count: columns are laid out side by
side a block at a time, so that the block stays in a core's cache, and nothing is allocated, for a
page of memory that is touched for the first time costs more than what is written to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.spec.layout import Layout
from training.data import labels_of, padded_tokens, scenarios_of, trained_columns
from training.prepare import CLIP, Inputs, NumberStats
from training.rows import Examples

BLOCK = 4000
"""Rows laid out at a time; no power of two, whose columns would all want the same cache lines."""


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """How rows of ``encoded`` become examples."""

    layout: Layout
    stats: NumberStats
    widths: tuple[int, ...]
    """Tokens of each multi-value column that are read a row."""
    cells: tuple[tuple[bool, ...], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of ``encoded`` that are read."""
        return trained_columns(self.layout)

    @property
    def words(self) -> int:
        """Words of four bytes that a decoded row takes."""
        singles, numbers = len(self.layout.of("category")), len(self.layout.of("number"))
        return singles + sum(self.widths) + numbers + len(self.layout.tasks) + 1

    @property
    def row_bytes(self) -> int:
        """Bytes that a decoded row takes."""
        return 4 * self.words

    def room(self, rows: int) -> "Room":
        """Return room for ``rows`` decoded rows."""
        return Room(self, rows)


class Room:
    """Room for decoded rows, each in one piece: tokens, numbers, labels, scenario.

    Each call of ``fill`` overwrites the rows before.
    """

    def __init__(self, decoder: Decoder, rows: int) -> None:
        """Make room for ``rows`` rows."""
        self.decoder = decoder
        layout, stats = decoder.layout, decoder.stats
        self.categories = [column.name for column in layout.of("category")]
        self.bags = [column.name for column in layout.of("multi")]
        self.numbers = [column.name for column in layout.of("number")]
        self.cells = np.array(decoder.cells)
        self.logs = [place for place, log in enumerate(stats.log) if log]
        self.scale = 1 / torch.tensor(stats.std, dtype=torch.float32)[:, None]
        self.shift = -torch.tensor(stats.mean, dtype=torch.float32)[:, None] * self.scale
        self.record = torch.zeros(rows, decoder.words, dtype=torch.int32)
        ends = np.cumsum([len(self.categories) + sum(decoder.widths), len(self.numbers)]).tolist()
        self._index, self._numbers = slice(0, ends[0]), slice(ends[0], ends[1])
        self._labels = slice(ends[1], decoder.words - 1)
        wide = max(len(self.categories), len(self.numbers))
        self._scratch = np.zeros((wide, min(BLOCK, rows)), dtype=np.float32)

    def examples(self, length: int) -> Examples:
        """Return the first ``length`` rows as a network reads them: a look at them, no copy."""
        record = self.record[:length]
        floats = record.view(torch.float32)
        inputs = Inputs(
            scenario=record[:, -1].long(),
            index=record[:, self._index],
            numbers=floats[:, self._numbers],
            widths=self.decoder.widths,
        )
        return Examples(inputs, floats[:, self._labels])

    def copy(self, rows: Tensor, other: "Room", at: int) -> None:
        """Copy the rows of the given indices to those of ``other`` from ``at`` on."""
        torch.index_select(self.record, 0, rows, out=other.record[at : at + len(rows)])

    def fill(self, table: pa.Table) -> Examples:
        """Return the rows of ``table`` decoded, good until the next call.

        Raises:
            TrainingError: a value is not what the contract says.
        """
        layout, record = self.decoder.layout, self.record[: len(table)]
        scenario = scenarios_of(table, layout)
        labels = np.where(self.cells[scenario], labels_of(table, layout), np.float32(np.nan))
        record.numpy()[:, -1] = scenario
        record.view(torch.float32).numpy()[:, self._labels] = labels
        self._fill_tokens(table, record[:, self._index].numpy())
        self._fill_numbers(table, record.view(torch.float32)[:, self._numbers])
        return self.examples(len(table))

    def _fill_tokens(self, table: pa.Table, index: NDArray[np.int32]) -> None:
        at = len(self.categories)
        for name, width in zip(self.bags, self.decoder.widths, strict=True):
            bag = padded_tokens(table[name])[:, :width]
            index[:, at : at + bag.shape[1]] = bag
            index[:, at + bag.shape[1] : at + width] = -1
            at += width
        columns = [_whole(table[name]) for name in self.categories]
        for start in range(0, len(table), BLOCK):
            out = index[start : start + BLOCK, : len(columns)]
            np.copyto(out, self._block(columns, start, out).T)

    def _fill_numbers(self, table: pa.Table, numbers: Tensor) -> None:
        """Write numbers standardised and clipped, null and infinite ones as 0."""
        columns = [_whole(table[name]) for name in self.numbers]
        for start in range(0, len(table), BLOCK):
            out = numbers[start : start + BLOCK]
            held = self._block(columns, start, out.numpy())
            if self.logs:
                held[self.logs] = _logged(held[self.logs])
            scaled = torch.from_numpy(held)
            torch.addcmul(self.shift, scaled, self.scale, out=scaled)
            scaled.nan_to_num_(0.0, 0.0, 0.0).clamp_(-CLIP, CLIP)
            np.copyto(out.numpy(), held.T)

    def _block(
        self, columns: Sequence[pa.Array | NDArray[Any]], start: int, out: NDArray[Any]
    ) -> NDArray[Any]:
        """Return the values of ``columns`` for the rows of ``out``, a column a row, in scratch."""
        held = self._scratch.view(out.dtype)[: len(columns), : len(out)]
        for place, column in enumerate(columns):
            some = column[start : start + len(out)]
            held[place] = some if isinstance(some, np.ndarray) else _values(some)
        return held


def _logged(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log1p of the absolute values, with their sign."""
    below = (values < 0).any()
    logged: NDArray[np.float32] = (
        torch.from_numpy(np.abs(values) if below else values).log1p().numpy()
    )
    return np.copysign(logged, values) if below else logged


def _whole(column: pa.ChunkedArray) -> pa.Array | NDArray[Any]:
    """Return a column in one piece, as it is read; without nulls as an array that looks at it."""
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return whole if whole.null_count else whole.to_numpy(zero_copy_only=False)


def _values(some: pa.Array) -> NDArray[Any]:
    """Return some values of a column with nulls, which are NaN in a float's and 0 in a token's."""
    filled = pc.fill_null(some, 0) if pa.types.is_integer(some.type) else some
    values: NDArray[Any] = filled.to_numpy(zero_copy_only=False)
    return values
