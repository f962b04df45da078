"""Which days are trained on, which choose the epoch, and which judge the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from features.days import DAY, span
from features.errors import TrainingError

LabelCounts = Mapping[date, Mapping[str, int]]
"""Day → task → rows whose label is known."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """The days of one night's training: no day has two roles; tasks may share a judge day."""

    train: tuple[date, ...]
    validate: tuple[date, ...]
    judge: Mapping[str, date]
    """Task → the day its predictions are judged on, never trained or validated on."""

    @property
    def read(self) -> tuple[date, ...]:
        """The days a trainer reads, oldest first."""
        return tuple(sorted((*self.train, *self.validate)))


def split_days(
    night: date, counts: LabelCounts, tasks: tuple[str, ...], *, window: int, validate: int
) -> Split:
    """Share out the days up to ``night``.

    A task is judged on the newest day that has mature labels of it. Every judge day is kept out of
    training for all tasks; the newest days left validate; what is left of the window trains.

    Args:
        night: the newest day the night may use.
        counts: known labels a day and task, for every day the encoded table holds.
        tasks: the tasks in order.
        window: days that training may look back on, ``night`` included.
        validate: how many days choose the epoch.

    Raises:
        TrainingError: a day is missing, a task has no label, or too few days are left.
    """
    days = _window(night, counts, window)
    judge = {task: _judge_day(task, days, counts) for task in tasks}
    rest = [day for day in days if day not in judge.values()]
    if len(rest) <= validate:
        raise TrainingError(_too_few(night, days, judge, validate))
    chosen = Split(train=tuple(rest[:-validate]), validate=tuple(rest[-validate:]), judge=judge)
    _check_labels(chosen, counts, tasks)
    return chosen


def _window(night: date, counts: LabelCounts, window: int) -> list[date]:
    """Return the days of the window, oldest first; history may be short but has no hole."""
    first_wanted = night - (window - 1) * DAY
    held = sorted(day for day in counts if first_wanted <= day <= night)
    if night not in held:
        raise TrainingError(
            f"encoded has no day {night}; build it first: "
            f"autoifs samples run --from {night} --to {night}"
        )
    for day in span(held[0], night):
        if day not in counts:
            raise TrainingError(
                f"encoded has no day {day} although it has {held[0]} and {night}; "
                f"build it: autoifs backfill --from {day} --to {day}"
            )
    return held


def _judge_day(task: str, days: list[date], counts: LabelCounts) -> date:
    for day in reversed(days):
        if counts[day].get(task, 0) > 0:
            return day
    raise TrainingError(
        f"task '{task}' has no mature label on any day from {days[0]} to {days[-1]}; "
        "build older days, or make training.window longer than its window"
    )


def _too_few(night: date, days: list[date], judge: Mapping[str, date], validate: int) -> str:
    kept = ", ".join(f"{task} {day}" for task, day in judge.items())
    wanted = len(set(judge.values())) + validate + 1
    return (
        f"training for {night} needs at least {wanted} days ({validate} to validate, 1 to train, "
        f"judge days {kept}) and has {len(days)}; build older days: autoifs backfill"
    )


def _check_labels(split: Split, counts: LabelCounts, tasks: tuple[str, ...]) -> None:
    """Refuse tasks that could not be learned and a validation that could not choose."""
    for task in tasks:
        if not any(counts[day].get(task, 0) for day in split.train):
            raise TrainingError(
                f"task '{task}' has no mature label on the training days "
                f"{split.train[0]} to {split.train[-1]}; build older days or shorten its window"
            )
    if not any(counts[day].get(task, 0) for day in split.validate for task in tasks):
        last = split.validate[-1]
        raise TrainingError(
            f"validation day {last} has no mature label of any task; restate it: "
            f"autoifs backfill --from {last} --to {last}"
        )
