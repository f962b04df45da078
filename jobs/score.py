"""Score raw feature rows in batches with a registered model, by Arrow alone: no Spark, no lake."""

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable

from features.errors import UserError
from features.spec import Spec
from jobs.bundle import ensure_bundle, fetch_bundle
from jobs.home import Home
from jobs.train import registry_of
from training.bundle import Bundle, load

BATCH = 65_536
"""Rows in memory at a time."""
_FORMATS = {".parquet": "parquet", ".csv": "csv", ".feather": "feather", ".arrow": "arrow"}

log = logging.getLogger(__name__)


@dataclass
class _Told:
    """What is counted while rows go by."""

    rows: int = 0
    unknown: int = 0


def score(
    *, spec: Spec, home: Home, model: str, source: Path, target: Path, day: str | None = None
) -> dict[str, Any]:
    """Score every row of ``source`` and write the scores to a Parquet file in one move.

    Args:
        spec: the product.
        home: where its models are.
        model: a version, ``champion``, ``challenger``, or a serving folder.
        source: a Delta table, or a file or folder of Parquet, CSV or Arrow, with the columns of the
            table ``samples``.
        target: gets the columns that are no features, and ``p_<task>`` for each task: null in a
            scenario the model does not know, and where a scenario has no such task.
        day: only the rows of this ``ds``.

    Raises:
        UserError: the source is missing or lacks a column, or the target can't be written.
        RegistryError: the model is unknown, or can't be served.
    """
    started = time.perf_counter()
    version, served = _model(spec, home, model)
    rows = _rows(source, day)
    told = _Told()
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _write(scratch, rows, served, told)
        if not told.rows:
            raise UserError(f"{source} has no row{f' of {day}' if day else ''} to score")
        scratch.replace(target)
    except OSError as error:
        raise UserError(f"can't write {target} ({error.strerror or error})") from None
    finally:
        scratch.unlink(missing_ok=True)
    seconds = time.perf_counter() - started
    return {
        "product": spec.product,
        "version": version,
        "out": target,
        "rows": told.rows,
        "unknown_scenario": told.unknown,
        "rows_per_second": round(told.rows / seconds),
    }


def _model(spec: Spec, home: Home, model: str) -> tuple[str, Bundle]:
    """Return the version that is meant and what serves it."""
    folder = Path(model)
    if folder.is_dir():
        return str(folder), load(folder)
    registry = registry_of(spec, home)
    one = ensure_bundle(spec, home, registry, model)
    with home.scratch() as scratch:
        return one.version, load(fetch_bundle(registry, one.version, scratch))


def _rows(source: Path, day: str | None) -> Iterator[pa.RecordBatch]:
    """Yield the rows, a batch at a time."""
    try:
        dataset = _dataset(source)
        wanted = None if day is None else ds.field("ds") == day
        yield from dataset.to_batches(batch_size=BATCH, filter=wanted)
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise UserError(
            f"can't read the rows in {source} ({str(error).splitlines()[0]}); give a Delta table, "
            "or a file or folder of Parquet, CSV or Arrow"
        ) from None


def _dataset(source: Path) -> ds.Dataset:
    if not source.exists():
        raise UserError(f"there is nothing to score at {source}; correct --in")
    if source.is_dir() and DeltaTable.is_deltatable(str(source)):
        return DeltaTable(str(source)).to_pyarrow_dataset()
    found = source if source.is_file() else next(iter(sorted(source.rglob("*.*"))), source)
    return ds.dataset(str(source), format=_FORMATS.get(found.suffix, "parquet"))


def _write(path: Path, batches: Iterator[pa.RecordBatch], served: Bundle, told: _Told) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for batch in batches:
            scored = _scored(batch, served, told)
            if writer is None:
                writer = pq.ParquetWriter(path, scored.schema, compression="zstd")
            writer.write_table(scored)
    finally:
        if writer is not None:
            writer.close()


def _scored(batch: pa.RecordBatch, served: Bundle, told: _Told) -> pa.Table:
    """Return a batch's own columns without the features, and a probability a task."""
    scores = served.score(batch)
    known = np.isin(np.asarray(batch["scenario"].to_pylist(), dtype=object), served.scenarios)
    told.rows += len(batch)
    told.unknown += int((~known).sum())
    table = pa.Table.from_batches([batch])
    kept = table.drop_columns([name for name in served.features if name in table.column_names])
    for m, task in enumerate(served.tasks):
        kept = kept.append_column(f"p_{task}", pa.array(scores[:, m], from_pandas=True))
    return kept
