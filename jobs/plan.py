"""What a backfill would do and how long it would take; starts no Spark and writes nothing."""

import gzip
from datetime import date
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from features.arrivals import Arrivals
from features.days import span
from features.errors import UserError
from features.lake import Lake
from features.spec import Spec
from jobs.home import Home
from jobs.refresh import is_up_to_date, open_shop, wanted_day
from jobs.runs import results

if TYPE_CHECKING:
    from jobs.partition import Shop
    from jobs.refresh import Wanted

Result = dict[str, Any]
LOOK_BACK = 10
"""Published days whose rows and seconds an estimate is made of."""
CHUNK = 1 << 20


def plan(
    *,
    spec: Spec,
    spec_file_name: str,
    lake: Lake,
    home: Home,
    source: Path,
    first: date,
    last: date,
) -> Result:
    """Return what building the days from ``first`` to ``last``, known by the end of it, would do.

    Returns:
        ``days``: each with ``ds``, ``do`` (``build``, ``nothing``, or ``fail`` with a ``message``)
        and ``rows`` (impressions as they were delivered; null where days share a file); ``rows``
        and ``seconds`` of all that would be built; ``seconds`` is null while no day was built here.
    """
    shop = open_shop(spec, spec_file_name, lake, home, source, first, several=first < last)
    wanted: list[Wanted] = []
    days: list[Result] = []
    for day in span(first, last):
        try:
            one = wanted_day(shop, day, last, wanted)
        except UserError as error:
            days.append({"ds": day.isoformat(), "do": "fail", "rows": None, "message": str(error)})
            break
        done = is_up_to_date(shop, one)
        if not done:
            wanted.append(one)
        rows = rows_of(shop.spec, one.found)
        days.append({"ds": day.isoformat(), "do": "nothing" if done else "build", "rows": rows})
    building = [day for day in days if day["do"] == "build"]
    rows_in = sum(day["rows"] or 0 for day in building)
    seconds = _seconds(shop, len(building), rows_in)
    return {"days": days, "build": len(building), "rows": rows_in, "seconds": seconds}


def rows_of(spec: Spec, found: Arrivals) -> int | None:
    """Return how many impressions the day's own files hold; null where days share a file."""
    if not spec.log.daily:
        return None
    own = [
        path for path in found.files[spec.impression.source] if found.day.isoformat() in str(path)
    ]
    return sum(_count(path, spec.log.kind) for path in own)


def _count(path: Path, kind: str) -> int:
    if kind == "parquet":
        return int(pq.read_metadata(path).num_rows)
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(CHUNK), b""))
    return int(lines) - (kind == "csv")


def _seconds(shop: "Shop", days: int, rows: int) -> float | None:
    """Return the seconds that the days should take, by what the last days took here."""
    if not days:
        return 0.0
    known: list[tuple[float, float]] = []
    for ds in sorted(shop.lake.commits("samples"))[-LOOK_BACK:]:
        said = results(shop.lake, date.fromisoformat(ds)).get("samples")
        if said and said.get("input"):
            known.append((said["seconds"], said["seconds"] / said["input"]))
    if not known:
        return None
    if rows:
        return round(rows * median([a_row for _, a_row in known]), 1)
    return round(days * median([a_day for a_day, _ in known]), 1)
