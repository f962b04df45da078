"""What the limits of the audit are learned from, without Spark."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from features.spec.policy import Audit
from validation.audit.bands import past_of, rate_band

MONDAY = date(2026, 3, 9)


def published(days: int) -> dict[str, dict[str, Any]]:
    """The days before ``MONDAY``; the rows of one say how long ago it was."""
    return {str(MONDAY - timedelta(n)): {"rows": n} for n in range(1, days + 1)}


def rows(found: list[dict[str, Any]]) -> list[int]:
    return [day["rows"] for day in found]


def cell(positives: int, known: int = 10_000) -> dict[str, int]:
    return {"known": known, "positives": positives}


def test_a_monday_is_compared_with_the_mondays_of_the_last_weeks() -> None:
    past = past_of(published(40), MONDAY, Audit())

    assert rows(past.alike) == [28, 21, 14, 7]
    assert rows(past.recent) == [7, 6, 5, 4, 3, 2, 1]
    assert (past.words_alike, past.words) == ("the last 4 Mondays", "the last 7 days")


def test_with_one_monday_so_far_it_is_compared_with_the_last_days() -> None:
    past = past_of(published(9), MONDAY, Audit())

    assert past.alike == past.recent
    assert past.words_alike == "the last 7 days"


def test_the_day_itself_and_later_ones_are_not_looked_at() -> None:
    later = {str(MONDAY + timedelta(n)): {"rows": 0} for n in range(8)}

    assert past_of({**published(3), **later}, MONDAY, Audit()) == past_of(
        published(3), MONDAY, Audit()
    )


def test_a_cell_that_never_moved_has_a_narrow_band_and_one_that_jumps_a_wide_one() -> None:
    steady = rate_band([cell(n) for n in (1000, 1004, 997, 1001)], cell(1000), 0.5)
    jumping = rate_band([cell(n) for n in (1000, 1080, 930, 990)], cell(1000), 0.5)

    assert steady.usual == pytest.approx(0.1, rel=0.01)
    assert steady.allowed == pytest.approx(0.01, rel=0.05)  # chance alone: 3 standard errors
    assert jumping.allowed > 3 * steady.allowed


def test_a_band_is_never_wider_than_the_tolerance_allows() -> None:
    assert rate_band([cell(500), cell(1500)], cell(0), 0.5).allowed == pytest.approx(0.05)
    assert rate_band([cell(1000)], cell(0), 0.5).allowed == pytest.approx(0.05)


def test_a_small_cell_may_be_off_by_chance_however_steady_it_was() -> None:
    assert rate_band([cell(1000), cell(1000)], cell(3, known=10), 0.5).allowed > 0.25


@pytest.mark.parametrize("days", [5, 7])
def test_a_day_like_its_past_is_outside_its_band_as_rarely_as_three_sigmas_say(days: int) -> None:
    random = np.random.default_rng(days)
    outside = 0
    for _ in range(4000):
        rates = random.normal(0.3, 0.02, days + 1)
        *before, today = [cell(round(rate * 1e7), 10_000_000) for rate in rates]
        band = rate_band(before, today, 1.0)
        outside += abs(today["positives"] / today["known"] - band.usual) > band.allowed
    assert outside / 4000 == pytest.approx(0.0027, abs=0.0025)
