"""``autoifs capacity nights``: which nights of a calendar miss their deadline, and for what."""

from pathlib import Path
from typing import Any

from jobs.capacity.calendar import Calendar, read_calendar
from jobs.capacity.nights import DAY, Backfill, Night, Simulation


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
