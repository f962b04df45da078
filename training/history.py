"""What a training tells of itself: progress while it runs, and looks at validation to keep."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a callback is told every few steps."""

    stage: str
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One look at the validation days: a row of ``history.json``."""

    stage: str
    step: int
    """Steps taken in the stage."""
    steps: int
    """Steps the stage has."""
    rate: float
    """Learning rate of the last step."""
    train_loss: float
    """Mean loss of the steps since the last look."""
    validation: float
    """Pooled log loss: all scenarios together, mean over the tasks."""
    seconds: float
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON holds it."""
        said = asdict(self)
        return {**said.pop("extra"), **said}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Checked":
        """Return the row that :meth:`to_json` wrote."""
        own = {one.name for one in fields(cls)} - {"extra"}
        extra = {key: value for key, value in said.items() if key not in own}
        return cls(**{key: said[key] for key in own}, extra=extra)
