"""From raw feature rows to the arrays a model reads, without Spark: the twin of features.encode.

Raw are the columns of ``samples``: a token for each category, tokens for each multi-value column,
numbers as they are. The vocabulary is the one the model was trained with: a token that came later
is unknown to it, as it was in training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.errors import UserError
from features.lake import Lake
from features.spec.layout import Column, Layout
from training.data import TOKENS, Dataset

Rows: TypeAlias = "pa.Table | pa.RecordBatch | Sequence[Mapping[str, Any]]"
"""A table with the columns of ``samples``, or one mapping a row, in which a feature may be left
out: then it is unknown."""


@dataclass(frozen=True)
class Tokens:
    """The index of every token: feature → token → index, from 1."""

    of: Mapping[str, Mapping[str, int]]

    @classmethod
    def from_lake(cls, lake: Lake, layout: Layout, sizes: Mapping[str, int]) -> "Tokens":
        """Read the vocabulary as it was when its features had ``sizes`` indices.

        An index never changes its meaning within one table, so that the smaller ones are the older
        vocabulary.

        Raises:
            LakeError: when there is no vocabulary.
        """
        names = [column.name for column in layout.named]
        rows = lake.open("vocabulary").to_pyarrow_table(
            filters=[("feature", "in", names)], columns=["feature", "token", "index"]
        )
        found: dict[str, dict[str, int]] = {name: {} for name in names}
        for name in names:
            mine = rows.filter(pc.equal(rows["feature"], name))
            mine = mine.filter(pc.less(mine["index"], sizes[name]))
            found[name] = dict(
                zip(mine["token"].to_pylist(), mine["index"].to_pylist(), strict=True)
            )
        return cls(found)

    def fill(self, layout: Layout, sizes: Mapping[str, int]) -> bool:
        """Return whether every index below each feature's size has its token."""
        return all(len(self.of[one.name]) == sizes[one.name] - 1 for one in layout.named)

    @classmethod
    def read(cls, path: Path) -> "Tokens":
        """Read what :meth:`write` wrote."""
        found: dict[str, dict[str, int]] = {}
        for row in pq.read_table(path).to_batches():
            columns = (row[name].to_pylist() for name in ("feature", "token", "index"))
            for feature, token, index in zip(*columns, strict=True):
                found.setdefault(feature, {})[token] = index
        return cls(found)

    def write(self, path: Path) -> None:
        """Write the vocabulary as Parquet: ``feature``, ``token``, ``index``."""
        rows = [
            (feature, token, index)
            for feature, tokens in self.of.items()
            for token, index in tokens.items()
        ]
        columns = zip(*rows, strict=True) if rows else ([], [], [])
        schema = pa.schema(
            [("feature", pa.string()), ("token", pa.string()), ("index", pa.int32())]
        )
        arrays = [
            pa.array(list(one), field.type) for one, field in zip(columns, schema, strict=True)
        ]
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")

    def indices(self, feature: str, tokens: pa.Array) -> NDArray[np.int32]:
        """Return the index of each token, 0 for null and unknown ones."""
        known = self.of.get(feature, {})
        coded = pc.dictionary_encode(tokens)
        table = [known.get(token, 0) for token in coded.dictionary.to_pylist()]
        places = pc.fill_null(coded.indices, len(table)).to_numpy(zero_copy_only=False)
        found: NDArray[np.int32] = np.array([*table, 0], dtype=np.int32)[places]
        return found


