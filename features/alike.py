"""The parts of a source brought to the same columns and types, and put below each other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType

from features import cells
from features.contract import (
    CHANGED,
    MISSING,
    NUMBERS,
    SCALARS,
    VOID,
    Use,
    changed,
    kind_of,
)
from features.deliveries import Part
from features.spec import Spec, layout_of

REFUSED, WAS = "_refused", "_was"
"""Columns that reading adds: the rule by which the contract refuses a row, and the row as it was
delivered where reading changed it."""

_WHOLE = r"^\s*[-+]?\d+\s*$"
_MOMENTS = frozenset({"time", "date"})
_COUNTS = NUMBERS | {"yes or no"}

_Convert = Callable[[Column, DataType], Column]


def put_together(
    frames: Sequence[tuple[Part, DataFrame]], parts: Sequence[Part], spec: Spec, use: Use
) -> DataFrame:
    """Return the rows of parts below each other.

    Args:
        frames: parts, each with its rows as they were delivered and columns of lineage.
        parts: those and others, whose rows will be put to these later.
        spec: the product.
        use: what it makes of the source.

    Returns:
        All columns that are not left out, null where a file has none, ``_broken``, ``_refused`` and
        ``_was``. Where files differ in a column's type, it is brought to what the spec needs.
    """
    kinds = _kinds(parts, use)
    differing = {column: found for column, found in kinds.items() if len(found) > 1}
    converts = {name: _convert(name, found, spec, use) for name, found in differing.items()}
    convert = {name: change for name, change in converts.items() if change is not None}
    adjusted = [_adjusted(frame, part, use, kinds, convert) for part, frame in frames]
    whole = reduce(lambda one, two: one.unionByName(two, allowMissingColumns=True), adjusted)
    for column, kind in dict(pair for part, _ in frames for pair in part.terms.absent).items():
        if column not in whole.columns:
            whole = whole.withColumn(column, F.lit(None).cast(kind))
    return whole


def _kinds(parts: Iterable[Part], use: Use) -> dict[str, set[str]]:
    """Return column → its types in the parts, where it has values."""
    found: dict[str, set[str]] = {}
    for part in parts:
        former = dict(part.terms.former)
        for column, kind in part.header.columns.items():
            if kind != VOID and column not in part.terms.left_out:
                found.setdefault(column, set()).add(_former(use, column, former.get(column, kind)))
    return found


def _adjusted(
    frame: DataFrame,
    part: Part,
    use: Use,
    kinds: Mapping[str, set[str]],
    convert: Mapping[str, _Convert],
) -> DataFrame:
    """Return a part's rows on its terms, with the types that all parts share."""
    columns, former = part.header.columns, dict(part.terms.former)
    gone = {column for column, kind in columns.items() if kind == VOID and column in kinds}
    gone |= part.terms.left_out
    changes = {
        column: _brought_back(frame, column, columns[column], _former(use, column, kind))
        for column, kind in former.items()
    }
    refused = [_lost(frame, column, value) for column, value in changes.items()]
    changes |= {
        column: change(cells.raw(column), frame.schema[column].dataType)
        for column, change in convert.items()
        if column in frame.columns and column not in {*gone, *former}
    }
    hidden = [_lost(frame, column, value) for column, value in changes.items()]
    kept: list[str | Column] = ["*"]
    if gone or changes:
        kept = [
            changes.get(column, cells.raw(column)).alias(column)
            for column in frame.columns
            if column not in gone
        ]
    return frame.select(*kept, *_verdict(part, refused, hidden))


def _verdict(part: Part, refused: list[Column], hidden: list[Column]) -> tuple[Column, Column]:
    """Return ``_refused`` and ``_was``, given where values are lost."""
    nothing = F.lit(None).cast("string")
    rule, was = nothing, nothing
    if refused:
        rule = F.when(reduce(Column.__or__, refused), F.lit(CHANGED))
    if part.terms.refused:
        rule = F.lit(MISSING)
    if hidden:
        row = F.to_json(F.struct(*map(cells.raw, part.header.schema.names)))
        was = F.when(reduce(Column.__or__, hidden), row)
    return rule.alias(REFUSED), was.alias(WAS)


def _former(use: Use, column: str, kind: str) -> str:
    """Return the type that values are brought back to: a fraction is no loss in a number."""
    return "double" if column in use.numbers and kind_of(kind) in NUMBERS else kind


def _brought_back(frame: DataFrame, column: str, now: str, former: str) -> Column:
    """Return values in the type they had; null where one says something else there."""
    value, kinds = cells.raw(column), {kind_of(now), kind_of(former)}
    nothing = F.lit(None).cast(former)
    if not kinds <= SCALARS or (kinds & _MOMENTS and kinds & _COUNTS):
        return nothing
    if kind_of(former) in NUMBERS and kind_of(now) == "text":
        value = F.when(value.rlike(_WHOLE if kind_of(former) == "integer" else ".*"), value)
        number = cells.number(value, frame.schema[column].dataType)
        return F.when(number.isNotNull(), value.cast(former))
    cast = value.cast(former)
    # There and back again: 7.0 is a whole number and 7.5 is none.
    return cast if "text" in kinds else F.when(cast.cast(now) == value, cast)


def _lost(frame: DataFrame, column: str, value: Column) -> Column:
    """Return whether a cell holds something of which ``value`` keeps nothing."""
    cell = cells.raw(column)
    missing = cell.isNull()
    if kind_of(frame.schema[column].dataType.simpleString()) == "real":
        missing = missing | F.isnan(cell)
    return ~missing & value.isNull()


def _convert(column: str, found: set[str], spec: Spec, use: Use) -> _Convert | None:
    """Return how a column whose type differs between files is brought to what the spec needs.

    None: Spark knows a type that holds both, and nothing is lost.
    """
    source, one = spec.sources[use.name], min(found)
    if {kind_of(kind) for kind in found} == {"text"}:
        return _as_text
    if not any(changed(use, column, one, other) for other in found):
        return None
    if source.time and column == source.time.column:
        return partial(cells.moment, time=source.time)
    if source.day and column == source.day.column:
        return partial(_as_day, pattern=source.day.format)
    name = column if use.name == spec.impression.source else f"{use.name}.{column}"
    for item in layout_of(spec).of("multi"):
        if item.source == name:
            return partial(cells.tokens, separator=item.separator)
    return _as_text


def _as_text(value: Column, _: DataType) -> Column:
    return value.cast("string")


def _as_day(value: Column, kind: DataType, pattern: str) -> Column:
    """Return a day as text in the pattern that the spec declares."""
    if kind_of(kind.simpleString()) in _MOMENTS:
        return F.date_format(value, pattern)
    return value.cast("string")
