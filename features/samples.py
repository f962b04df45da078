"""From checked impressions to samples: scenario, attributes, typed features, labels, lineage."""

from collections.abc import Iterable, Mapping
from functools import reduce

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import AtomicType, BooleanType, DataType, NumericType, StructType

from features import cells
from features.counts import column_name, entity_columns
from features.errors import SpecError
from features.labels import (
    ID,
    SCENARIO,
    came_on_the_day,
    label_columns,
    outcome_name,
    wide_name,
)
from features.lots import LOT, matched
from features.measures import GRAIN, LARGEST, fact_column
from features.needs import feature_columns
from features.rates import add_rates
from features.settle import is_small
from features.sources import ARRIVED, DAY, FILE, FOR, TIME, UNTIL
from features.spec import Column as Feature
from features.spec import Spec, layout_of

USER = "_user"
LOCAL_TIME = "local_time"
"""What expressions of the spec call an impression's time in the spec's time zone."""

LINEAGE = ("source_file", "as_of")
"""Columns of a sample that say where it comes from."""


def identify(events: DataFrame, spec: Spec) -> DataFrame:
    """Add ``_id`` (null when a part of the key is), ``_user`` and ``_scenario`` to impressions.

    ``_scenario`` is null for an impression outside every scenario.
    """
    parts = [cells.text(cells.raw(column)) for column in spec.impression.key]
    return (
        events.withColumn(ID, reduce(lambda one, other: F.concat(one, F.lit(":"), other), parts))
        .withColumn(USER, cells.text(cells.raw(spec.user)))
        .withColumn(SCENARIO, _scenario(spec))
    )


def check_expressions(events: DataFrame, spec: Spec, file: str) -> None:
    """Check every SQL expression of the spec over the impression.

    Raises:
        SpecError: naming the expression's place in ``file``.
    """
    places = {f"scenarios.expressions.{k}": v for k, v in spec.scenarios.expressions.items()}
    places |= {f"tasks.{k}.label": task.label for k, task in spec.tasks.items() if task.label}
    places |= {f"rules.{rule.id}": rule.reject for rule in spec.rules}
    for place, sql in places.items():
        check_condition(events, sql, f"{file}: {place}")
    for name, sql in spec.impression.columns.items():
        place = f"{file}: impression.columns.{name}"
        if name in events.columns:
            raise SpecError(f"{place}: the log has a column of that name; call one otherwise")
        kind = _kind_of(_with_local_time(events, spec), sql, place)
        if not isinstance(kind, AtomicType):
            raise SpecError(f"{place}: '{sql}' is {kind.simpleString()}, not a single value")
    for name, sql in spec.features.facts.items():
        place = f"{file}: features.facts.{name}"
        kind = _kind_of(with_computed(events, spec), sql, place)
        if not isinstance(kind, NumericType | BooleanType):
            raise SpecError(f"{place}: '{sql}' is {kind.simpleString()}; write a number or … = 1")


def check_condition(events: DataFrame, sql: str, place: str) -> None:
    """Check that ``sql`` is a condition on ``events``.

    Raises:
        SpecError: when it is not SQL, names an unknown column, or is not true or false.
    """
    kind = _kind_of(events, sql, place)
    if not isinstance(kind, BooleanType):
        raise SpecError(f"{place}: '{sql}' is {kind.simpleString()}, no condition; write … = 1")


def _kind_of(events: DataFrame, sql: str, place: str) -> DataType:
    try:
        return events.select(F.expr(sql)).schema.fields[0].dataType
    except AnalysisException as error:  # a ParseException is one too
        raise SpecError(f"{place}: '{sql}': {_first_sentence(error)}; correct it") from None


def with_computed(events: DataFrame, spec: Spec) -> DataFrame:
    """Add the columns to impressions that the spec computes, and ``local_time``."""
    timed = _with_local_time(events, spec)
    return timed.withColumns({name: F.expr(sql) for name, sql in spec.impression.columns.items()})


def _with_local_time(events: DataFrame, spec: Spec) -> DataFrame:
    if LOCAL_TIME in events.columns:
        return events  # a column of the log's own
    local = F.col(TIME) if spec.timezone == "UTC" else F.from_utc_timestamp(TIME, spec.timezone)
    return events.withColumn(LOCAL_TIME, local)


