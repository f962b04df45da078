"""Days and durations: the units in which the pipeline partitions, waits and looks back."""

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from features.errors import UserError

DAY = timedelta(days=1)
_DURATION = re.compile(r"(\d+)\s*([dh])")


def parse_day(text: str) -> date:
    """Return the day named by ``YYYY-MM-DD``.

    Raises:
        UserError: when ``text`` is not such a day.

    >>> parse_day("2022-05-02")
    datetime.date(2022, 5, 2)
    """
    try:
        if len(text) != len("YYYY-MM-DD"):
            raise ValueError(text)
        return date.fromisoformat(text)
    except ValueError:
        raise UserError(f"'{text}' is not a day; write it as YYYY-MM-DD") from None


def parse_duration(text: str) -> timedelta:
    """Return the duration written as ``3d`` or ``36h``.

    Raises:
        ValueError: when ``text`` is no such duration.

    >>> parse_duration("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a duration; write days as 3d or hours as 36h")
    count, unit = int(match[1]), match[2]
    return timedelta(days=count) if unit == "d" else timedelta(hours=count)


def span(first: date, last: date) -> Iterator[date]:
    """Yield the days from ``first`` to ``last``, both included, oldest first.

    >>> [day.day for day in span(date(2022, 4, 30), date(2022, 5, 2))]
    [30, 1, 2]
    """
    day = first
    while day <= last:
        yield day
        day += DAY


def start_of(day: date, timezone: str) -> datetime:
    """Return the instant at which ``day`` starts in ``timezone``; a day may have 23 to 25 h."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone))


def end_of(day: date, timezone: str) -> datetime:
    """Return the first instant after ``day`` in ``timezone``."""
    return start_of(day + DAY, timezone)


def whole_days(duration: timedelta) -> int:
    """Return how many partitions after its own a window of ``duration`` can still touch.

    >>> whole_days(timedelta(hours=36))
    2
    """
    return -(-duration // DAY)
