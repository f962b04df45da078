"""Whether a night searches its flows anew or trains with the ones an earlier night found."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from features.spec.layout import Layout
from features.spec.model import Spec

SEARCHED_ON = "searched_on"
SEARCH_KEY = "search_key"
"""Tag with the hash of everything that masks depend on besides data: other settings, new search."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one night does about its flows."""

    search: bool
    searched_on: date | None
    """The night the flows were or will be searched; None for a model without flows."""
    previous: str | None
    """The version before this night, whose masks are frozen or compared with."""
    reason: str


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
    spec: Spec, layout: Layout, night: date, versions: Iterable[tuple[str, Mapping[str, str]]]
) -> Decision:
    """Decide whether ``night`` searches.

    Args:
        spec: its ``training.search.every`` is the number of nights between two searches.
        layout: the scenarios and tasks.
        night: the day trained for.
        versions: registered versions with their tags, in any order; nights from ``night`` on do not
            count, so that training a past day again decides what it did then.
    """
    if spec.training.model != "autoifs":
        return Decision(search=False, searched_on=None, previous=None, reason="model has no flows")
    earlier = [one for one in versions if one[1].get("ds", "9999") < night.isoformat()]
    if not earlier:
        return _search(night, None, "first night")
    version, tags = max(earlier, key=lambda one: (one[1]["ds"], int(one[0])))
    if spec.training.search.gates != "table":
        return _search(night, version, "nets of gates can't be frozen without their embeddings")
    if tags.get(SEARCH_KEY) != search_key(spec, layout):
        return _search(night, version, "scenarios, tasks, network or search settings changed")
    last = tags.get(SEARCHED_ON)
    age = (night - date.fromisoformat(last)).days if last else spec.training.search.every
    if last is None or age >= spec.training.search.every:
        return _search(night, version, f"last search was {age} nights ago")
    return Decision(
        search=False,
        searched_on=date.fromisoformat(last),
        previous=version,
        reason=f"flows of version {version}, searched {age} nights ago",
    )


def _search(night: date, previous: str | None, reason: str) -> Decision:
    return Decision(search=True, searched_on=night, previous=previous, reason=reason)
