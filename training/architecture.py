"""What a network is built from: sizes and forms alone, so that an artifact can be built again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from features.spec.layout import Column, Layout
from features.spec.model import Spec
from features.spec.policy import ModelName
from features.spec.search import Form

Kind = ModelName
GateKind = Literal["strength", "table", "instance", "context"]
"""``strength`` is a coefficient a cell and flow, ``table`` a removal gate; the others are nets."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Everything a model's shape depends on."""

    kind: Kind
    cells: tuple[tuple[bool, ...], ...]
    """[K][M] whether the scenario has the task."""
    sizes: tuple[int, ...]
    """Rows of each category column's embedding, then of each multi-value column's."""
    dims: tuple[int, ...]
    """Widths of the same embeddings."""
    bags: int
    """How many of them, at the end, are multi-value."""
    numbers: int
    trunk: tuple[int, ...]
    scenario: tuple[int, ...]
    task: tuple[int, ...] = ()
    """Widths of the task units' hidden layers; the last is one wide for each task."""
    rank: tuple[int, ...]
    """Of each scenario layer's own part, then of each hidden task layer's."""
    dropout: float
    form: Form = "additive"
    gates: GateKind = "strength"
    context: tuple[int, ...] = ()
    """Which of the embeddings, and after them of the numbers, context gates read."""
    ids: tuple[int, ...] = ()
    """Which of the embeddings are of columns the spec calls ids."""
    histories: tuple[int, ...] = ()
    """Which of the embeddings are of sequences: multi-value columns whose order says something."""
    listed: tuple[int, ...] = ()
    """For each history, the embedding of the category whose values it lists; -1 without one."""

    @property
    def scenarios(self) -> int:
        """K."""
        return len(self.cells)

    @property
    def tasks(self) -> int:
        """M."""
        return len(self.cells[0])

    @property
    def width(self) -> int:
        """Width of the network's input: every embedding, then every number."""
        return sum(self.dims) + self.numbers

    @property
    def experts(self) -> tuple[int, ...]:
        """Widths below the towers, for models that part there."""
        return self.trunk or self.scenario

    @property
    def towers(self) -> tuple[int, ...]:
        """Widths of a task's own layers, for models that part below them."""
        return self.scenario if self.trunk else ()

    def to_json(self) -> dict[str, Any]:
        """Return the architecture as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Architecture":
        """Return the architecture that :meth:`to_json` wrote."""
        lists = {key: tuple(value) for key, value in said.items() if isinstance(value, list)}
        cells = tuple(tuple(row) for row in said["cells"])
        if isinstance(said["rank"], int):  # a release before layers had ranks of their own
            lists["rank"] = (said["rank"],) * len(said["scenario"])
        return cls(**{**said, **lists, "cells": cells})


def architecture_of(
    spec: Spec, layout: Layout, sizes: Mapping[str, int], kind: Kind
) -> Architecture:
    """Return the architecture that ``spec`` declares, for a vocabulary of the given sizes."""
    embedded = (*layout.of("category"), *layout.of("multi"))
    place = {column.name: position for position, column in enumerate(embedded)}
    ids = {item.column for item in spec.features.ids}
    histories = [column for column in embedded if column.ordered]
    network, search = spec.training.network, spec.training.search
    return Architecture(
        kind=kind,
        cells=tuple(tuple(spec.has(k, m) for m in layout.tasks) for k in layout.scenarios),
        sizes=tuple(sizes[column.name] for column in embedded),
        dims=tuple(column.dim for column in embedded),
        bags=len(layout.of("multi")),
        numbers=len(layout.of("number")),
        trunk=network.trunk,
        scenario=network.scenario,
        task=network.task,
        rank=network.ranks,
        dropout=network.dropout,
        form=search.form,
        gates="strength" if search.priced else search.gates,
        context=_context(search.context, (*embedded, *layout.of("number"))),
        ids=tuple(place[column.name] for column in embedded if column.source in ids),
        histories=tuple(place[column.name] for column in histories),
        listed=tuple(place[one.borrows] if one.borrows else -1 for one in histories),
    )


def _context(names: Sequence[str], columns: Sequence[Column]) -> tuple[int, ...]:
    """Return which of ``columns`` the spec calls by ``names``."""
    return tuple(place for place, column in enumerate(columns) if column.source in names)
