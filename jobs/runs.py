"""The table ``runs``: what every command of a night said and how long it took."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features.lake import Lake
from jobs.console import to_json


def record(lake: Lake, day: date, step: str, seconds: float, result: dict[str, Any]) -> None:
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


def results(lake: Lake, day: date) -> dict[str, dict[str, Any]]:
    """Return step → ``{"ended", "seconds", **result}`` of the day's last runs."""
    if not lake.exists("runs"):
        return {}
    rows = lake.open("runs").to_pyarrow_table(filters=[("ds", "=", day.isoformat())])
    ordered = rows.take(pc.sort_indices(rows["ended"]))
    return {
        row["step"]: {
            **json.loads(row["result"]),
            "ended": row["ended"],
            "seconds": row["seconds"],
        }
        for row in ordered.to_pylist()
    }
