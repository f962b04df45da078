"""The tables that Spark writes: their columns, constraints and partitions."""

from deltalake import Field, Schema
from deltalake.schema import ArrayType, PrimitiveType

from features.measures import sums
from features.spec import Spec, layout_of

_Kind = PrimitiveType | ArrayType

_STRING, _LONG, _INT = PrimitiveType("string"), PrimitiveType("long"), PrimitiveType("integer")
_TIME, _YES_NO = PrimitiveType("timestamp"), PrimitiveType("boolean")
_DOUBLE, _FLOAT = PrimitiveType("double"), PrimitiveType("float")
_STRINGS, _INTS = ArrayType(_STRING, contains_null=True), ArrayType(_INT, contains_null=True)


def schemas(spec: Spec) -> dict[str, Schema]:
    """Return table → schema, for the tables that Spark writes."""
    return {
        "staged": _samples(spec),
        "samples": _samples(spec),
        "quarantine": _quarantine(),
        "counts": _counts(spec),
        "state": _counts(spec),
        "vocabulary": _vocabulary(),
        "encoded": _encoded(spec),
    }


def constraints(spec: Spec) -> dict[str, dict[str, str]]:
    """Return table → name → CHECK constraint: what no writer can get past."""
    # An immature label is null, never 0.
    immature = {
        f"immature_{task}_is_null": f"label_{task} IS NULL OR mature_{task}" for task in spec.tasks
    }
    return {
        "staged": immature,
        "samples": immature,
        "counts": {"n_is_a_count": "n >= 0"},
        "vocabulary": {"index_0_is_unknown": "index >= 1"},
    }


def partition_of(table: str) -> str:
    """Return the column by which ``table`` is partitioned."""
    return "feature" if table == "vocabulary" else "ds"


def _samples(spec: Spec) -> Schema:
    labels = [
        Field(f"{part}_{task}", kind)
        for task in spec.tasks
        for part, kind in (("label", _YES_NO), ("mature", _YES_NO), ("time", _TIME))
    ]
    kinds: dict[str, _Kind] = {"category": _STRING, "multi": _STRINGS, "number": _DOUBLE}
    return Schema(
        [
            Field("ds", _STRING, nullable=False),
            Field("sample_id", _STRING, nullable=False),
            Field("scenario", _STRING, nullable=False),
            Field("user", _STRING, nullable=False),
            Field("event_time", _TIME, nullable=False),
            *labels,
            *(Field(column.name, kinds[column.kind]) for column in layout_of(spec).columns),
            Field("source_file", _STRING),
            Field("as_of", _STRING),
        ]
    )


def _quarantine() -> Schema:
    return Schema(
        [
            Field("ds", _STRING, nullable=False),
            Field("sample_id", _STRING),
            Field("rules", _STRINGS),
            *(Field(name, _STRING) for name in ("row", "source_file", "as_of", "run_id")),
            Field("line", _LONG),
        ]
    )


def _counts(spec: Spec) -> Schema:
    return Schema(
        [
            Field("ds", _STRING, nullable=False),
            Field("entity", _STRING),
            Field("key", _STRING),
            Field("n", _LONG),
            Field("last", _TIME),
            *(Field(name, _LONG) for name in sums(spec)[1:]),
        ]
    )


def _vocabulary() -> Schema:
    return Schema(
        [
            Field("feature", _STRING, nullable=False),
            Field("token", _STRING, nullable=False),
            Field("index", _INT, nullable=False),
            Field("ds", _STRING, nullable=False),
        ]
    )


def _encoded(spec: Spec) -> Schema:
    kinds: dict[str, _Kind] = {"category": _INT, "multi": _INTS, "number": _FLOAT}
    return Schema(
        [
            Field("ds", _STRING, nullable=False),
            Field("sample_id", _STRING, nullable=False),
            Field("scenario", _INT, nullable=False),
            Field("user", _LONG, nullable=False),
            *(Field(f"y_{task}", _FLOAT) for task in spec.tasks),
            *(Field(column.name, kinds[column.kind]) for column in layout_of(spec).columns),
        ]
    )