def facts(attributed: DataFrame, spec: Spec, tables: Mapping[str, DataFrame]) -> DataFrame:
    """Type what samples and counts need of impressions.

    Args:
        attributed: impressions after ``identify``, without broken rows, with ``_first_<task>``
            where outcomes are joined.
        spec: declares features, entities and tasks.
        tables: the attribute tables that the spec uses.

    Returns:
        ``_for _until _id _day _time _file _arrived _scenario _user``, the entities' columns (text,
        or arrays of text), the typed features that need no history (``c_ m_ n_``),
        ``_said_<task>`` for labels of the wide log, ``_first_<task>`` and each ``fact_column``.
    """
    attributed = with_computed(attributed, spec)
    lots = [LOT] if LOT in attributed.columns else []
    base = [FOR, UNTIL, ID, DAY, TIME, FILE, ARRIVED, SCENARIO, USER, *lots]
    firsts = [outcome_name(name) for name in spec.tasks if outcome_name(name) in attributed.columns]
    said = {name: F.expr(task.label) for name, task in spec.tasks.items() if task.label}
    known = {fact_column(name): _whole(F.expr(sql)) for name, sql in spec.features.facts.items()}
    typed = _typed(attributed, spec, spec.impression.source)
    # Named apart until all are there: a raw column may be called like a feature.
    own = attributed.select(
        *base,
        *firsts,
        *(column.alias(wide_name(name)) for name, column in said.items()),
        *(column.alias(name) for name, column in known.items()),
        *(column.alias(_typed_name(name)) for name, column in typed.items()),
        *(
            cells.text(cells.raw(str(spec.sources[name].key))).alias(_key_name(name))
            for name in tables
        ),
    )
    names = list(typed)
    for name, table in tables.items():
        side = _typed(table, spec, name)
        own = _joined(own, table, spec, name, side)
        names += side
    kept = (F.col(_typed_name(name)).alias(name) for name in names)
    return own.select(*base, *firsts, *map(wide_name, said), *known, *kept)


def _whole(fact: Column) -> Column:
    """Return a fact in whole multiples of 1 / ``GRAIN``; null where it is no finite number."""
    value = fact.cast("double")
    inside = F.greatest(F.least(value, F.lit(LARGEST)), F.lit(-LARGEST))
    known = value.isNotNull() & ~F.isnan(value)  # least and greatest pass over a null
    return F.when(known, F.floor(inside * GRAIN + 0.5).cast("long"))


def _joined(
    rows: DataFrame, table: DataFrame, spec: Spec, name: str, side: Mapping[str, Column]
) -> DataFrame:
    """Join what is made of a table's columns; a row whose key is in no table keeps nulls.

    It is made before the join: a table has fewer rows than a day. One that differs by day has
    ``_for``.
    """
    key = _key_name(name)
    day = [FOR] if FOR in table.columns else []
    ready = table.select(
        *day,
        *([LOT] if LOT in table.columns else []),
        cells.text(cells.raw(str(spec.sources[name].key))).alias(key),
        *(column.alias(_typed_name(name)) for name, column in side.items()),
    )
    if is_small(rows.sparkSession):
        return rows.join(ready, [*day, key], "left")
    return matched(rows, ready, {name: name for name in (*day, key)})


def _typed(frame: DataFrame, spec: Spec, source: str) -> dict[str, Column]:
    """Return the entities' columns and the features that are made of a source's columns."""
    multi = {item.source: item for item in layout_of(spec).of("multi")}
    edges = {item.column: item.edges for item in spec.features.embedded if item.edges}
    found = {}
    for column in entity_columns(spec):
        of, plain = spec.locate(column)
        if of == source:
            found[column_name(column)] = _cell(plain, frame.schema, multi.get(column))
    for item in plain_features(spec):
        of, plain = spec.locate(item.source)
        if of == source:
            found[item.name] = _feature(item, plain, frame.schema, edges.get(item.source))
    return found


def _typed_name(name: str) -> str:
    return f"_typed_{name}"


def _key_name(table: str) -> str:
    return f"_key_{table}"


def plain_features(spec: Spec) -> list[Feature]:
    """Return the features that are a column of the impression or of a table, in layout order."""
    known = set(feature_columns(spec))
    return [column for column in layout_of(spec).columns if column.source in known]


