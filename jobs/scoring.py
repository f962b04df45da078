"""What every model of a night says of the judged samples: champion, challenger, baseline."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from features.spec import FLOWS
from jobs.home import Home
from training.artifact import Scorer, load
from training.calibration import fit
from training.data import Dataset
from training.registry import Registry

Probabilities = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One of the models judged tonight, with what it says of the judged samples."""

    role: str
    """challenger, calibrated (the same, calibrated on its validation days), champion, baseline."""
    version: str
    probabilities: Probabilities
    """[n, M]; NaN in a cell the model does not know."""
    flows: NDArray[np.floating] | None
    """[n, M, 4] strengths, 0 for a pruned flow; None for a model without flows."""


def scores(
    registry: Registry, version: str, samples: Dataset, validation: Dataset, home: Home
) -> dict[str, Scored]:
    """Score the samples with every model there is, and the challenger calibrated: role → answers.

    What calibration is worth is seen on the judged days, of which it knows nothing.
    """
    versions = {"challenger": (version, "challenger"), "baseline": (version, "baseline")}
    champion = registry.champion()
    if champion is not None and champion.version != version:
        versions["champion"] = (champion.version, "challenger")
    found = {}
    with home.scratch() as scratch:
        for role, (number, part) in versions.items():
            folder = registry.download(number, scratch / role, part)
            scorer = load(folder)
            found[role] = _score(role, number, scorer, samples)
            if role == "challenger":
                found["calibrated"] = _calibrated(scorer, found[role], samples, validation)
    return found


def _calibrated(
    scorer: Scorer, challenger: Scored, samples: Dataset, validation: Dataset
) -> Scored:
    """Return the challenger's answers as its validation days would have them."""
    layout = samples.layout
    said = _score("calibrated", challenger.version, scorer, validation)
    line = fit(
        said.probabilities,
        np.where(np.isfinite(said.probabilities), validation.labels, np.nan),
        validation.scenario,
        layout.scenarios,
        layout.tasks,
    )
    return replace(said, probabilities=line(challenger.probabilities, samples.scenario), flows=None)


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
