"""What every part of a spec shares: names, durations, lists, and a frozen closed section."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)

from features.days import parse_duration

NAME = re.compile(r"[a-z][a-z0-9_]*")


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"'{text}' is not a name: use lower-case letters, digits and _")
    return text


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def listed(value: object) -> object:
    """Return a list as it is and anything else as the only element of one."""
    return value if isinstance(value, list | tuple) else [value]


def _write_duration(value: timedelta) -> str:
    hours = value // timedelta(hours=1)
    return f"{hours // 24}d" if hours % 24 == 0 else f"{hours}h"


Name = Annotated[str, BeforeValidator(lambda v: _name(v) if isinstance(v, str) else v)]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(_write_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\d+\s*[dh]$"}),
]
Scalar = str | int | float | bool


class Section(BaseModel):
    """A part of the spec: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)
