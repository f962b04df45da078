"""``simulate``: days of raw logs, and beside them the truth they were drawn from."""

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from features.errors import UserError
from jobs.simulator.events import Day, make_day
from jobs.simulator.faults import spoil
from jobs.simulator.files import read_json, write_csv, write_json, write_parquet
from jobs.simulator.flows import Truth, plant
from jobs.simulator.shop import STREAMS, Settings
from jobs.simulator.truth import describe, describe_day
from jobs.simulator.world import World, items_table, make_world, users_table

START = date(2026, 1, 1)
MOST_ROWS = 99_999_999


def simulate(
    out: Path,
    *,
    days: int,
    rows: int,
    seed: int = 1,
    start: date = START,
    faults: bool = True,
    late: float = Settings.late,
    drift: float = Settings.drift,
    planted: bool = Settings.planted,
) -> dict[str, Any]:
    """Write raw event logs of ``days`` days into ``out``, for the spec ``bazaar``.

    A file holds what arrived on its day, so the files of the first days are the same however
    many days follow; outcomes that arrive after the last day are in no file. ``truth.json``
    says which flows decide each cell and how well the true probabilities rank each day.

    Args:
        out: folder of the files; made when absent.
        days: how many days of files.
        rows: impressions a day, before duplicates and broken rows.
        seed: the same seed and settings give the same bytes.
        start: the first day.
        faults: whether to add duplicates, broken rows and late arrivals.
        late: share of the events that arrive a day late, from 0 to 1.
        drift: degrees by which tastes turn each day.
        planted: whether flows carry nothing, or harm, in some cells.

    Returns:
        What was written: days, clean rows a stream, faults by kind, the truth's path.

    Raises:
        UserError: for an argument out of range, a folder that can't be written to, or one that
            holds another simulation.
    """
    _check(days, rows, seed, late)
    settings = Settings(
        rows=rows,
        seed=seed,
        faults=faults,
        late=late if faults else 0.0,
        drift=drift,
        planted=planted,
    )
    _refuse_mixture(out, settings, start)
    world = make_world(settings)
    truth = plant(settings, world)
    write_csv(out / "users.csv", users_table(world.people))
    write_parquet(out / "items.parquet", items_table(world.goods))
    report = _write_days(out, settings, world, truth, start, days)
    write_json(out / "truth.json", describe(settings, start, truth, report["days"]))
    return {"out": str(out), "truth": str(out / "truth.json"), **_totals(report)}


def _write_days(
    out: Path, settings: Settings, world: World, truth: Truth, start: date, days: int
) -> dict[str, Any]:
    """Write the files day by day, keeping only events that have not arrived yet."""
    waiting: dict[tuple[str, int], list[pa.Table]] = defaultdict(list)
    told, counts, spoilt = [], Counter[str](), Counter[str]()
    for index in range(days):
        day = start + timedelta(days=index)
        events = make_day(settings, world, truth, _midnight(day), index)
        _deliver(events, waiting)
        added: dict[str, dict[str, int]] = {}
        for stream in STREAMS:
            rows = _arrived(waiting.pop((stream, index), []), events.streams[stream].schema)
            counts[stream] += len(rows)
            added[stream] = _write_file(out, stream, day, index, rows, settings)
            spoilt.update(added[stream])
        told.append(describe_day(day, events, added))
    return {"days": told, "counts": counts, "faults": spoilt}


def _deliver(events: Day, waiting: dict[tuple[str, int], list[pa.Table]]) -> None:
    """Put each event to the file of the day on which it arrives."""
    for stream, rows in events.streams.items():
        arrivals = events.arrivals[stream]
        for index in np.unique(arrivals):
            waiting[stream, int(index)].append(rows.filter(pa.array(arrivals == index)))


def _arrived(parts: list[pa.Table], schema: pa.Schema) -> pa.Table:
    """Return a file's rows, oldest first."""
    rows = pa.concat_tables([schema.empty_table(), *parts])
    order = np.argsort(rows["event_time"].to_numpy(), kind="stable")
    return rows.take(pa.array(order))


def _write_file(
    out: Path, stream: str, day: date, index: int, rows: pa.Table, settings: Settings
) -> dict[str, int]:
    """Write one stream's file of one day; return how many faulty rows it got, by kind."""
    added: dict[str, int] = {}
    if settings.faults:
        rng = np.random.default_rng([settings.seed, 3, index, STREAMS.index(stream)])
        rows, added = spoil(stream, rows, rng)
    if stream == "impressions":
        write_parquet(out / stream / f"{day}.parquet", rows)
    else:
        write_csv(out / stream / f"{day}.csv.gz", rows)
    return added


def _totals(report: dict[str, Any]) -> dict[str, Any]:
    named = [day["ds"] for day in report["days"]]
    return {
        "first": named[0],
        "last": named[-1],
        "days": len(named),
        "rows": dict(report["counts"]),
        "faults": dict(report["faults"]),
    }


def _check(days: int, rows: int, seed: int, late: float) -> None:
    if days < 1:
        raise UserError(f"days: {days} is too few; ask for at least 1")
    if not 1 <= rows <= MOST_ROWS:
        raise UserError(f"rows: {rows} impressions a day can't be made; ask for 1 to {MOST_ROWS}")
    if seed < 0:
        raise UserError(f"seed: {seed} is negative; give 0 or more")
    if not 0 <= late <= 1:
        raise UserError(f"late: {late} is no share; give a number from 0 to 1")


def _refuse_mixture(out: Path, settings: Settings, start: date) -> None:
    """Refuse a folder whose files came of other settings: together they'd be no one's truth."""
    known = read_json(out / "truth.json")
    asked = {**vars(settings), "start": start.isoformat()}
    if known is not None and known.get("settings") != asked:
        said = known.get("settings", {})
        other = [f"{name} {said.get(name)}" for name in asked if said.get(name) != asked[name]]
        raise UserError(
            f"{out} holds a simulation with {', '.join(other)}; give another folder or remove it"
        )


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