def happened(attributed: DataFrame, spec: Spec) -> DataFrame:
    """Return what happened on each ``_for``, one row an impression, for ``daily_counts``.

    What happens is that it is shown on the day (with the labels of its own row), or that an outcome
    comes on the day; an outcome's entities are those of the impression it belongs to.

    Args:
        attributed: ``facts`` of the days, and of what the days before each became on it.
        spec: names entities and tasks.
    """
    shown = F.col(DAY) == F.col(FOR)
    positive = {
        name: shown & F.coalesce(F.col(wide_name(name)), F.lit(False))
        if task.label
        else came_on_the_day(name, spec)
        for name, task in spec.tasks.items()
    }
    return attributed.select(
        F.col(FOR).alias("ds"),
        *map(column_name, entity_columns(spec)),
        F.col(TIME).alias("event_time"),
        shown.cast("int").alias("impression"),
        *(came.cast("int").alias(f"n_{name}") for name, came in positive.items()),
        *(F.when(shown, F.col(name)).alias(name) for name in map(fact_column, spec.features.facts)),
        *([LOT] if LOT in attributed.columns else []),
    )


def assemble(attributed: DataFrame, counts: DataFrame, spec: Spec, days: DataFrame) -> DataFrame:
    """Return the samples of days in the columns of the table ``samples``.

    Args:
        attributed: ``facts``; rows near a day that are not its own, and history-only rows, are
            left out here.
        counts: the days before, as ``features.history.as_history`` returns them.
        spec: the product.
        days: the days, as ``features.batch.calendar`` returns them.
    """
    chosen = attributed.where((F.col(DAY) == F.col(FOR)) & F.col(SCENARIO).isNotNull())
    labelled = chosen.select("*", F.col(ID).alias("sample_id"), *label_columns(spec))
    ready = add_rates(labelled, counts, spec, days)
    return ready.selectExpr(
        f"`{FOR}` AS ds",
        "sample_id",
        f"`{SCENARIO}` AS scenario",
        f"`{USER}` AS user",
        f"`{TIME}` AS event_time",
        *(f"{part}_{task}" for task in spec.tasks for part in ("label", "mature", "time")),
        *(column.name for column in layout_of(spec).columns),
        f"`{FILE}` AS source_file",
        f"`{UNTIL}` AS as_of",
    )


def _feature(
    feature: Feature, name: str, schema: StructType, edges: tuple[float, ...] | None
) -> Column:
    if feature.kind == "number":
        return cells.number(cells.raw(name), _kind(schema, name)).alias(feature.name)
    if edges:
        value = cells.number(cells.raw(name), _kind(schema, name))
        return cells.bucket(value, edges).alias(feature.name)
    of = feature if feature.kind == "multi" else None
    return _cell(name, schema, of).alias(feature.name)


def _cell(name: str, schema: StructType, multi: Feature | None) -> Column:
    if multi is None:
        return cells.text(cells.raw(name))
    return cells.tokens(cells.raw(name), _kind(schema, name), multi.separator)


def _kind(schema: StructType, name: str) -> DataType:
    return schema[name].dataType


def _scenario(spec: Spec) -> Column:
    tests = {name: F.expr(sql) for name, sql in spec.scenarios.expressions.items()}
    if spec.scenarios.column:
        value = cells.raw(spec.scenarios.column)
        tests = {name: _equals_any(value, values) for name, values in spec.scenarios.values.items()}
    found = F.lit(None).cast("string")
    for name, test in reversed(tests.items()):
        found = F.when(test, F.lit(name)).otherwise(found)
    return found


def _equals_any(value: Column, allowed: Iterable[str | float]) -> Column:
    return reduce(Column.__or__, (_equals(value, scalar) for scalar in allowed))


def _equals(value: Column, scalar: str | float) -> Column:
    """Compare a raw cell with a value of the spec: numbers as numbers, the rest as text."""
    if isinstance(scalar, bool):
        return F.lower(value.cast("string")) == str(scalar).lower()
    if isinstance(scalar, int | float):
        return value.cast("double") == F.lit(float(scalar))
    return value.cast("string") == F.lit(scalar)


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).strip().split("\n", 1)[0].split()).removesuffix(".")
