"""Encoded partitions as compact arrays, read through Arrow from one pinned Delta version."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable
from numpy.typing import NDArray
from pyarrow.fs import FileSystem

from features.errors import TrainingError
from features.lake import Lake
from features.spec.layout import Layout

BUFFER = 1 << 20
"""Bytes of a column that are fetched at once."""
TOKENS = 32
"""Tokens of a multi-value feature that are read a row; the ones after it are left out."""

Rows = NDArray[np.int64] | NDArray[np.bool_] | slice


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows of ``encoded``, in the order of day and sample id.

    ``n`` rows, ``C`` category columns, ``N`` number columns, ``M`` tasks, as in ``layout``.
    """

    layout: Layout
    ds: NDArray[np.datetime64]
    """[n] the day."""
    sample_id: NDArray[np.object_]
    """[n]"""
    user: NDArray[np.int64]
    """[n] hash of the person, by whom intervals are clustered."""
    scenario: NDArray[np.int64]
    """[n] index into ``layout.scenarios``."""
    categories: NDArray[np.int32]
    """[n, C] token indices, 0 for unknown or null."""
    multi: tuple[NDArray[np.int32], ...]
    """A multi-value column each: [n, longest row], -1 after the row's last token."""
    numbers: NDArray[np.float32]
    """[n, N], NaN for null; infinities were read as null."""
    labels: NDArray[np.float32]
    """[n, M] 0 or 1, NaN where immature or where the cell does not exist."""
    vocabulary: str = ""
    """Id of the vocabulary table: in another one the same index means another token."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.scenario)

    def take(self, rows: Rows) -> "Dataset":
        """Return the given rows, by index, by a boolean each, or as a slice."""
        return replace(
            self,
            ds=self.ds[rows],
            sample_id=self.sample_id[rows],
            user=self.user[rows],
            scenario=self.scenario[rows],
            categories=self.categories[rows],
            multi=tuple(tokens[rows] for tokens in self.multi),
            numbers=self.numbers[rows],
            labels=self.labels[rows],
        )

    def on(self, days: Sequence[date]) -> "Dataset":
        """Return the rows of the given days."""
        return self.take(np.isin(self.ds, np.array(days, dtype="datetime64[D]")))


def label_counts(
    lake: Lake, layout: Layout, first: date, last: date, version: int
) -> dict[date, dict[str, int]]:
    """Return how many labels of each task are known on every day held of a span."""
    table = lake.open("encoded", version)
    held = {part["ds"] for part in table.partitions()}
    days = sorted(day for day in held if first.isoformat() <= day <= last.isoformat())
    if not days:
        return {}
    columns = [f"y_{task}" for task in layout.tasks]
    _check_columns(table, columns)
    rows = table.to_pyarrow_dataset()
    return {date.fromisoformat(day): _known(rows, day, layout.tasks) for day in days}


def _known(rows: ds.Dataset, day: str, tasks: Sequence[str]) -> dict[str, int]:
    """Return how many labels of each task are known on a day, from a batch of it at a time."""
    known = dict.fromkeys(tasks, 0)
    columns = [f"y_{task}" for task in tasks]
    for batch in rows.to_batches(columns=columns, filter=ds.field("ds") == day):
        for task, column in zip(tasks, batch.columns, strict=True):
            known[task] += len(column) - column.null_count
    return known


def read_days(
    lake: Lake, layout: Layout, days: Sequence[date], version: int, *, table: str = "encoded"
) -> Dataset:
    """Read whole days of ``encoded`` as they were at a Delta version.

    Args:
        lake: the product's tables.
        layout: the scenarios, tasks and columns wanted; other columns are not read.
        days: the days, each of which must have rows.
        version: the Delta version of the table.
        table: another table with the columns of ``encoded``.

    Raises:
        TrainingError: a day or a column is missing, or a value is not what the contract says.
    """
    opened = lake.open(table, version)
    wanted = [day.isoformat() for day in days]
    columns = ["sample_id", "user", *trained_columns(layout)]
    _check_columns(opened, columns)
    rows = opened.to_pyarrow_table(filters=[("ds", "in", wanted)], columns=["ds", *columns])
    rows = rows.sort_by([("ds", "ascending"), ("sample_id", "ascending")])
    dataset = replace(_dataset(rows, layout), vocabulary=str(lake.open("vocabulary").metadata().id))
    found = {str(day) for day in np.unique(dataset.ds)}
    for day in wanted:
        if day not in found:
            raise _no_row(table, day)
    return dataset


def trained_columns(layout: Layout) -> tuple[str, ...]:
    """Return the columns of ``encoded`` that a network reads, or learns from."""
    labels = (f"y_{task}" for task in layout.tasks)
    return ("scenario", *labels, *(column.name for column in layout.columns))


@dataclass(frozen=True)
class Group:
    """A row group of a Parquet file."""

    open: Callable[[], pq.ParquetFile]
    """Opens the file anew."""
    index: int
    rows: int
    schema: pa.Schema
    """The table's, to which columns that an older file lacks or has otherwise are brought."""

    def slices(self, columns: Sequence[str], most: int) -> Iterator[pa.Table]:
        """Yield its rows in order, at most ``most`` at a time."""
        wanted = pa.schema([self.schema.field(name) for name in columns])
        with self.open() as file:
            if self.rows <= most:
                held = file.read_row_group(self.index, columns=list(columns), use_threads=False)
                yield _brought_to(wanted, held)
                return
            for batch in file.iter_batches(
                most, row_groups=[self.index], columns=list(columns), use_threads=False
            ):
                yield _brought_to(wanted, pa.Table.from_batches([batch]))


