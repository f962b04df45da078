"""Rows straight from Parquet, for tables that do not fit in memory.

An epoch's row groups are shuffled and dealt to lanes. A batch takes some rows of every lane, so it
mixes as many places of the table as there are lanes; rows that lie together are drawn in random
order from blocks of a few thousand. A rank reads some of the lanes. Which rows a batch holds is up
to the files, the seed and the memory allowed, and neither to the number of ranks nor to where a
training was taken up again. The idea is CorgiPile's (Xu et al., "In-Database Machine Learning with
CorgiPile: Stochastic Gradient Descent without Full Data Shuffle", SIGMOD 2022,
https://doi.org/10.1145/3514221.3526150).
"""

import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import cycle
from queue import Full, Queue
from typing import TypeVar, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data import Group
from training.decode import BLOCK, Decoder, Room
from training.prepare import Inputs
from training.ranks import ALONE, Ranks
from training.rows import HELD_OUT, Batch, Examples, Tally, joined_examples, steps_per_epoch

LANES = 8
"""Places of the table that a batch mixes; the most ranks that can read apart."""
SLICE = 140_000
"""Most rows of a row group that a lane holds."""
COPIES = 3
"""How often a lane's rows are held while it reads on: decoded, and twice by Arrow."""
READERS = 2
"""Threads that read row groups before a lane comes to them."""
AHEAD = 4
"""Batches made before they are asked for."""
SAMPLE = 20_000
"""Rows to look at flows with."""
SAMPLE_GROUPS = 64
"""Row groups they come from, at most."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """Rows that are read while they are used.

    What ``batches`` and ``chunks`` yield is overwritten once a few more of it were asked for.
    """

    groups: tuple[Group, ...]
    decoder: Decoder
    known: Tally
    memory: int
    """Bytes that the rows held may take."""
    device: torch.device = field(default_factory=partial(torch.device, "cpu"))
    ranks: Ranks = ALONE

    def __len__(self) -> int:
        """Return the number of rows, of all ranks together."""
        return sum(group.rows for group in self.groups)

    @property
    def most(self) -> int:
        """Rows that a lane may hold."""
        fits = self.memory // (LANES * COPIES * self.decoder.row_bytes)
        return max(BLOCK, min(SLICE, fits // BLOCK * BLOCK))

    def placed(self, device: torch.device, ranks: Ranks) -> "Streamed":
        """Return the same rows for the training device, one of ``ranks``' processes reading."""
        return replace(self, device=device, ranks=ranks)

    @cached_property
    def inputs(self) -> Inputs:
        """Rows spread evenly over at most ``SAMPLE_GROUPS`` row groups; every rank has the same."""
        picked = np.unique(np.linspace(0, len(self.groups) - 1, SAMPLE_GROUPS).astype(int))
        stride = max(1, sum(self.groups[i].rows for i in picked) // SAMPLE)
        found = [
            chunk.take(torch.arange(0, len(chunk), stride))
            for chunk in self._read([self.groups[i] for i in picked])
        ]
        return joined_examples(found).to(self.device).inputs

    def tally(self, scenarios: int) -> Tally:
        """Return how many rows and labels there are, as counted before any was set aside."""
        return self.known

    def batches(self, size: int, seed: int, start: int = 0) -> Generator[Batch]:
        """Yield batches for ever, made in a thread of their own."""
        return ahead(self._batches(size, seed, start), AHEAD)

    def chunks(self) -> Iterator[Examples]:
        """Yield the rows of every so many-th row group, a slice at a time."""
        for chunk in self._read(self.groups[self.ranks.rank :: self.ranks.count]):
            yield chunk.to(self.device)

    def set_aside(self, seed: int) -> tuple["Streamed", "Streamed"]:
        """Return the row groups without one in ten, and those; a single one is both, whole."""
        if len(self.groups) < 2:
            return self, self
        order = np.random.default_rng(seed).permutation(len(self.groups))
        apart = set(order[: max(1, len(self.groups) // HELD_OUT)].tolist())
        kept = tuple(one for i, one in enumerate(self.groups) if i not in apart)
        aside = tuple(one for i, one in enumerate(self.groups) if i in apart)
        return replace(self, groups=kept), replace(self, groups=aside)

    def _read(self, groups: Sequence[Group]) -> Iterator[Examples]:
        room = self.decoder.room(self.most)
        for group in groups:
            for table in group.slices(self.decoder.columns, self.most):
                yield room.fill(table)

    def _batches(self, size: int, seed: int, start: int) -> Generator[Batch]:
        count = steps_per_epoch(len(self), size)
        rooms = cycle([self.decoder.room(2 * size + LANES) for _ in range(AHEAD + 3)])
        epoch, step = divmod(start, count)
        with ThreadPoolExecutor(READERS, "reader") as readers:
            lanes = [_Lane(self, readers) for _ in range(self.ranks.rank, LANES, self.ranks.count)]
            while True:
                yield from self._epoch(lanes, rooms, count, [seed, epoch], step)
                epoch, step = epoch + 1, 0

    def _epoch(
        self, own: "list[_Lane]", rooms: "Iterator[Room]", count: int, seed: list[int], step: int
    ) -> Iterator[Batch]:
        """Yield an epoch's ``count`` batches from ``step`` on."""
        dealt = self._dealt(seed)
        rows = np.array([sum(self.groups[i].rows for i in lane) for lane in dealt])
        mine = list(range(self.ranks.rank, LANES, self.ranks.count))
        skipped = cuts(rows, step, count)
        for k, lane in zip(mine, own, strict=True):
            lane.begin(dealt[k], [*seed, k], int(skipped[k]))
        for at in range(step, count):
            wanted = cuts(rows, at + 1, count) - cuts(rows, at, count)
            room, length = next(rooms), 0
            for k, lane in zip(mine, own, strict=True):
                length += lane.take(int(wanted[k]), room, length)
            # A rank without a row takes one that counts for nothing, so that all take the step.
            examples = room.examples(max(length, 1)).to(self.device)
            yield Batch(examples, length * self.ranks.count / max(int(wanted.sum()), 1))

    def _dealt(self, seed: list[int]) -> list[list[int]]:
        """Return the row groups of each lane, in their order: each goes to the shortest so far."""
        lanes: list[list[int]] = [[] for _ in range(LANES)]
        length = [0] * LANES
        for group in np.random.default_rng(seed).permutation(len(self.groups)).tolist():
            shortest = length.index(min(length))
            lanes[shortest].append(group)
            length[shortest] += self.groups[group].rows
        return lanes


class _Lane:
    """The rows of some row groups, one group after another, shuffled within and between blocks."""

    def __init__(self, rows: Streamed, readers: Executor) -> None:
        self.rows, self.readers = rows, readers
        self.room = rows.decoder.room(rows.most)
        self.blocks: Iterator[Tensor] = iter(())
        self.left = torch.empty(0, dtype=torch.int64)

    def begin(self, groups: Sequence[int], seed: list[int], skip: int) -> None:
        """Go through ``groups``, from the ``skip``-th row on."""
        self.blocks = self._blocks(groups, seed, skip)
        self.left = self.left[:0]

    def take(self, wanted: int, out: Room, at: int) -> int:
        """Copy the next ``wanted`` rows to the rows of ``out`` from ``at`` on; return how many."""
        end = at + wanted
        while at < end:
            if not len(self.left):
                self.left = next(self.blocks)
            piece, self.left = self.left[: end - at], self.left[end - at :]
            self.room.copy(piece, out, at)
            at += len(piece)
        return wanted

    def _blocks(self, groups: Sequence[int], seed: list[int], skip: int) -> Iterator[Tensor]:
        """Yield places in the room, a shuffled block at a time; what is skipped is not decoded."""
        left = list(groups)
        while left and skip >= self.rows.groups[left[0]].rows:
            skip -= self.rows.groups[left.pop(0)].rows
        for place, table in read_ahead(self._tables(left), self.readers):
            random = np.random.default_rng([*seed, *place])
            orders = [
                torch.from_numpy(random.permutation(np.arange(start, stop)))
                for start, stop in random.permutation(_runs(len(table))).tolist()
            ]
            if skip < len(table):
                self.room.fill(table)
            del table  # its memory is for the one after the next
            for order in orders:
                if skip < len(order):
                    yield order[skip:]
                skip = max(0, skip - len(order))

    def _tables(self, groups: Sequence[int]) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        columns, most = self.rows.decoder.columns, self.rows.most
        for group in groups:
            for part, table in enumerate(self.rows.groups[group].slices(columns, most)):
                yield (group, part), table


def _runs(rows: int) -> list[tuple[int, int]]:
    """Return where each block of ``rows`` begins and ends."""
    return [(start, min(start + BLOCK, rows)) for start in range(0, rows, BLOCK)]


def cuts(rows: NDArray[np.int64], step: int, count: int) -> NDArray[np.int64]:
    """Return how many rows of each lane the first ``step`` of ``count`` batches take.

    The lanes are out of phase, so that batches of few rows do not come all at once.
    """
    lanes = len(rows)
    return (rows * lanes * step + np.arange(lanes) * count) // (count * lanes)


def read_ahead(source: Iterator[T], readers: Executor) -> Iterator[T]:
    """Yield what ``source`` yields, the next of it made by ``readers`` in the meantime."""
    held: list[T | None] = []
    coming = readers.submit(next, source, None)
    while True:
        held.append(coming.result())
        if (one := held.pop()) is None:
            return
        coming = readers.submit(next, source, None)
        held.append(one)
        del one  # so that nothing here keeps it while it is used
        yield cast(T, held.pop())


def ahead(source: Generator[T], depth: int) -> Generator[T]:
    """Yield what ``source`` yields, up to ``depth`` of it made before it is asked for."""
    made: Queue[tuple[list[T], BaseException | None]] = Queue(depth)
    ended = threading.Event()

    def put(one: tuple[list[T], BaseException | None]) -> None:
        while not ended.is_set():
            with suppress(Full):
                return made.put(one, timeout=0.1)

    def work() -> None:
        try:
            for one in source:
                put(([one], None))
                if ended.is_set():
                    source.close()
        except BaseException as error:  # handed to whoever asks for the next
            put(([], error))
        else:
            put(([], None))

    thread = threading.Thread(target=work, name="loader", daemon=True)
    thread.start()
    try:
        while True:
            one, error = made.get()
            if error is not None:
                raise error
            if not one:
                return
            yield one[0]
    finally:
        ended.set()
        thread.join()
