"""Every category and multi-value column of a network, as vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.prepare import Inputs

SPREAD = 0.01
"""Of the values that a vector begins with."""


class Embeddings(nn.Module):
    """Every category and multi-value column, at offsets in one table for each width."""

    def __init__(self, sizes: Sequence[int], dims: Sequence[int], bags: int) -> None:
        """Build tables of ``sizes`` rows and ``dims`` columns; the last ``bags`` are bags."""
        super().__init__()
        self.bags, self.dims, self.sizes = bags, tuple(dims), tuple(sizes)
        self.groups = [
            [position for position, width in enumerate(dims) if width == dim]
            for dim in sorted(set(dims))
        ]
        self.tables = nn.ModuleList()
        for group in self.groups:
            # Row 0 is what the places after a row's last token read: zeros, never trained.
            rows = 1 + sum(sizes[position] for position in group)
            table = nn.Embedding(rows, dims[group[0]], padding_idx=0)
            nn.init.normal_(table.weight, std=SPREAD)
            table.weight.data[0] = 0.0
            self.tables.append(table)
        offsets = torch.zeros(len(sizes), dtype=torch.int32)
        for group in self.groups:
            held = torch.tensor([1, *(sizes[position] for position in group[:-1])])
            offsets[group] = held.cumsum(0).to(torch.int32)
        self.register_buffer("offsets", offsets, persistent=False)
        self._spread: tuple[tuple[int, ...], Tensor] | None = None

    def forward(self, inputs: Inputs) -> Tensor:
        """Return [n, Σ dims]; a multi-value column is the mean of its tokens, 0 without any."""
        if not self.groups:
            return inputs.numbers[:, :0]
        index, widths = inputs.index, inputs.taken
        rows = torch.where(index < 0, 0, index + self._offset_of_each(widths, index.device))
        found: list[Tensor] = []
        for group, table in zip(self.groups, self.tables, strict=True):
            found += self._group(group, table, rows, widths)
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    @torch.no_grad()
    def adopt(self, earlier: "Embeddings") -> None:
        """Take over the tokens that ``earlier`` knows; the others begin as new ones."""
        for position, (size, known) in enumerate(zip(self.sizes, earlier.sizes, strict=True)):
            self.vectors(position)[:known] = earlier.vectors(position)
            self.begin(position, torch.arange(known, size))

    @torch.no_grad()
    def begin(self, position: int, tokens: Tensor) -> None:
        """Let tokens of a column begin: a category's as the unknown token, a bag's near nothing."""
        own = self.vectors(position)
        if position < len(self.sizes) - self.bags:
            own[tokens] = own[0].clone()
        else:
            own[tokens] = torch.randn(len(tokens), own.shape[1]) * SPREAD

    def vectors(self, position: int) -> Tensor:
        """Return a column's part of its table, [size, dim]."""
        group = next(place for place, held in enumerate(self.groups) if position in held)
        start = int(self.offsets[position])  # type: ignore[index]
        table: Tensor = self.tables[group].weight  # type: ignore[assignment]
        return table[start : start + self.sizes[position]]

    def place(self, position: int) -> slice:
        """Return where a column stands in the output: tables come in the order of their widths."""
        start = 0
        for held in (each for group in self.groups for each in group):
            if held == position:
                return slice(start, start + self.dims[held])
            start += self.dims[held]
        raise IndexError(position)

    def tokens(self, inputs: Inputs, position: int, reads: int) -> tuple[Tensor, Tensor]:
        """Return a multi-value column token by token: ([n, w, dim], which there are [n, w]).

        Args:
            inputs: the rows.
            position: of the column, among all.
            reads: position of the column whose embeddings are looked up: its own, or that of the
                category whose vocabulary it borrows.
        """
        bag = position - (len(self.offsets) - self.bags)  # type: ignore[arg-type]
        start = inputs.index.shape[1] - sum(inputs.widths[bag:])
        index = inputs.index[:, start : start + inputs.widths[bag]]
        there = index >= 0
        group = next(place for place, held in enumerate(self.groups) if reads in held)
        rows = torch.where(there, index + self.offsets[reads], 0)  # type: ignore[index]
        said: Tensor = self.tables[group](rows)
        return said, there

    def _offset_of_each(self, widths: tuple[int, ...], device: torch.device) -> Tensor:
        """Return the offset of every column of the index; kept, for it hardly ever changes."""
        if self._spread is None or self._spread[0] != widths or self._spread[1].device != device:
            spread = torch.as_tensor(self.offsets).cpu().repeat_interleave(torch.tensor(widths))
            self._spread = widths, spread.to(device)
        return self._spread[1]

    def _group(
        self, group: list[int], table: nn.Module, rows: Tensor, widths: Sequence[int]
    ) -> list[Tensor]:
        """Return the columns of one table: single tokens side by side, then a mean for each bag."""
        starts = [sum(widths[:position]) for position in range(len(widths))]
        singles = len(self.offsets) - self.bags  # type: ignore[arg-type]
        places = [starts[p] + step for p in group for step in range(widths[p])]
        if len(places) < rows.shape[1]:
            rows = rows[:, places]
        taken = table(rows)
        alone = sum(1 for position in group if position < singles)
        found = [taken[:, :alone].flatten(1)] if alone else []
        at = alone
        for position in group[alone:]:
            width = widths[position]
            count = (rows[:, at : at + width] > 0).sum(1, keepdim=True).clamp(min=1)
            found.append(taken[:, at : at + width].sum(1) / count)
            at += width
        return found


def embeddings_of(module: nn.Module) -> list[Embeddings]:
    """Return every :class:`Embeddings` in ``module``."""
    return [part for part in module.modules() if isinstance(part, Embeddings)]


def tables_of(module: nn.Module) -> list[nn.Embedding]:
    """Return the tables of every :class:`Embeddings` in ``module``."""
    tables = (table for part in embeddings_of(module) for table in part.tables)
    return [table for table in tables if isinstance(table, nn.Embedding)]