def _brought_to(wanted: pa.Schema, table: pa.Table) -> pa.Table:
    if table.schema.equals(wanted):
        return table
    missing = [field for field in wanted if field.name not in table.column_names]
    for field in missing:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(wanted.names).cast(wanted)


def row_groups(lake: Lake, layout: Layout, days: Sequence[date], version: int) -> tuple[Group, ...]:
    """Return the row groups of some days of ``encoded``, by day and first sample id.

    Raises:
        TrainingError: a day has no rows, or the table lacks a column of ``layout``.
    """
    table = lake.open("encoded", version)
    _check_columns(table, trained_columns(layout))
    rows = table.to_pyarrow_dataset()
    found: list[tuple[str, str, Group]] = []
    for day in days:
        files = list(rows.get_fragments(filter=ds.field("ds") == day.isoformat()))
        if not sum(file.metadata.num_rows for file in files):
            raise _no_row("encoded", day.isoformat())
        for file in files:
            opened = partial(_open, file.filesystem, file.path, file.metadata)
            for group in file.row_groups:
                first = (group.statistics or {}).get("sample_id", {}).get("min", "")
                one = Group(opened, group.id, group.num_rows, rows.schema)
                found.append((day.isoformat(), first, one))
    return tuple(one[2] for one in sorted(found, key=lambda one: one[:2]))


def first_rows(groups: Sequence[Group], layout: Layout, day: date, count: int) -> Dataset:
    """Return the first rows of the first of ``groups``, which is of ``day``."""
    columns = ["sample_id", "user", *trained_columns(layout)]
    rows = next(groups[0].slices(columns, count)).slice(0, count)
    days = pa.array([day.isoformat()] * len(rows))
    return _dataset(rows.append_column("ds", days), layout)


def _open(files: FileSystem, path: str, metadata: pq.FileMetaData) -> pq.ParquetFile:
    # A buffer, so that a column chunk is fetched as it is read on, not whole.
    return pq.ParquetFile(
        path, filesystem=files, metadata=metadata, buffer_size=BUFFER, pre_buffer=False
    )


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """How many tokens each feature has, and which table said so."""

    sizes: Mapping[str, int]
    """Feature → rows its embedding needs, the unknown token 0 included."""
    version: int
    """Delta version read."""
    id: str
    """The table's own id: one that was deleted and built again has another."""


def read_vocabulary(lake: Lake, layout: Layout, version: int | None = None) -> Vocabulary:
    """Return the sizes of every category and multi-value column's vocabulary, as it is or was."""
    table = lake.open("vocabulary", version)
    rows = table.to_pyarrow_table(columns=["feature", "index"])
    known = {
        row["feature"]: int(row["index_max"]) + 1
        for row in rows.group_by("feature").aggregate([("index", "max")]).to_pylist()
    }
    sizes = {
        column.name: known.get(column.borrows or column.name, 1)
        for column in layout.of("category", "multi")
    }
    return Vocabulary(sizes=sizes, version=table.version(), id=str(table.metadata().id))


def check_vocabulary(dataset: Dataset, sizes: Mapping[str, int]) -> None:
    """Refuse indices that the vocabulary does not hold.

    Raises:
        TrainingError: naming the column and the index.
    """
    layout = dataset.layout
    tokens: list[tuple[str, NDArray[np.int32]]] = [
        (column.name, dataset.categories[:, position])
        for position, column in enumerate(layout.of("category"))
    ]
    tokens += list(zip((column.name for column in layout.of("multi")), dataset.multi, strict=True))
    for name, indices in tokens:
        check_highest(name, indices, sizes)


def check_highest(name: str, indices: NDArray[Any], sizes: Mapping[str, int]) -> None:
    """Refuse indices of a column that the vocabulary does not hold.

    Raises:
        TrainingError: naming the column and the index.
    """
    highest = int(indices.max(initial=0))
    if highest >= sizes[name]:
        raise TrainingError(
            f"encoded.{name} holds index {highest} and the vocabulary ends at "
            f"{sizes[name] - 1}; build these days again: autoifs samples run --force"
        )


def _no_row(table: str, day: str) -> TrainingError:
    return TrainingError(f"{table} has no row of {day}; build it: autoifs backfill")


