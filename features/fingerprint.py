"""What a partition depends on, in one hash: equal means that building it again changes nothing."""

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from features.arrivals import Arrivals
from features.spec import Spec
from features.spec.load import spec_hash

CONTRACT = 1
"""Raise it when the same files and spec are to give other samples than before."""

SECTIONS = (
    "product",
    "timezone",
    "sources",
    "impression",
    "scenarios",
    "tasks",
    "features",
    "rules",
)
"""Parts of the spec that samples depend on; audit, training and gate are not among them."""


def fingerprint(spec: Spec, found: Arrivals, counts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the fingerprint of a day's samples.

    Args:
        spec: the product.
        found: the files of the day, by content, and the last day whose arrivals count.
        counts: day → what the last commit of that day's counts says; only days before count.
    """
    before = {
        ds: said["fingerprint"] for ds, said in sorted(counts.items()) if ds < found.day.isoformat()
    }
    return _hash(spec, found.day, found.as_of.isoformat(), found.signature(), before)


def counts_fingerprint(spec: Spec, found: Arrivals) -> str:
    """Return the fingerprint of a day's counts: the files that had arrived by its own end."""
    return _hash(spec, found.day, found.signature())


def _hash(spec: Spec, day: date, *parts: object) -> str:
    said = [CONTRACT, spec_hash(_lasting(spec), *SECTIONS), day.isoformat(), *parts]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


def _lasting(spec: Spec) -> Spec:
    """Return ``spec`` without what decides only whether a day is refused: what was published stays.

    So a contract can be opened for a night and closed again.
    """
    sources = {
        name: source.model_copy(update={"contract": source.contract.lasting})
        for name, source in spec.sources.items()
    }
    return spec.model_copy(update={"sources": sources})
