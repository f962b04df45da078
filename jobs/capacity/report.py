"""``autoifs capacity``: which nights of a calendar miss their deadline; what a night asks for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.capacity.calendar import Calendar, read_calendar
from jobs.capacity.nights import DAY, Backfill, Night, Simulation
from jobs.capacity.size import GB, read_costs, sizes
from jobs.console import Tables, show_tables, tables_in_markdown


def nights(*, path: Path, slots: dict[str, int] | None = None) -> dict[str, Any]:
    """Simulate the nights that a file declares.

    Args:
        path: the calendar.
        slots: pool → slots, in place of the file's.

    Returns:
        ``nights``, ``missed`` (a sentence each), ``first_missed``, ``slowest`` and ``usual`` (hours
        after the day's end), ``busy`` (share of each pool's slot hours), ``backfills``.

    Raises:
        UserError: when the file is not as it should be.
    """
    calendar = read_calendar(path, slots=slots or {})
    simulation = Simulation(calendar)
    simulation.run()
    late = [night for night in simulation.nights if _missed(night, calendar)]
    ended = sorted(night.ended for night in simulation.nights if night.ended is not None)
    said = [_sentence(night, calendar) for night in late]
    return {
        "calendar": str(path),
        "slots": calendar.slots,
        "nights": len(simulation.nights),
        "missed": said,
        "first_missed": said[0] if said else None,
        "usual": round(ended[len(ended) // 2], 2) if ended else None,
        "slowest": round(ended[-1], 2) if ended else None,
        "busy": _busy(simulation),
        "backfills": [_told(one) for one in simulation.backfills],
    }


def size(*, path: Path, impressions: Sequence[float]) -> dict[str, Any]:
    """Say what nights of different sizes ask for, as a table too.

    Args:
        path: measured and assumed costs.
        impressions: a day, of each size.

    Returns:
        ``sizes``, ``limits``, ``first_limit`` and the table as ``markdown``.

    Raises:
        UserError: when the file is not as it should be.
    """
    found = sizes(read_costs(path), impressions)
    shown = _size_tables(found)
    show_tables(shown)
    first = next(iter(found["limits"]))
    return {**found, "first_limit": first, "markdown": tables_in_markdown(shown)}


def _size_tables(found: dict[str, Any]) -> Tables:
    sizes = found["sizes"]
    head = ["a night", *(_power(one["impressions"]) for one in sizes)]
    figures = {
        "executors": [f"{one['executors']:,}" for one in sizes],
        "core hours": [f"{one['core_hours']:,.1f}" for one in sizes],
        "shuffled, GB": [f"{one['shuffle_bytes'] / GB:,.1f}" for one in sizes],
        "GPUs": [f"{one['gpus']:,}" for one in sizes],
        "GPU hours": [f"{one['gpu_hours']:,.2f}" for one in sizes],
        "tables, TB": [f"{sum(one['stored_bytes'].values()) / GB / 1000:,.2f}" for one in sizes],
        "data files": [f"{sum(one['files'].values()):,}" for one in sizes],
        "requests": [f"{sum(one['requests'].values()):,}" for one in sizes],
        **{
            f"{what}, $": [f"{one['dollars'][what]:,.2f}" for one in sizes]
            for what in ("samples", "training", "storage", "requests", "night")
        },
    }
    met = [[name, _power(many)] for name, many in found["limits"].items()]
    return [
        ("what it asks for, by impressions a day", head, _rows(figures)),
        ("limits, the first first", ("limit", "met at impressions a day"), met),
    ]


def _rows(figures: dict[str, list[str]]) -> list[list[str]]:
    return [[name, *told] for name, told in figures.items()]


def _power(number: float) -> str:
    """Return a number as people write large ones.

    >>> _power(1e8), _power(142_857_142)
    ('1e8', '1.4e8')
    """
    digits, _, power = f"{number:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


def _missed(night: Night, calendar: Calendar) -> bool:
    return night.ended is None or night.ended > calendar.deadline


def _sentence(night: Night, calendar: Calendar) -> str:
    who = f"night {night.night}" + (f" of product {night.product}" if calendar.products > 1 else "")
    dearest = sorted(night.lost.items(), key=lambda cost: -cost[1])
    causes = ", ".join(f"{reason} {hours:.1f} h" for reason, hours in dearest)
    why = f" ({causes})" if causes else " (its jobs alone take longer)"
    if night.ended is None:
        return f"{who} was given up after {calendar.attempts} attempts{why}"
    return f"{who} ended {night.ended:.1f} h after its day, due after {calendar.deadline:g} h{why}"


def _busy(simulation: Simulation) -> dict[str, float]:
    """Return which share of the time a pool's slots were occupied."""
    hours = max(simulation.calendar.nights * DAY, simulation.now)
    return {
        pool: round(simulation.busy[pool] / (hours * slots), 3)
        for pool, slots in simulation.calendar.slots.items()
    }


def _told(one: Backfill) -> dict[str, Any]:
    hours = None if one.ended is None else round(one.ended, 1)
    return {"night": one.night, "product": one.product, "days": one.days, "hours": hours}
