"""How fast rows come from Delta: our loader, a bare scan, and a DataLoader that goes row by row."""

import statistics
import time
from collections.abc import Callable
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from deltalake import WriterProperties, write_deltalake
from torch.utils.data import DataLoader, Dataset

from features.lake import Lake
from features.spec.layout import Column, Layout
from training.data import row_groups, trained_columns
from training.decode import Decoder
from training.rows import Examples, joined_examples, steps_per_epoch
from training.stream import Streamed
from training.survey import survey

BATCH = 4096
CATEGORIES, NUMBERS, TOKENS = 10, 80, 1000
DAY = date(2026, 3, 1)
GROUP = 32_768
ROW_WISE = 8 * BATCH
"""Rows that the DataLoader reads: its rate does not depend on it."""
EPOCHS = 3
"""Read by our loader at once, so that what it reads ahead between two rounds hardly counts."""
MEMORY = 1 << 30
LAYOUT = Layout(
    scenarios=("feed", "search", "live"),
    tasks=("click", "purchase"),
    columns=(
        *(Column(name=f"c_{n}", kind="category", source=f"c{n}") for n in range(CATEGORIES)),
        *(
            Column(name=f"n_{n}", kind="number", source=f"n{n}", scale="none" if n % 3 else "log1p")
            for n in range(NUMBERS)
        ),
    ),
)


def rates(folder: Path, rows: int, repeats: int) -> dict[str, float]:
    """Return the million values a second that each way of reading yields, in turn.

    Args:
        folder: takes the table meanwhile.
        rows: of the table; a row has 93 values.
        repeats: rounds; medians are told.
    """
    lake = Lake(str(folder), "bench")
    _write(lake, rows)
    version = lake.open("encoded").version()
    scanned = lake.open("encoded", version).to_pyarrow_dataset()
    columns = list(trained_columns(LAYOUT))
    groups = row_groups(lake, LAYOUT, [DAY], version)
    cells = ((True,) * len(LAYOUT.tasks),) * len(LAYOUT.scenarios)
    sizes = {column.name: TOKENS for column in LAYOUT.of("category")}
    seen = survey(groups, LAYOUT, sizes, cells)
    decoder = Decoder(layout=LAYOUT, stats=seen.stats, widths=seen.widths, cells=cells)
    streamed = Streamed(groups=groups, decoder=decoder, known=seen.tally, memory=MEMORY)
    some = _held(streamed, min(rows, ROW_WISE))
    batches = streamed.batches(BATCH, 1)

    def scan() -> int:
        return sum(len(batch) for batch in scanned.to_batches(columns=columns))

    def scan_alone() -> int:
        return sum(len(batch) for batch in scanned.to_batches(columns=columns, use_threads=False))

    def load() -> int:
        steps = islice(batches, EPOCHS * steps_per_epoch(rows, BATCH))
        return sum(len(batch.examples) for batch in steps)

    def row_wise() -> int:
        loader = DataLoader(_RowWise(some), batch_size=BATCH, shuffle=True)
        return sum(len(labels) for *_, labels in loader)

    works: dict[str, Callable[[], int]] = {
        "pyarrow scan": scan,
        "pyarrow scan, one thread": scan_alone,
        "loader": load,
        "row-wise DataLoader": row_wise,
    }
    found: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(repeats + 1):
        for name, work in works.items():
            started = time.perf_counter()
            read = work()
            if round_:
                rate = read * len(columns) / (time.perf_counter() - started)
                found[name].append(rate / 1e6)
    return {name: statistics.median(one) for name, one in found.items()}


class _RowWise(Dataset[Any]):
    """Rows in memory, handed out one at a time: what most training code does."""

    def __init__(self, rows: Examples) -> None:
        self.scenario = rows.inputs.scenario.numpy()
        self.index, self.numbers = rows.inputs.index.numpy(), rows.inputs.numbers.numpy()
        self.labels = rows.labels.numpy()

    def __len__(self) -> int:
        return len(self.scenario)

    def __getitem__(self, row: int) -> tuple[Any, ...]:
        return self.scenario[row], self.index[row], self.numbers[row], self.labels[row]


def _held(rows: Streamed, most: int) -> Examples:
    taken: list[Examples] = []
    for chunk in rows.chunks():
        taken.append(chunk.take(torch.arange(min(len(chunk), most))))
        if sum(map(len, taken)) >= most:
            break
    return joined_examples(taken)


def _write(lake: Lake, rows: int) -> None:
    """Write one day of made-up rows, with nulls as real ones have."""
    random = np.random.default_rng(7)
    named: dict[str, pa.Array] = {
        "ds": pa.array([DAY.isoformat()] * rows),
        "sample_id": pa.array([f"{one:012d}" for one in range(rows)]),
        "user": pa.array(random.integers(0, 1 << 40, rows)),
        "scenario": pa.array(random.choice(3, rows, p=[0.7, 0.2, 0.1]).astype(np.int32)),
    }
    for task in LAYOUT.tasks:
        label = (random.random(rows) < 0.1).astype(np.float32)
        named[f"y_{task}"] = pa.array(label, mask=random.random(rows) < 0.1)
    for column in LAYOUT.of("category"):
        tokens = random.zipf(1.3, rows) % TOKENS
        named[column.name] = pa.array(tokens.astype(np.int32))
    for place, column in enumerate(LAYOUT.of("number")):
        values = random.lognormal(0.0, 1.0, rows).astype(np.float32)
        named[column.name] = pa.array(values, mask=random.random(rows) < 0.1 * (place % 2))
    Path(lake.path("encoded")).parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(
        lake.path("encoded"),
        pa.table(named),
        partition_by=["ds"],
        writer_properties=WriterProperties(max_row_group_size=GROUP, compression="SNAPPY"),
    )
