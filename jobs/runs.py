"""The table ``runs``: what every command of a night said and how long it took."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from features.lake import Lake
from jobs.console import to_json

Result = dict[str, Any]


def record(lake: Lake, day: date, step: str, seconds: float, result: Result) -> None:
    """Keep the result of ``step`` on ``day``, in place of an earlier run's."""
    ended = datetime.now(UTC)
    ds = day.isoformat()
    row = {
        "ds": ds,
        "step": step,
        "ended": ended.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "result": to_json(result),
    }
    lake.replace("runs", {"ds": ds, "step": step}, pa.Table.from_pylist([row]))


def history(lake: Lake, first: str = "", last: str = "9999") -> list[Result]:
    """Return the rows of the days from ``first`` to ``last`` in the order in which they ended."""
    if not lake.exists("runs"):
        return []
    days = [("ds", ">=", first), ("ds", "<=", last)]
    rows = lake.open("runs").to_pyarrow_table(filters=days).sort_by("ended").to_pylist()
    return [{**row, "result": json.loads(row["result"])} for row in rows]


def results(lake: Lake, day: date) -> dict[str, Result]:
    """Return step → ``{"ended", "seconds", **result}`` of the day's last runs."""
    ds = day.isoformat()
    return {
        row["step"]: {**row["result"], "ended": row["ended"], "seconds": row["seconds"]}
        for row in history(lake, ds, ds)
    }
