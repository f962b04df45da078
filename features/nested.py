"""Nested fields of JSON lines and Parquet: named by paths with dots, used like columns."""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructType

from features import cells


def paths(header: StructType | pa.Schema | Sequence[str]) -> list[str]:
    """Return the names of columns and, after each, the paths of the fields inside it.

    Args:
        header: what Spark, Arrow or the first line of a CSV file says of the columns.

    >>> paths(pa.schema({"user": pa.struct({"id": pa.string()}), "at": pa.int64()}))
    ['user', 'user.id', 'at']
    """
    if isinstance(header, StructType):
        return [path for field in header.fields for path in _paths(field.name, field.dataType)]
    if isinstance(header, pa.Schema):
        return [path for field in header for path in _paths(field.name, field.type)]
    return list(header)


def lift(frame: DataFrame, names: Iterable[str]) -> DataFrame:
    """Add the nested fields among ``names`` as columns that are called by their paths.

    A field inside a list of records becomes the list of its values.

    Args:
        frame: the rows; every one of ``names`` is in ``paths`` of its schema.
        names: columns and paths.
    """
    found = [name for name in names if name not in frame.columns]
    parts = {name: ".".join(f"`{part}`" for part in name.split(".")) for name in found}
    return frame.selectExpr("*", *cells.named(parts)) if parts else frame


def own_columns(frame: DataFrame) -> list[str]:
    """Return the columns of ``frame`` without those that ``lift`` added."""
    nested = nested_columns(frame)
    return [name for name in frame.columns if name.rpartition(".")[0].split(".")[0] not in nested]


def nested_columns(frame: DataFrame) -> set[str]:
    """Return the columns of ``frame`` that have fields inside."""
    return {field.name for field in frame.schema.fields if _fields(field.dataType)}


def hashable(frame: DataFrame, name: str) -> Column:
    """Return a column for ``xxhash64``, which takes no maps, and a null field for none at all."""
    kind = frame.schema[name].dataType
    whole = isinstance(kind, MapType) or _fields(kind)
    return F.to_json(cells.raw(name)) if whole else cells.raw(name)


def _paths(name: str, kind: DataType | pa.DataType) -> Iterator[str]:
    yield name
    for field, inner in _fields(kind):
        yield from _paths(f"{name}.{field}", inner)


def _fields(kind: DataType | pa.DataType) -> list[tuple[str, DataType | pa.DataType]]:
    """Return the fields of a record, or of the records in a list: names and types."""
    if isinstance(kind, ArrayType):
        return _fields(kind.elementType)
    if isinstance(kind, StructType):
        return [(field.name, field.dataType) for field in kind.fields]
    if isinstance(kind, pa.ListType | pa.LargeListType):
        return _fields(kind.value_type)
    if isinstance(kind, pa.StructType):
        return [(field.name, field.type) for field in kind]
    return []
