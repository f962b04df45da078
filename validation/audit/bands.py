"""What the days before say a day should be like: the limits that no spec could declare."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from features.spec.policy import Audit
from validation.audit.measure import Measures
from validation.intervals import SIGMAS, prediction_reach

ENOUGH = 2
"""Published days of one weekday from which a day is compared with those."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """Measures of the published days that a day is compared with, oldest first."""

    recent: list[Measures]
    """The last days."""
    alike: list[Measures]
    """The same weekday of the last weeks; the last days while there are too few of those."""
    weekday: str | None = None
    """The day of the week, where ``alike`` are days of it."""

    @property
    def words(self) -> str:
        """What ``recent`` is called in a sentence."""
        return _last(len(self.recent), "day")

    @property
    def words_alike(self) -> str:
        """What ``alike`` is called in a sentence."""
        return _last(len(self.alike), self.weekday or "day")


@dataclass(frozen=True, kw_only=True)
class Band:
    """Where a value is expected: ``usual`` ± ``allowed``."""

    usual: float
    allowed: float


def past_of(history: Mapping[str, Measures], day: date, audit: Audit) -> Past:
    """Return what of the published days ``day`` is compared with.

    Args:
        history: published day → its measures.
        day: the day to judge; only earlier ones count.
        audit: how far to look back.
    """
    recent = last_days(history, day, audit.history)
    weeks = [(day - timedelta(weeks=n)).isoformat() for n in range(audit.weeks, 0, -1)]
    same = [history[ds] for ds in weeks if ds in history]
    if len(same) < ENOUGH:
        return Past(recent=recent, alike=recent)
    return Past(recent=recent, alike=same, weekday=f"{day:%A}")


def last_days(history: Mapping[str, Measures], day: date, count: int) -> list[Measures]:
    """Return the measures of the last published days before ``day``, oldest first."""
    return [history[ds] for ds in sorted(history) if ds < day.isoformat()][-count:]


def rate_band(
    before: Sequence[Mapping[str, int]], today: Mapping[str, int], tolerance: float
) -> Band:
    """Return where a cell's share of positives is expected, as its own past varied.

    The band is Student's prediction interval for one more day: what lies outside is as rare as
    ``SIGMAS`` standard errors. While the days are few it is wider than ``tolerance`` times the
    usual share, which then holds instead. A small cell may be off by chance, whatever its days
    were like.

    Args:
        before: ``known`` labels (more than 0) and ``positives`` of the cell, a day each.
        today: those of the day.
        tolerance: the widest relative change.
    """
    known = sum(day["known"] for day in before)
    usual = sum(day["positives"] for day in before) / known
    allowed = min(
        tolerance * usual, prediction_reach([day["positives"] / day["known"] for day in before])
    )
    return Band(usual=usual, allowed=max(allowed, noise(usual, today["known"], known)))


def noise(rate: float, n: int, past: int | None) -> float:
    """Return ``SIGMAS`` standard errors of a share of ``n`` rows around one of ``past`` rows."""
    spread = 1 / max(n, 1) + (1 / past if past else 0.0)
    return SIGMAS * math.sqrt(rate * (1 - rate) * spread)


def _last(count: int, unit: str) -> str:
    return f"the last {count} {unit}s" if count > 1 else f"the last {unit}"
