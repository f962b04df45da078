"""One number that may have moved: how far, beyond which limit, and in which words."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any, Literal

from features.spec.policy import Drift, DriftMeasure
from validation.intervals import prediction_reach

Kind = Literal["input", "prediction", "mask"]
Severity = Literal["", "warn", "stop"]
FEW = 3
"""Earlier values from which a limit is learned; fewer say nothing of how a value varies."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A row of the table ``drift``; empty names take all."""

    kind: Kind
    measure: DriftMeasure
    scenario: str = ""
    task: str = ""
    subject: str = ""
    """A feature, or one of the four flows."""
    value: float
    usual: float | None = None
    """What it is compared with: the days before, or the champion."""
    moved: float
    """How far it is off, in the unit of its limit: never below 0."""
    low: float | None = None
    high: float | None = None
    """Interval of the change, where there is one."""
    limit: float | None = None
    """What is learned or declared to be worth a word; None: it is only recorded."""
    stop: float | None = None
    """From where a challenger is not promoted."""
    severity: Severity = ""
    n: int
    """Samples behind ``value``."""
    text: str
    """What moved, as a sentence without its limit."""

    @property
    def urgency(self) -> float:
        """How many times its limit it moved; 0 without one."""
        return self.moved / self.limit if self.limit else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the reading as plain data."""
        return asdict(self)


def judged_by(policy: Drift, found: Reading, learned: float = 0.0) -> Reading:
    """Return ``found`` with its limits and what follows from them.

    Args:
        policy: the spec's section ``drift``: the declared limits.
        found: the reading.
        learned: how far such a value moves anyway; a declared limit below that would cry wolf.
    """
    warn, stop = policy.warn.get(found.measure), policy.stop.get(found.measure)
    limit = None if warn is None else max(warn, learned)
    last = None if stop is None else max(stop, learned)
    severity: Severity = ""
    if last is not None and found.moved > last:
        severity = "stop"
    elif limit is not None and found.moved > limit:
        severity = "warn"
    return replace(found, limit=limit, stop=last, severity=severity)


def student_reach(values: Sequence[float]) -> float:
    """Return how far from their mean one more value may be; 0 while there are too few to tell."""
    return prediction_reach(values) if len(values) >= FEW else 0.0


def upper(values: Sequence[float]) -> float:
    """Return how high one more value may be; 0 while there are too few to tell."""
    return fmean(values) + prediction_reach(values) if len(values) >= FEW else 0.0
