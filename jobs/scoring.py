"""What every model of a night says of the judged samples: champion, challenger, baseline."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from features.spec import FLOWS
from jobs.home import Home
from training.artifact import Scorer, load
from training.data import Dataset
from training.registry import Registry

Probabilities = NDArray[np.float64]
Versions = Mapping[str, tuple[str, str]]
"""Role → registered version and which of its models: ``challenger`` or ``baseline``."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One of the models judged tonight, with what it says of the judged samples."""

    role: str
    """challenger, uncalibrated (the same before its calibration), champion, baseline."""
    version: str
    probabilities: Probabilities
    """[n, M]; NaN in a cell the model does not know."""
    flows: NDArray[np.floating] | None
    """[n, M, 4] strengths, 0 for a pruned flow; None for a model without flows."""
    probe: Probabilities | None = None
    """[p, M] what it says of the probe samples; None when it was not asked."""


def scores(
    registry: Registry, version: str, samples: Dataset, probe: Dataset, home: Home
) -> dict[str, Scored]:
    """Score the samples with every model there is: role → answers.

    Models answer as they are served. What the challenger would say without its calibration is
    beside it: what that is worth is seen on the judged days, of which it knows nothing. Challenger
    and champion are asked about the probe samples too.
    """
    champion = registry.champion()
    other = None if champion is None or champion.version == version else champion.version
    found: dict[str, Scored] = {}
    for role, number, scorer in _scorers(registry, roles(version, other), home):
        found[role] = _score(role, number, scorer, samples)
        if role in ("challenger", "champion"):
            said = _score(role, number, scorer, probe)
            found[role] = replace(found[role], probe=said.probabilities)
        if role == "challenger" and scorer.calibration is not None:
            before = _score("uncalibrated", number, scorer.uncalibrated, samples)
            found["uncalibrated"] = replace(before, flows=None)
    return found


def roles(version: str, champion: str | None) -> Versions:
    """Return the models that a night compares: role → version, and which of its two models."""
    found = {"challenger": (version, "challenger"), "baseline": (version, "baseline")}
    return found if champion is None else {**found, "champion": (champion, "challenger")}


def answers(
    registry: Registry, versions: Versions, samples: Dataset, home: Home
) -> dict[str, Scored]:
    """Score the samples with the named models: role → answers."""
    return {
        role: _score(role, number, scorer, samples)
        for role, number, scorer in _scorers(registry, versions, home)
    }


def _scorers(
    registry: Registry, versions: Versions, home: Home
) -> Iterator[tuple[str, str, Scorer]]:
    """Yield role, version and model, one in memory at a time."""
    with home.scratch() as scratch:
        for role, (number, part) in versions.items():
            yield role, number, load(registry.download(number, scratch / role, part))


def _score(role: str, version: str, scorer: Scorer, samples: Dataset) -> Scored:
    """Score the samples; the model may come from an older spec with other tasks."""
    scores, flows = scorer.score(samples), scorer.flows(samples)
    probabilities = np.full(samples.labels.shape, np.nan)
    strengths = None if flows is None else np.zeros((*samples.labels.shape, len(FLOWS)))
    for m, task in enumerate(samples.layout.tasks):
        if task not in scorer.layout.tasks:
            continue
        theirs = scorer.layout.tasks.index(task)
        probabilities[:, m] = scores[:, theirs]
        if strengths is not None and flows is not None:
            strengths[:, m] = np.nan_to_num(flows[:, theirs])
    return Scored(role=role, version=version, probabilities=probabilities, flows=strengths)