def dataset(rows: Rows, layout: Layout, tokens: Tokens) -> tuple[Dataset, NDArray[np.bool_]]:
    """Return raw rows as a model reads them, and which are of a scenario it knows.

    Args:
        rows: with ``scenario`` and the layout's columns.
        layout: the model's.
        tokens: the model's.

    Raises:
        UserError: a column is missing from a table, or holds what can't be read as its kind.
    """
    table = _table(rows, layout)
    n = len(table)
    wanted = pa.array(layout.scenarios, pa.string())
    place = pc.index_in(_cast(table, "scenario", pa.string()), value_set=wanted)
    scenario = np.asarray(pc.fill_null(place, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
    known = scenario >= 0
    categories = [
        tokens.indices(_vocabulary(one), _cast(table, one.name, pa.string()))
        for one in layout.of("category")
    ]
    numbers = [_number(table, one.name) for one in layout.of("number")]
    found = Dataset(
        layout=layout,
        ds=np.zeros(n, dtype="datetime64[D]"),
        sample_id=np.full(n, "", dtype=object),
        user=np.zeros(n, dtype=np.int64),
        scenario=np.where(known, scenario, 0),
        categories=_stack(categories, n, np.int32),
        multi=tuple(_bag(_lists(table, one), one, tokens) for one in layout.of("multi")),
        numbers=_stack(numbers, n, np.float32),
        labels=np.full((n, len(layout.tasks)), np.nan, dtype=np.float32),
    )
    return found, known


def raw_rows(rows: Dataset, tokens: Tokens) -> pa.Table:
    """Return encoded rows as raw ones: an index as its token, 0 as null.

    What such rows are encoded to again is what they were, but for unknown tokens in a bag.
    """
    layout = rows.layout
    columns: dict[str, pa.Array] = {
        "scenario": pa.array([layout.scenarios[k] for k in rows.scenario], pa.string())
    }
    names = {name: {i: token for token, i in of.items()} for name, of in tokens.of.items()}
    for position, one in enumerate(layout.of("category")):
        said = names[_vocabulary(one)]
        values = [said.get(index) for index in rows.categories[:, position].tolist()]
        columns[one.name] = pa.array(values, pa.string())
    for one, bags in zip(layout.of("multi"), rows.multi, strict=True):
        said = names[_vocabulary(one)]
        lists = [[said[index] for index in bag if index in said] for bag in bags.tolist()]
        columns[one.name] = pa.array(lists, pa.list_(pa.string()))
    for position, one in enumerate(layout.of("number")):
        columns[one.name] = pa.array(rows.numbers[:, position], pa.float32(), from_pandas=True)
    return pa.table(columns)


def _table(rows: Rows, layout: Layout) -> pa.Table:
    """Return the rows as one table with every column that the model reads."""
    names = ["scenario", *(column.name for column in layout.columns)]
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    if not isinstance(rows, pa.Table):
        return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    missing = [name for name in names if name not in rows.column_names]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"the rows to score have no column '{missing[0]}'{more}; give the columns of the table "
            "samples, with nulls where a feature is unknown"
        )
    return rows.select(names).combine_chunks()


def _cast(table: pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    """Return a column in another type, in one piece.

    Raises:
        UserError: when a value can't be read so.
    """
    try:
        column = table[name].cast(kind, safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        said = str(error).splitlines()[0]
        raise UserError(f"column '{name}' of the rows to score can't be read: {said}") from None
    pieces = column.chunks or [pa.array([], kind)]
    return pa.concat_arrays(pieces)


def _number(table: pa.Table, name: str) -> NDArray[np.float32]:
    values = _cast(table, name, pa.float32()).to_numpy(zero_copy_only=False).copy()
    values[~np.isfinite(values)] = np.nan
    return np.asarray(values, dtype=np.float32)


def _lists(table: pa.Table, column: Column) -> pa.Array:
    """Return a multi-value column as lists of text; text is taken apart at the separator."""
    kind = table.schema.field(column.name).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        whole = _cast(table, column.name, pa.string())
        return pc.split_pattern(whole, column.separator)
    return _cast(table, column.name, pa.list_(pa.string()))


def _bag(lists: pa.Array, column: Column, tokens: Tokens) -> NDArray[np.int32]:
    """Return each row's known indices, [n, longest row but at least 1], -1 after the last.

    A sequence keeps its order and repetitions; other columns name each token once, in the order of
    the vocabulary, as ``encoded`` does.
    """
    n = len(lists)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    index = tokens.indices(_vocabulary(column), pc.list_flatten(lists)).astype(np.int64)
    row = np.repeat(np.arange(n), lengths)
    row, index = row[index > 0], index[index > 0]
    if not column.ordered and len(index):
        pairs = np.unique(np.stack([row, index], axis=1), axis=0)
        row, index = pairs[:, 0], pairs[:, 1]
    counts = np.bincount(row, minlength=n) if n else np.zeros(0, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
    place = np.arange(len(row)) - np.repeat(starts, counts)
    kept = place < TOKENS
    width = int(min(max(counts.max(initial=1), 1), TOKENS))
    filled = np.full((n, width), -1, dtype=np.int32)
    filled[row[kept], place[kept]] = index[kept]
    return filled


def _vocabulary(column: Column) -> str:
    return column.borrows or column.name


def _stack(columns: list[NDArray[Any]], n: int, kind: Any) -> NDArray[Any]:
    return np.stack(columns, axis=1).astype(kind) if columns else np.zeros((n, 0), dtype=kind)
