"""Nested fields of JSON lines and Parquet: named by paths with dots, used like columns."""

from collections.abc import Iterable, Iterator

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructField, StructType

from features import cells
from features.contract import RECORD


def columns(schema: StructType) -> dict[str, str]:
    """Return column → type, and after each the paths of the fields inside it with theirs.

    >>> columns(StructType.fromDDL("user struct<id: string>, at bigint"))
    {'user': 'record', 'user.id': 'string', 'at': 'bigint'}
    """
    return dict(pair for field in schema.fields for pair in _columns(field.name, field.dataType))


def lift(frame: DataFrame, names: Iterable[str]) -> DataFrame:
    """Add the nested fields among ``names`` as columns that are called by their paths.

    A field inside a list of records becomes the list of its values.

    Args:
        frame: the rows.
        names: columns and paths; those that the rows do not have are passed over.
    """
    known = columns(frame.schema)
    found = [name for name in names if name in known and name not in frame.columns]
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


def _columns(name: str, kind: DataType) -> Iterator[tuple[str, str]]:
    inside = _fields(kind)
    record = f"array<{RECORD}>" if isinstance(kind, ArrayType) else RECORD
    yield name, record if inside else kind.simpleString()
    for field in inside:
        yield from _columns(f"{name}.{field.name}", field.dataType)


def _fields(kind: DataType) -> list[StructField]:
    """Return the fields of a record, or of the records in a list."""
    if isinstance(kind, ArrayType):
        return _fields(kind.elementType)
    return kind.fields if isinstance(kind, StructType) else []
