"""Days and windows, the units of everything."""

from datetime import date, timedelta

import pytest

from features.days import end_of, parse_day, parse_duration, span, start_of, whole_days
from features.errors import UserError


@pytest.mark.parametrize("text", ["2022-5-2", "20220502", "2022-02-30", "today", ""])
def test_what_is_not_a_day_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match=f"'{text}' is not a day; write it as YYYY-MM-DD"):
        parse_day(text)


def test_a_span_includes_both_ends() -> None:
    assert list(span(date(2024, 2, 28), date(2024, 3, 1))) == [
        date(2024, 2, 28),
        date(2024, 2, 29),
        date(2024, 3, 1),
    ]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),
        ("America/Sao_Paulo", date(2018, 2, 17), 25),
    ],
)
def test_a_day_of_a_clock_change_has_its_own_length(zone: str, day: date, hours: int) -> None:
    begin, end = start_of(day, zone), end_of(day, zone)

    assert end.timestamp() - begin.timestamp() == hours * 3600


@pytest.mark.parametrize(("text", "days"), [("1h", 1), ("24h", 1), ("25h", 2), ("3d", 3)])
def test_a_window_reaches_into_every_day_it_touches(text: str, days: int) -> None:
    assert whole_days(parse_duration(text)) == days
    assert whole_days(timedelta(0)) == 0
