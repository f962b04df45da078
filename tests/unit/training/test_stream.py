"""Rows straight from Parquet: every one once an epoch, repeatable, within the memory allowed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pyarrow.fs import LocalFileSystem

from features.errors import TrainingError
from features.spec import Layout
from training.data import Dataset, Group, _open, first_rows
from training.decode import Decoder
from training.prepare import NumberStats, inputs_of, measure_numbers
from training.ranks import Ranks
from training.rows import Examples, Tally, joined_examples, steps_per_epoch
from training.stream import LANES, Streamed, ahead
from training.survey import survey
from training.trainer import Trainer, linear_decay
from training.zoo import build

ROWS, IN_GROUP = 4_700, 300
SIZES = {"c_item": 7, "c_place": 5, "m_tags": 6}
CELLS = ((True, True), (True, False), (True, True))
IDENTITY = NumberStats(log=(False,) * 3, mean=(0.0,) * 3, std=(1e6,) * 3)
"""Numbers that stay tellable: the first is the row's own."""


def written(path: Path, layout: Layout, n: int, *, groups: int = IN_GROUP, seed: int = 0) -> Path:
    """Write ``n`` rows as the encoded table holds them."""
    random = np.random.default_rng(seed)
    bags = [sorted(set(random.integers(1, 6, random.integers(0, 4)).tolist())) for _ in range(n)]
    columns: dict[str, pa.Array] = {
        "sample_id": pa.array([f"{i:08d}" for i in range(n)]),
        "user": pa.array(random.integers(0, 99, n)),
        "scenario": pa.array(random.integers(0, 3, n).astype(np.int32)),
        "c_item": pa.array(random.integers(0, 7, n).astype(np.int32), mask=random.random(n) < 0.1),
        "c_place": pa.array(random.integers(0, 5, n).astype(np.int32)),
        "m_tags": pa.array(bags, pa.list_(pa.int32())),
        "n_price": pa.array(np.arange(n, dtype=np.float32)),
        "n_age": pa.array(random.normal(size=n).astype(np.float32), mask=random.random(n) < 0.1),
        "n_rate": pa.array(
            np.where(random.random(n) < 0.05, np.inf, random.random(n)), pa.float32()
        ),
    }
    for task in layout.tasks:
        label = (random.random(n) < 0.3).astype(np.float32)
        columns[f"y_{task}"] = pa.array(label, mask=random.random(n) < 0.2)
    pq.write_table(pa.table(columns), path, row_group_size=groups)
    return path


