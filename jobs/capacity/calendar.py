"""What is declared of a stretch of nights: jobs, slots, a deadline, and what goes wrong when."""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from features.errors import UserError

STEPS = ("make", "train", "judge")
"""The jobs of a night: samples; training; register, evaluate, gate and report together."""


Hours = Annotated[float, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Event(_Strict):
    """One thing that happens on a night; exactly one kind is given. Times are in hours."""

    night: PositiveInt
    """Counted from 1."""
    product: PositiveInt | None = None
    """Whose night; left out: every product's."""
    late: Hours | None = None
    """The raw files come so much later."""
    fails: str | None = None
    """A job that breaks off ``times`` times, each time when the share ``at`` of it is done."""
    times: PositiveInt = 1
    at: float = Field(default=1.0, ge=0, le=1)
    backfill: PositiveInt | None = None
    """So many past days are asked for at the beginning of the night."""
    growth: PositiveFloat | None = None
    """From this night on days are so many times as large as before."""
    outage: Hours | None = None
    """From the night's beginning no job runs for so long; those that run are tried again after."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Event":
        kinds = ("late", "fails", "backfill", "growth", "outage")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(kinds)}, not {len(given)}")
        if self.fails is not None and self.fails not in STEPS:
            raise ValueError(f"fails: '{self.fails}' is none of {', '.join(STEPS)}")
        return self


class Calendar(_Strict):
    """Nights of several products on a given number of slots. Times are in hours."""

    nights: PositiveInt = 90
    products: PositiveInt = 1
    deadline: Hours
    """After the end of a day, by when its model must be judged and its report written."""
    arrival: Hours = 0.0
    """After the end of a day, when its raw files are there."""
    hours: dict[str, PositiveFloat]
    """Job → hours it takes for a day of usual size."""
    slots: dict[str, PositiveInt]
    """``spark``: builds that the workers can run at once; ``train``: trainings."""
    attempts: PositiveInt = 3
    """How often a job is tried in all."""
    retry_after: Hours = 2 / 60
    resumes: tuple[str, ...] = ("train",)
    """Jobs that go on from where they broke off."""
    events: tuple[Event, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> "Calendar":
        for name, wanted in (("hours", STEPS), ("slots", ("spark", "train"))):
            given = set(getattr(self, name))
            if given != set(wanted):
                raise ValueError(f"{name}: give {', '.join(wanted)} and nothing else")
        return self


def read_calendar(path: Path, **changes: dict[str, int]) -> Calendar:
    """Read a calendar; ``changes`` are put in place of what the file says.

    Raises:
        UserError: with the file, the path inside it and what is wrong there.
    """
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} can't be read as a calendar: {error}") from None
    for name, values in changes.items():
        said[name] = {**said.get(name, {}), **values}
    try:
        return Calendar(**said)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path.name}: {place}: {first['msg']}") from None
