"""What real logs do: rows twice, two rows of one key, rows that are broken.

Faults are rows added beside the clean ones, which stay as they are: a reader that rejects every
fault ends up with exactly the day without faults.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

REPEATED = 0.005
"""Share of the rows that come twice, equal in every column."""
SAME_KEY = 0.002
"""Share of the impressions that come a second time under the same key, a moment later."""
BROKEN = 0.005
"""Share of broken rows."""

Break = Callable[[pa.Table], pa.Table]


def spoil(
    stream: str, clean: pa.Table, rng: np.random.Generator
) -> tuple[pa.Table, dict[str, int]]:
    """Return the rows of a stream's file with its faults in between, and how many of each kind.

    Args:
        stream: one of ``STREAMS``.
        clean: the file's rows, oldest first.
        rng: the generator of this file.

    Returns:
        The spoilt rows, by time as far as they have one, and kind of fault → rows added.
    """
    if len(clean) == 0:
        return _texts(stream, clean), {}
    added = {"repeated": _copies(clean, REPEATED, rng)}
    if stream == "impressions":
        added["same-key"] = _moved(_copies(clean, SAME_KEY, rng))
    breaks = _BREAKS[stream]
    broken = _texts(stream, _copies(clean, BROKEN, rng))
    for turn, (kind, spoiled) in enumerate(breaks.items()):
        rows = broken.take(pa.array(np.arange(turn, len(broken), len(breaks))))
        added[kind] = spoiled(_renamed(rows, kind))
    every = pa.concat_tables(
        [_texts(stream, clean), *(_texts(stream, rows) for rows in added.values())]
    )
    order = np.argsort(_when(every), kind="stable")
    counts = {kind: len(rows) for kind, rows in added.items() if len(rows)}
    return every.take(pa.array(order)), counts


def _copies(clean: pa.Table, share: float, rng: np.random.Generator) -> pa.Table:
    """Return copies of a share of the rows, at least one."""
    count = int(np.ceil(share * len(clean)))
    return clean.take(pa.array(np.sort(rng.choice(len(clean), count, replace=False))))


def _renamed(rows: pa.Table, kind: str) -> pa.Table:
    """Give broken impressions keys of their own, so that they are no duplicates as well."""
    if "place" not in rows.column_names:
        return rows
    names = [f"{name}-{kind}" for name in rows["impression_id"].to_pylist()]
    return _set(rows, "impression_id", pa.array(names, pa.string()))


def _moved(rows: pa.Table) -> pa.Table:
    """Return the rows a second later and one position further down."""
    later = pa.array(rows["event_time"].to_numpy() + 1000)
    lower = pa.array(rows["position"].to_numpy() + 1)
    return _set(_set(rows, "event_time", later), "position", lower)


def _constant(rows: pa.Table, *, column: str, value: str | int | None) -> pa.Table:
    kind = rows.schema.field(column).type
    return _set(rows, column, pa.array([value] * len(rows), kind))


def _texts(stream: str, rows: pa.Table) -> pa.Table:
    """Return a CSV stream's times as text, in which anything can be written."""
    if stream == "impressions":
        return rows
    return _set(rows, "event_time", rows["event_time"].cast(pa.string()))


def _set(rows: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(column), column, values)


def _when(rows: pa.Table) -> NDArray[np.float64]:
    """Return each row's time for sorting; rows without a usable one come last."""
    times = rows["event_time"]
    if pa.types.is_integer(times.type):
        known: NDArray[np.float64] = times.cast(pa.float64()).fill_null(np.inf).to_numpy()
        return known
    return np.array(
        [int(text) if text and text.isdigit() else np.inf for text in times.to_pylist()]
    )


_BREAKS: dict[str, dict[str, Break]] = {
    "impressions": {
        "no-key": partial(_constant, column="impression_id", value=None),
        "no-user": partial(_constant, column="user_id", value=None),
        "negative-position": partial(_constant, column="position", value=-1),
        "unknown-place": partial(_constant, column="place", value="billboard"),
        "no-device": partial(_constant, column="device", value=None),
        "no-time": partial(_constant, column="event_time", value=None),
    },
    "clicks": {
        "no-key": partial(_constant, column="impression_id", value=None),
        "no-impression": partial(_constant, column="impression_id", value="i0-00000000"),
        "text-time": partial(_constant, column="event_time", value="yesterday"),
    },
    "purchases": {
        "no-key": partial(_constant, column="user_id", value=None),
        "no-time": partial(_constant, column="event_time", value=None),
    },
}
