"""Whether a night searches its flows anew or trains with the ones an earlier night found."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from features.spec.layout import Layout
from features.spec.model import Spec

SEARCHED_ON = "searched_on"
MASKS = "masks"
"""Tag with ``rows`` when gates of a net decide row by row, ``cells`` when a table does."""
SEARCH_KEY = "search_key"
"""Tag with the hash of everything that masks depend on besides data: other settings, new search."""

TELLING = ("label-rate", "prediction-mean", "prediction-psi")
"""What moves when labels follow their features differently; an input alone may move without it."""

Evaluated = Mapping[str, Any]
"""What ``evaluate`` recorded of a night."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one night does about its flows."""

    search: bool
    searched_on: date | None
    """The night the flows were or will be searched; None for a model without flows."""
    previous: str | None
    """The version before this night, whose masks are frozen or compared with."""
    reason: str
    start: str | None = None
    """The version whose weights are gone on from, where the spec asks for that and they fit."""


def search_key(spec: Spec, layout: Layout) -> str:
    """Return a hash of the scenarios, tasks, cells, network and search settings."""
    said = {
        "cells": [[k, m, spec.has(k, m)] for k in layout.scenarios for m in layout.tasks],
        "network": spec.training.network.model_dump(mode="json"),
        "search": spec.training.search.model_dump(mode="json"),
        "model": spec.training.model,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def decide(
    spec: Spec,
    layout: Layout,
    night: date,
    versions: Iterable[tuple[str, Mapping[str, str]]],
    evaluated: Callable[[date], Evaluated] = lambda _: {},
) -> Decision:
    """Decide whether ``night`` searches.

    Args:
        spec: its ``training.search.every`` is the number of nights between two searches.
        layout: the scenarios and tasks.
        night: the day trained for.
        versions: registered versions with their tags, in any order; nights from ``night`` on do not
            count, so that training a past day again decides what it did then.
        evaluated: what was recorded when the version of a night was judged.
    """
    earlier = [one for one in versions if one[1].get("ds", "9999") < night.isoformat()]
    if spec.training.model != "autoifs":
        goes_on = spec.training.warm_start and spec.training.model != "lightgbm"
        start = max(earlier, key=_age)[0] if earlier and goes_on else None
        return Decision(
            search=False,
            searched_on=None,
            previous=None,
            reason="model has no flows",
            start=start,
        )
    if not earlier:
        return _search(night, None, "first night")
    version, tags = max(earlier, key=_age)
    start = version if spec.training.warm_start else None
    if tags.get(SEARCH_KEY) != search_key(spec, layout):
        reason = "scenarios, tasks, network or search settings changed"
        return replace(_search(night, version, reason), start=start)
    if tags.get(MASKS) == "rows":
        return _search(night, version, "masks that a net decides row by row can't be frozen")
    last = tags.get(SEARCHED_ON)
    age = (night - date.fromisoformat(last)).days if last else spec.training.search.every
    if last is None or age >= spec.training.search.every:
        return _search(night, version, f"last search was {age} nights ago")
    if spec.training.search.on_drift:
        alarm = alarm_in(evaluated(date.fromisoformat(tags["ds"])))
        if alarm is not None:
            return _search(night, version, f"night of {tags['ds']}: {alarm}")
    return Decision(
        search=False,
        searched_on=date.fromisoformat(last),
        previous=version,
        reason=f"flows of version {version}, searched {age} nights ago",
        start=start,
    )


def _age(one: tuple[str, Mapping[str, str]]) -> tuple[str, int]:
    """Return what the newest version has most of: its night, then its number."""
    return one[1]["ds"], int(one[0])


def alarm_in(evaluated: Evaluated) -> str | None:
    """Return what a night recorded that makes its flows doubtful: drift, or a model got worse.

    Flows frozen for too long show in what they are worth, not in the masks, which stand still.
    """
    for finding in (evaluated.get("drift") or {}).get("findings", ()):
        if finding["severity"] == "stop" or finding["measure"] in TELLING:
            return str(finding["text"])
    for one in evaluated.get("comparisons", ()):
        if one["verdict"] == "worse":
            cell = " × ".join(name for name in (one["scenario"], one["task"]) if name)
            return f"worse than the champion in {cell or 'all cells together'}"
    return None


def _search(night: date, previous: str | None, reason: str) -> Decision:
    return Decision(search=True, searched_on=night, previous=previous, reason=reason)
