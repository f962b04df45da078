"""A night's data: which days and versions, and their rows in memory or read while they train."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.days import DAY, whole_days
from features.errors import TrainingError
from features.lake import Lake
from features.spec.layout import Layout, layout_of
from features.spec.load import spec_hash
from features.spec.model import Spec
from training.architecture import Architecture, architecture_of
from training.artifact import PROBE_ROWS, Card
from training.data import (
    TOKENS,
    Dataset,
    Group,
    Vocabulary,
    check_vocabulary,
    contents,
    first_rows,
    label_counts,
    read_days,
    read_vocabulary,
    row_groups,
)
from training.decode import Decoder
from training.prepare import NumberStats, inputs_of, measure_numbers
from training.rows import Examples, Rows
from training.split import Split, split_days
from training.stream import Streamed
from training.survey import survey

HELD = 4
"""How often a row's words are in memory while it is read whole: Arrow twice, arrays, tensors."""
IDS = 200
"""Bytes beside them: a sample's id as Arrow has it and as Python does, its person, its day."""
CGROUP = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says what a container may take."""


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """Which data a night trains on, fixed before anything is read."""

    layout: Layout
    split: Split
    encoded: int
    """Delta version of ``encoded``."""
    vocabulary: Vocabulary
    contents: Mapping[str, str]
    """Day → content of its partition."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """A night's data as the trainer reads it, shared by every model of the night."""

    train: Examples | Rows
    """In memory as ``Examples``; read while it trains as anything else."""
    validate: Examples | Rows
    card: Card
    """Of the challenger; another model's differs in its architecture."""
    probe: Dataset
    trees: "ForTrees | None" = None
    """Where trees are grown, for the model or its teacher."""

    @property
    def cells(self) -> tuple[tuple[bool, ...], ...]:
        """[K][M] whether the scenario has the task."""
        return self.card.architecture.cells

    @property
    def held(self) -> Examples:
        """The training rows, where they are in memory."""
        if not isinstance(self.train, Examples):
            raise TypeError("rows that are read while they train are nowhere whole")
        return self.train


@dataclass(frozen=True, kw_only=True)
class ForTrees:
    """The same rows with numbers as they are."""

    train: Examples
    validate: Examples
    users: NDArray[np.int64]
    """Of the training rows, [n]."""


def pin(spec: Spec, lake: Lake, night: date, versions: tuple[int, int] | None = None) -> Pinned:
    """Choose the days and fix the versions that ``night`` trains on.

    Args:
        spec: the product.
        lake: its tables.
        night: the day trained for.
        versions: of ``encoded`` and ``vocabulary``, where another process chose them; left out, the
            newest.

    Raises:
        LakeError: no encoded table; TrainingError: days or labels are missing.
    """
    layout = layout_of(spec)
    encoded, vocabulary = versions or (lake.open("encoded").version(), None)
    window = whole_days(spec.training.window)
    counts = label_counts(lake, layout, night - (window - 1) * DAY, night, encoded)
    validate = whole_days(spec.training.validate_on)
    split = split_days(night, counts, layout.tasks, window=window, validate=validate)
    return Pinned(
        layout=layout,
        split=split,
        encoded=encoded,
        vocabulary=read_vocabulary(lake, layout, vocabulary),
        contents=contents(lake, split.read, encoded),
    )


def read(spec: Spec, lake: Lake, pinned: Pinned, scale: NumberStats | None = None) -> Material:
    """Return the training and validation rows: in memory where they fit, else as they lie.

    Args:
        spec: the settings.
        lake: the product's tables.
        pinned: the days and versions.
        scale: of the numbers, for weights that learned with it; left out, the training days'.

    Raises:
        TrainingError: a day or a column is missing, a value is not what the contract says, or trees
            are to be grown of rows that do not fit.
    """
    layout, split, allowed = pinned.layout, pinned.split, memory_of(spec)
    train, validate = (
        row_groups(lake, layout, days, pinned.encoded) for days in (split.train, split.validate)
    )
    wanted = sum(group.rows for group in (*train, *validate)) * row_bytes(layout)
    if wanted <= allowed:
        return _held(spec, lake, pinned, scale)
    if _grows_trees(spec):
        raise TrainingError(
            f"{'trees' if spec.training.model == 'lightgbm' else 'a teacher'} need the window in "
            f"memory: its rows take about {wanted / 2**30:.1f} GiB and {allowed / 2**30:.1f} GiB "
            "are allowed; raise training.memory, shorten training.window or train a network alone"
        )
    return _streamed(spec, lake, pinned, train, validate, allowed, scale)


