from datetime import date

import pytest

from features.days import span
from features.errors import TrainingError
from training.split import split_days

TASKS = ("click", "buy")


def day(number: int) -> date:
    return date(2026, 1, number)


def counts(first: int, last: int, **newest: int) -> dict[date, dict[str, int]]:
    """Labels on every day from first to last, of each task up to its newest day."""
    return {
        one: {task: 5 if one <= day(newest[task]) else 0 for task in newest}
        for one in span(day(first), day(last))
    }


def split(night: int, known: dict[date, dict[str, int]], window: int = 14, validate: int = 1):
    tasks = tuple(next(iter(known.values())))
    return split_days(day(night), known, tasks, window=window, validate=validate)


def test_a_night_judges_on_its_own_day_validates_on_the_day_before_and_trains_on_the_rest():
    found = split_days(
        date(2022, 5, 2),
        {one: {"click": 1} for one in span(date(2022, 4, 25), date(2022, 5, 2))},
        ("click",),
        window=28,
        validate=1,
    )
    assert found.judge == {"click": date(2022, 5, 2)}
    assert found.validate == (date(2022, 5, 1),)
    assert found.train == tuple(span(date(2022, 4, 25), date(2022, 4, 30)))


def test_a_task_with_a_window_is_judged_on_its_newest_mature_day_which_trains_nobody():
    found = split(9, counts(1, 9, click=9, like=9, buy=6))
    assert found.judge == {"click": day(9), "like": day(9), "buy": day(6)}
    assert found.validate == (day(8),)
    assert found.train == (day(1), day(2), day(3), day(4), day(5), day(7))
    assert found.read == (*found.train, day(8))


def test_every_day_has_one_role():
    for buys in range(2, 10):
        found = split(10, counts(1, 10, click=10, buy=buys))
        roles = [*found.train, *found.validate, *sorted(set(found.judge.values()))]
        assert len(roles) == len(set(roles)) == 10


def test_days_after_the_night_and_before_the_window_are_left_alone():
    found = split(9, counts(1, 12, click=12), window=4)
    assert (*found.train, *found.validate, found.judge["click"]) == tuple(span(day(6), day(9)))


def test_several_days_can_validate():
    assert split(9, counts(1, 9, click=9), validate=3).validate == (day(6), day(7), day(8))


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (counts(1, 8, click=8), "no day 2026-01-09"),
        (counts(9, 9, click=9), "needs at least 3 days"),
        (counts(8, 9, click=9), "has 2; build older days"),
        (counts(1, 9, click=0 + 1, buy=0 + 1) | {day(1): {"click": 0, "buy": 5}}, "'click' has no"),
    ],
)
def test_too_little_history_is_refused_with_the_day_or_task_it_lacks(known, words):
    with pytest.raises(TrainingError, match=words):
        split(9, known)


def test_a_hole_in_the_history_is_named():
    known = counts(1, 9, click=9)
    del known[day(4)]
    with pytest.raises(TrainingError, match="no day 2026-01-04 although it has 2026-01-01"):
        split(9, known)


def test_a_task_whose_only_mature_day_is_its_judge_day_cannot_be_trained():
    known = counts(1, 9, click=9, buy=9)
    for one in known:
        known[one]["buy"] = 5 if one == day(2) else 0
    with pytest.raises(TrainingError, match="'buy' has no mature label on the training days"):
        split(9, known)


def test_a_validation_day_without_any_label_is_refused():
    known = counts(1, 9, click=9)
    known[day(8)]["click"] = 0
    with pytest.raises(TrainingError, match="validation day 2026-01-08 has no mature label"):
        split(9, known)
