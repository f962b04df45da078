"""Which samples are in a slice of the spec: conditions asked in people's words."""

from collections.abc import Iterable, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from features.conditions import parse
from features.lake import Lake
from features.spec import CLOCK, Layout, Spec, layout_of
from validation.cells import Bools


def slices_of(spec: Spec, lake: Lake, days: Sequence[date], version: int) -> dict[str, Bools]:
    """Return slice → which rows of the days are in it, in the order of ``read_days``.

    Args:
        spec: its ``evaluation.slices``.
        lake: its tables.
        days: the days.
        version: the Delta version of ``encoded``.
    """
    asked = {name: parse(text) for name, text in spec.evaluation.slices.items()}
    if not asked:
        return {}
    columns = dict.fromkeys(column for one in asked.values() for column in one.columns)
    rows = _rows(spec, lake, days, version, columns)
    return {name: condition.holds(rows) for name, condition in asked.items()}


def _rows(
    spec: Spec, lake: Lake, days: Sequence[date], version: int, columns: Iterable[str]
) -> pa.Table:
    """Return the asked columns: names of scenarios, tokens as text, and what the clock said."""
    layout, held = layout_of(spec), [column for column in columns if column not in CLOCK]
    on = [("ds", "in", [day.isoformat() for day in days])]
    order = [("ds", "ascending"), ("sample_id", "ascending")]
    table = lake.open("encoded", version)
    rows = table.to_pyarrow_table(filters=on, columns=["ds", "sample_id", *held]).sort_by(order)
    categories = {column.name for column in layout.of("category")}
    for name in held:
        if name == "scenario":
            rows = _with(rows, name, pc.take(pa.array(layout.scenarios), rows[name]))
        elif name in categories:
            rows = _with(rows, name, _tokens(lake, layout, name, rows[name]))
    if any(column in CLOCK for column in columns):
        clock = _clock(spec, lake, on)
        rows = rows.join(clock, ["ds", "sample_id"], join_type="left outer").sort_by(order)
    return rows


def _with(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)


def _tokens(lake: Lake, layout: Layout, name: str, indices: pa.ChunkedArray) -> pa.Array:
    """Return the text of each index; null for 0 and for one that the vocabulary lacks."""
    column = next(column for column in layout.columns if column.name == name)
    known = lake.open("vocabulary").to_pyarrow_table(
        columns=["index", "token"], filters=[("feature", "=", column.borrows or name)]
    )
    place = pc.index_in(indices.combine_chunks(), known["index"].combine_chunks())
    return pc.take(known["token"].combine_chunks(), place)


def _clock(spec: Spec, lake: Lake, on: list[tuple[str, str, list[str]]]) -> pa.Table:
    """Return hour and weekday of every sample, by the spec's own clock."""
    rows = lake.open("samples").to_pyarrow_table(
        filters=on, columns=["ds", "sample_id", "event_time"]
    )
    local = rows["event_time"].cast(pa.timestamp("us", tz=spec.timezone))
    hour, weekday = pc.hour(local), pc.day_of_week(local, count_from_zero=False)
    return pa.table(
        {"ds": rows["ds"], "sample_id": rows["sample_id"], "hour": hour, "weekday": weekday}
    )