def contents(lake: Lake, days: Sequence[date], version: int) -> dict[str, str]:
    """Return what names each day's content: the hash in its commit, or else its files.

    Two versions of the table with equal contents train equal models: a commit names the samples it
    encoded, and an index never changes its meaning within one vocabulary.
    """
    table = lake.open("encoded", version)
    wanted = {day.isoformat() for day in days}
    found: dict[str, str] = {}
    for entry in table.history():
        said = _metadata(entry)
        day = said.get("ds")
        content = said.get("content_hash") or said.get("samples_hash")
        if day in wanted and content:
            found.setdefault(day, str(content))
    for day in wanted - found.keys():
        found[day] = "|".join(sorted(table.file_uris(partition_filters=[("ds", "=", day)])))
    return dict(sorted(found.items()))


def _metadata(entry: Mapping[str, Any]) -> dict[str, Any]:
    import json

    said = json.loads(entry.get("userMetadata") or "{}")
    return said if isinstance(said, dict) else {}


def _check_columns(table: DeltaTable, columns: Sequence[str]) -> None:
    held = {field.name for field in table.schema().fields}
    for column in columns:
        if column not in held:
            raise TrainingError(
                f"encoded has no column '{column}', which the spec declares; "
                "encode the days again: autoifs backfill"
            )


def _dataset(rows: pa.Table, layout: Layout) -> Dataset:
    return Dataset(
        layout=layout,
        ds=np.asarray(rows["ds"].to_numpy(), dtype="datetime64[D]"),
        sample_id=rows["sample_id"].to_numpy(),
        user=integers_of(rows["user"]).astype(np.int64),
        scenario=scenarios_of(rows, layout),
        categories=side_by_side(
            [integers_of(rows[column.name]) for column in layout.of("category")],
            len(rows),
            np.int32,
        ),
        multi=tuple(padded_tokens(rows[column.name]) for column in layout.of("multi")),
        numbers=side_by_side(
            [floats_of(rows[column.name]) for column in layout.of("number")], len(rows), np.float32
        ),
        labels=labels_of(rows, layout),
    )


def side_by_side(columns: Sequence[NDArray[Any]], n: int, kind: Any) -> NDArray[Any]:
    """Return columns [n] as one array [n, columns]."""
    filled = np.empty((n, len(columns)), dtype=kind)
    for position, column in enumerate(columns):
        filled[:, position] = column
    return filled


def integers_of(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column's values [n], null as 0."""
    return np.asarray(pc.fill_null(column, 0).to_numpy())


def floats_of(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Return a column's values [n], NaN for null; infinities are read as null."""
    values: NDArray[np.float32] = column.cast(pa.float32(), safe=False).to_numpy().copy()
    values[~np.isfinite(values)] = np.nan
    return values


def scenarios_of(rows: pa.Table, layout: Layout) -> NDArray[np.int64]:
    """Return the index of each row's scenario in ``layout``, [n].

    Raises:
        TrainingError: ``layout`` has no such scenario.
    """
    scenario = np.asarray(pc.fill_null(rows["scenario"], -1).to_numpy(), dtype=np.int64)
    if len(scenario) and not (scenario.min() >= 0 and scenario.max() < len(layout.scenarios)):
        raise TrainingError(
            f"encoded.scenario holds indices {scenario.min()} to {scenario.max()} and the spec has "
            f"{len(layout.scenarios)} scenarios; build these days again: "
            "autoifs samples run --force"
        )
    return scenario


def labels_of(rows: pa.Table, layout: Layout) -> NDArray[np.float32]:
    """Return the labels [n, M], NaN for null.

    Raises:
        TrainingError: a label is neither 0, 1 nor null.
    """
    labels = side_by_side(
        [floats_of(rows[f"y_{task}"]) for task in layout.tasks], len(rows), np.float32
    )
    for position, task in enumerate(layout.tasks):
        values = labels[:, position]
        wrong = values[~np.isnan(values) & (values != 0) & (values != 1)]
        if len(wrong):
            raise TrainingError(
                f"encoded.y_{task} holds {wrong[0]:g}; a label is 0, 1 or null: correct "
                f"tasks.{task} in the spec and encode again"
            )
    return labels


def padded_tokens(column: pa.ChunkedArray) -> NDArray[np.int32]:
    """Return rows of tokens side by side: [n, longest row but at least 1], -1 after the last."""
    whole = pa.chunked_array(column).combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # an empty column has no chunk to return
        whole = pa.array([], type=column.type)
    lengths = np.asarray(
        pc.fill_null(pc.list_value_length(whole), 0).to_numpy(zero_copy_only=False)
    )
    values = np.asarray(pc.fill_null(pc.list_flatten(whole), 0).to_numpy(zero_copy_only=False))
    width = int(min(max(lengths.max(initial=1), 1), TOKENS))
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    place = np.arange(width)
    held = place < lengths[:, None]
    padded = np.full((len(lengths), width), -1, dtype=np.int32)
    padded[held] = values[(starts[:, None] + place)[held].astype(np.int64)]
    return padded
