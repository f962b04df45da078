"""A product's raw data over a run of several days: what stays the same is read once."""

from dataclasses import dataclass, field
from datetime import date
from functools import reduce
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features import cells
from features.batch import Batch
from features.contract import Columns
from features.deliveries import SHARED, Deliveries, delivered
from features.errors import SourceError
from features.lots import LOT, by_lot, lot_of
from features.needs import needed_columns, used_tables
from features.settle import handed_out, is_small, settle
from features.sources import FOR, explained, read_events, read_table, refused_rows
from features.spec import Spec

_Key = tuple[str, tuple[Path, ...]]


@dataclass(frozen=True)
class Raw:
    """Reads the sources of a product and keeps what later days of the run read again."""

    spark: SparkSession
    spec: Spec
    keep: bool = False
    """Whether several days are built: then streams without a file a day are kept, parsed."""
    _kept: dict[_Key, DataFrame] = field(default_factory=dict)
    _found: dict[_Key, Deliveries] = field(default_factory=dict)

    def events(self, name: str, batch: Batch) -> DataFrame:
        """Return a stream's events of the files of ``batch``."""
        paths = batch.files[name]
        found = self._delivered(name, paths, batch)
        if self.spec.sources[name].daily or not self.keep:
            return read_events(self.spark, self.spec, name, paths, found)
        if (name, paths) not in self._kept:
            frame = read_events(self.spark, self.spec, name, paths, found)
            if not is_small(self.spark):
                # A compressed file is read by one core; spread, later days use all of them.
                frame = frame.repartition(self.spark.sparkContext.defaultParallelism)
            self._kept[name, paths] = settle(frame, lasting=True)
        return self._kept[name, paths]

    def tables(self, batch: Batch) -> dict[str, DataFrame]:
        """Return the attribute tables that features use, one row a key.

        One that is delivered anew every day has one row a day and key, the day being ``_for``.

        Raises:
            SourceError: when a declared number is one in no row.
        """
        return {name: self._table(name, batch) for name in used_tables(self.spec)}

    def accepted(self, batch: Batch, day: date) -> dict[str, Columns]:
        """Return source → what was accepted of its columns with the files of ``day``."""
        return {
            name: columns
            for name, paths in batch.files.items()
            for ds, columns in self._delivered(name, paths, batch).accepted.items()
            if ds in (SHARED, day.isoformat())
        }

    def refused(self, batch: Batch, day: date) -> dict[str, dict[str, int]]:
        """Return table of attributes → rule → rows of the day's files that its contract refuses."""
        files = next(found.files for found in batch.days if found.day == day)
        counted = {
            name: refused_rows(
                self.spark,
                self.spec,
                name,
                files[name],
                self._delivered(name, batch.files[name], batch),
            )
            for name in used_tables(self.spec)
        }
        return {name: rules for name, rules in counted.items() if rules}

    def _delivered(self, name: str, paths: tuple[Path, ...], batch: Batch) -> Deliveries:
        """Return what is agreed of a source's files; looked at once for the days of a batch."""
        key = (name, paths)
        if key not in self._found:
            for old in [one for one in self._found if one[0] == name]:
                self._found.pop(old)
            self._found[key] = delivered(self.spark, self.spec, name, paths, batch.records)
        return self._found[key]

    def _table(self, name: str, batch: Batch) -> DataFrame:
        wanted = {(name, found.files[name]) for found in batch.days}
        for old in [one for one in self._kept if one[0] == name and one not in wanted]:
            self._kept.pop(old)
        if not self.spec.sources[name].daily:
            return self._version(name, batch.days[0].files[name], batch)
        versions = [
            self._version(name, found.files[name], batch).withColumn(
                FOR, F.lit(found.day.isoformat())
            )
            for found in batch.days
        ]
        return reduce(DataFrame.unionByName, versions)

    def _version(self, name: str, paths: tuple[Path, ...], batch: Batch) -> DataFrame:
        """Return a table of attributes as some files give it."""
        key = (name, paths)
        if key not in self._kept:
            found = self._delivered(name, batch.files[name], batch)
            frame = read_table(self.spark, self.spec, name, paths, found)
            used = [cells.raw(column) for column in needed_columns(self.spec)[name]]
            with explained({name: paths}):
                self._kept[key] = self._ready(name, frame.select(*used))
            self._check_numbers(name, self._kept[key])
        return self._kept[key]

    def _ready(self, name: str, table: DataFrame) -> DataFrame:
        """Return a table of attributes, held, as impressions are to meet it."""
        key = str(self.spec.sources[name].key)
        if is_small(self.spark):
            return settle(table, lasting=True)
        if key == self.spec.user:
            lot = lot_of(cells.text(cells.raw(key)))
            return settle(by_lot(table.withColumn(LOT, lot)), lasting=True, parted=True)
        held = settle(table, lasting=True)
        return handed_out(held, held.count())

    def _check_numbers(self, name: str, table: DataFrame) -> None:
        columns = self.spec.numbers_of(name)
        if columns:
            require_numbers(table, name, columns)


def require_numbers(frame: DataFrame, name: str, columns: list[str]) -> None:
    """Check that every one of ``columns`` has a number in some row, in one pass.

    Raises:
        SourceError: naming a column that holds values but no number.
    """
    row = frame.agg(*number_tallies(frame, columns)).first()
    if row is not None:
        refuse_wordy(name, columns, list(row))


def number_tallies(frame: DataFrame, columns: list[str]) -> list[Column]:
    """Return two aggregates a column: how many rows hold a number, how many something else."""
    tallies = []
    for column in columns:
        kind = frame.schema[column].dataType
        tallies.append(F.count(cells.number(cells.raw(column), kind)))
        tallies.append(F.count_if(cells.no_number(cells.raw(column), kind)))
    return tallies


def refuse_wordy(name: str, columns: list[str], tallies: list[int]) -> None:
    """Refuse a declared number that is one in no row.

    Raises:
        SourceError: naming the source and the column.
    """
    for position, column in enumerate(columns):
        numbers, others = tallies[2 * position], tallies[2 * position + 1]
        if others and not numbers:
            raise SourceError(
                f"source '{name}': column '{column}' is declared a number but none of its {others} "
                "values is one; declare it in features.categories, without edges"
            )