def groups_of(path: Path) -> tuple[Group, ...]:
    file = pq.ParquetFile(path)
    opened = partial(_open, LocalFileSystem(), str(path), file.metadata)
    return tuple(
        Group(opened, one, file.metadata.row_group(one).num_rows, file.schema_arrow)
        for one in range(file.num_row_groups)
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.unit.training import conftest

    layout = conftest.layout.__wrapped__()
    return written(tmp_path_factory.mktemp("rows") / "rows.parquet", layout, ROWS)


@pytest.fixture
def streamed(file: Path, layout: Layout) -> Callable[..., Streamed]:
    def make(memory: int = 1 << 20, stats: NumberStats = IDENTITY, **more) -> Streamed:
        groups = groups_of(file)
        seen = survey(groups, layout, SIZES, CELLS)
        decoder = Decoder(layout=layout, stats=stats, widths=seen.widths, cells=CELLS)
        return Streamed(groups=groups, decoder=decoder, known=seen.tally, memory=memory, **more)

    return make


def names(examples: Examples) -> list[int]:
    """Return which rows of the file these are."""
    return (examples.inputs.numbers[:, 0].double() * 1e6).round().int().tolist()


def epoch(rows: Streamed, seed: int = 1, size: int = 200, start: int = 0) -> list[list[int]]:
    run = rows.batches(size, seed, start)
    found = [
        names(one.examples)[: None if one.share else 0]
        for one in islice(run, steps_per_epoch(len(rows), size) - start)
    ]
    run.close()
    return found


def flat(batches: list[list[int]]) -> list[int]:
    return list(chain.from_iterable(batches))


def whole(file: Path, layout: Layout) -> Dataset:
    from datetime import date

    (group,) = groups_of(file)[:1]
    return first_rows([replace(group, rows=IN_GROUP)], layout, date(2026, 3, 1), IN_GROUP)


def test_an_epoch_holds_every_row_once_mixed_from_all_over_the_file(streamed):
    found = epoch(streamed())
    assert sorted(flat(found)) == list(range(ROWS))
    assert max(map(len, found)) - min(map(len, found)) <= LANES
    assert min(len({row // IN_GROUP for row in batch}) for batch in found) >= LANES - 1


def test_the_seed_alone_decides_the_order_and_each_epoch_has_another(streamed):
    rows = streamed()
    assert epoch(rows, seed=1) == epoch(rows, seed=1) != epoch(rows, seed=2)
    run = rows.batches(200, 1)
    both = [names(one.examples) for one in islice(run, 2 * steps_per_epoch(ROWS, 200))]
    run.close()
    first, second = both[: len(both) // 2], both[len(both) // 2 :]
    assert first != second and sorted(flat(second)) == list(range(ROWS))


@pytest.mark.parametrize("start", [1, 9, 22])
def test_a_training_taken_up_again_gets_the_batches_that_it_lacks(streamed, start):
    assert epoch(streamed(), start=start) == epoch(streamed())[start:]


def test_ranks_read_row_groups_of_their_own_and_together_make_the_same_batches(streamed):
    rows, alone, opened = streamed(), epoch(streamed()), []

    def told(rank: int) -> Streamed:
        def watch(place: int, group: Group) -> Group:
            def open_it() -> pq.ParquetFile:
                opened.append((rank, place))
                return group.open()

            return replace(group, open=open_it)

        watched = tuple(watch(place, one) for place, one in enumerate(rows.groups))
        return replace(rows, groups=watched).placed(torch.device("cpu"), Ranks(rank=rank, count=2))

    def own(rank: int) -> list[list[int]]:
        run = told(rank)._batches(200, 1, 0)  # no batch of the next epoch is made ahead
        return [names(one.examples) for one in islice(run, steps_per_epoch(ROWS, 200))]

    parts = [own(rank) for rank in (0, 1)]
    for mine, other, both in zip(*parts, alone, strict=True):
        assert sorted(mine + other) == sorted(both)
    first, second = ({place for rank, place in opened if rank == one} for one in (0, 1))
    assert not first & second and first | second == set(range(len(rows.groups)))


def test_the_shares_of_uneven_batches_make_the_mean_over_all_rows(streamed):
    shares: list[list[tuple[int, float]]] = []
    for rank in range(3):
        rows = streamed().placed(torch.device("cpu"), Ranks(rank=rank, count=3))
        run = rows.batches(200, 1)
        shares.append([(len(one.examples), one.share) for one in islice(run, 24)])
        run.close()
    for step in zip(*shares, strict=True):
        total = sum(length for length, _ in step)
        assert [share for _, share in step] == pytest.approx([3 * n / total for n, _ in step])


def test_what_is_decoded_is_what_held_rows_are(streamed, file, layout):
    dataset = whole(file, layout)
    stats = measure_numbers(dataset)
    wanted = inputs_of(dataset, stats, tuple(SIZES.values()))
    found = next(streamed(stats=stats).chunks())
    assert torch.equal(found.inputs.index, wanted.widened(found.inputs.widths).index)
    assert torch.allclose(found.inputs.numbers, wanted.numbers, atol=1e-5)
    assert torch.equal(found.inputs.scenario, wanted.scenario)
    labels = torch.from_numpy(dataset.labels)
    labels[wanted.scenario == 1, 1] = torch.nan
    assert torch.equal(found.labels.nan_to_num(9), labels.nan_to_num(9))


def test_one_look_finds_what_reading_everything_would(file, layout, tmp_path):
    one = groups_of(written(tmp_path / "one.parquet", layout, 2_000, groups=2_000))
    many = groups_of(written(tmp_path / "many.parquet", layout, 2_000, groups=70))
    first, second = (survey(groups, layout, SIZES, CELLS) for groups in (one, many))
    assert np.allclose(first.stats.mean, second.stats.mean)
    assert np.allclose(first.stats.std, second.stats.std)
    assert first.widths == second.widths == (3,)
    assert torch.equal(first.tally.labels, second.tally.labels)
    assert first.tally.labels[1, 1] == 0 and first.tally.rows.sum() == 2_000
    with pytest.raises(TrainingError, match=r"encoded\.c_item holds index 6 and the vocabulary"):
        survey(one, layout, SIZES | {"c_item": 6}, CELLS)


def test_columns_that_an_older_file_lacks_are_read_as_null(file, layout):
    rows = groups_of(file)[0]
    grown = rows.schema.append(pa.field("n_new", pa.float32()))
    table = next(replace(rows, schema=grown).slices(["n_new", "c_item"], 1_000))
    assert table["n_new"].null_count == IN_GROUP and table.column_names == ["n_new", "c_item"]


def test_ten_times_the_rows_take_no_more_memory(layout, tmp_path):
    peaks = []
    for n in (12_000, 120_000):
        groups = groups_of(written(tmp_path / f"{n}.parquet", layout, n, groups=500))
        decoder = Decoder(layout=layout, stats=IDENTITY, widths=(3,), cells=CELLS)
        known = Tally(torch.ones(3), torch.ones(3, 2))
        rows = Streamed(groups=groups, decoder=decoder, known=known, memory=2 << 20)
        before, held, seen = pa.total_allocated_bytes(), [], 0
        for batch in islice(rows._batches(1_000, 1, 0), n // 1_000):
            held.append(pa.total_allocated_bytes() - before)
            seen += len(batch.examples)
        assert seen == n
        peaks.append(max(held))
    # Arrow's part; what is decoded goes into rooms that were made at the start.
    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < 120_000 * decoder.row_bytes / 10


def test_a_streamed_training_is_repeatable_and_validates_as_held_rows_do(
    streamed, architecture, settings
):
    a = architecture(kind="shared_bottom", cells=CELLS)
    stats = NumberStats(log=(False,) * 3, mean=(ROWS / 2, 0.0, 0.5), std=(ROWS / 3, 1.0, 0.3))
    rows = streamed(stats=stats)

    def trained() -> Trainer:
        trainer = Trainer(build(a, 1), rows, rows, settings())
        trainer.run("train", 12, linear_decay)
        return trainer

    first, second = trained(), trained()
    assert all(torch.equal(one, second.state()[name]) for name, one in first.state().items())
    held = joined_examples([one.take(torch.arange(len(one))) for one in rows.chunks()])
    other = Trainer(build(a, 1), held, held, settings())
    other.restore(first.state())
    assert other.validation_loss() == pytest.approx(first.validation_loss(), abs=1e-6)


def test_row_groups_are_set_aside_whole(streamed):
    rows = streamed()
    kept, aside = rows.set_aside(seed=3)
    assert len(kept) + len(aside) == len(rows) and 0 < len(aside) < len(rows) / 5
    assert not set(flat(epoch(kept))) & set(flat(epoch(aside, size=100)))


def test_what_breaks_while_batches_are_made_is_told_to_who_asks_for_them():
    def source() -> Iterator[int]:
        yield 1
        raise TrainingError("the file is gone")

    run = ahead(source(), 2)
    assert next(run) == 1
    with pytest.raises(TrainingError, match="the file is gone"):
        next(run)