def row_bytes(layout: Layout) -> int:
    """Return about how many bytes of memory a row takes while a window is read whole."""
    words = 1 + len(layout.tasks) + len(layout.of("category", "number"))
    return HELD * 4 * (words + len(layout.of("multi")) * TOKENS // 4) + IDS


def memory_of(spec: Spec) -> int:
    """Return the bytes that a night's rows may take: ``training.memory``, or a quarter of all."""
    if spec.training.memory is not None:
        return int(spec.training.memory * 2**30)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    said = CGROUP.read_text().strip() if CGROUP.is_file() else "max"
    return min(there, int(said) if said.isdigit() else there) // 4


def _held(spec: Spec, lake: Lake, pinned: Pinned, scale: NumberStats | None) -> Material:
    """Read the days and put them on the network's scale."""
    dataset = read_days(lake, pinned.layout, pinned.split.read, pinned.encoded)
    check_vocabulary(dataset, pinned.vocabulary.sizes)
    train, validate = dataset.on(pinned.split.train), dataset.on(pinned.split.validate)
    card = planned(spec, pinned, scale or measure_numbers(train))
    return Material(
        train=_examples(train, card.stats, card.architecture),
        validate=_examples(validate, card.stats, card.architecture),
        card=card,
        probe=validate.take(slice(0, PROBE_ROWS)),
        trees=_for_trees(train, validate, card.architecture) if _grows_trees(spec) else None,
    )


def _streamed(
    spec: Spec,
    lake: Lake,
    pinned: Pinned,
    train: tuple[Group, ...],
    validate: tuple[Group, ...],
    memory: int,
    scale: NumberStats | None,
) -> Material:
    """Look at the rows once, and leave them where they are."""
    layout, sizes = pinned.layout, pinned.vocabulary.sizes
    cells = architecture_of(spec, layout, sizes, spec.training.model).cells
    seen, later = (survey(groups, layout, sizes, cells) for groups in (train, validate))
    widths = tuple(map(max, seen.widths, later.widths))
    stats = scale or seen.stats
    decoder = Decoder(layout=layout, stats=stats, widths=widths, cells=cells)
    # Lanes take most of it; validation is read by slices, when no batch is made.
    rows = [
        Streamed(groups=groups, decoder=decoder, known=one.tally, memory=memory)
        for groups, one in ((train, seen), (validate, later))
    ]
    probe = first_rows(validate, layout, pinned.split.validate[0], PROBE_ROWS)
    return Material(
        train=rows[0],
        validate=rows[1],
        card=planned(spec, pinned, stats),
        probe=replace(probe, vocabulary=pinned.vocabulary.id),
    )


def planned(spec: Spec, pinned: Pinned, stats: NumberStats) -> Card:
    """Return what the night's model is going to be, with numbers scaled by ``stats``."""
    layout, vocabulary = pinned.layout, pinned.vocabulary
    return Card(
        architecture=architecture_of(spec, layout, vocabulary.sizes, spec.training.model),
        layout=layout,
        stats=stats,
        vocabulary_version=vocabulary.version,
        vocabulary_id=vocabulary.id,
        spec_hash=spec_hash(spec),
    )


def with_targets(material: Material, targets: Tensor) -> Material:
    """Return ``material`` with other targets [n, M] in place of the training rows' labels."""
    return replace(material, train=replace(material.held, labels=targets))


def _examples(rows: Dataset, stats: NumberStats, architecture: Architecture) -> Examples:
    """Return rows as a model reads them; a cell that does not exist has no label."""
    inputs = inputs_of(rows, stats, architecture.sizes)
    cells, labels = torch.tensor(architecture.cells), torch.from_numpy(rows.labels)
    return Examples(inputs, labels.masked_fill(~cells[inputs.scenario], torch.nan))


def _for_trees(train: Dataset, validate: Dataset, architecture: Architecture) -> ForTrees:
    raw = NumberStats.untouched()
    return ForTrees(
        train=_examples(train, raw, architecture),
        validate=_examples(validate, raw, architecture),
        users=train.user,
    )


def _grows_trees(spec: Spec) -> bool:
    return spec.training.model == "lightgbm" or spec.training.teacher is not None
