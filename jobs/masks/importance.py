"""What each flow of a model is worth: how much worse its cell gets when it says the same of all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.spec import FLOWS, Spec
from jobs.trial import Exam
from training.artifact import Scorer
from validation.comparison import Difference, differences
from validation.drift import keep_rates
from validation.intervals import UNKNOWN, Estimate, Floats
from validation.statistic import Measured, measure


@dataclass(frozen=True, kw_only=True)
class Worth:
    """One flow of one cell."""

    scenario: str
    task: str
    flow: str
    kept: float
    """Share of the cell's samples that keep it."""
    strength: float
    """Mean over the cell's samples, 0 where it is pruned."""
    share: float
    """Of the spread of the cell's logits, among its flows."""
    loss: Estimate
    """Log loss with the flow held at its mean, minus log loss as it is; above 0: it helps.

    Nothing is trained again, so flows that say the same may each be worth little.
    """


def importance(spec: Spec, scorer: Scorer, exam: Exam) -> list[Worth]:
    """Return every flow of every existing cell that has samples, with intervals by user."""
    samples, layout = exam.samples, exam.samples.layout
    said, strengths = scorer.contributions(samples), scorer.flows(samples)
    if said is None or strengths is None:
        return []
    logits, added = said
    rates = keep_rates(strengths, samples.scenario, layout)
    scenarios = range(len(layout.scenarios))
    spread, means = (
        np.stack([what(added[samples.scenario == k], axis=0) for k in scenarios])
        for what in (_std, _mean)
    )
    whole = _measured(logits, scorer, exam)
    found = []
    for place, flow in enumerate(FLOWS):
        held = logits - added[:, :, place] + means[samples.scenario, :, place]
        changes = differences(
            whole,
            _measured(held, scorer, exam),
            exam.asked,
            confidence=spec.gate.confidence,
            minimum=spec.gate.minimum,
        )
        found += [
            Worth(
                scenario=scenario,
                task=task,
                flow=flow,
                kept=float(rates.keep[k, m, place]),
                strength=float(rates.strength[k, m, place]),
                share=float(spread[k, m, place] / max(spread[k, m].sum(), 1e-12)),
                loss=_change(changes.get(("logloss", (k, m)))),
            )
            for k, scenario in enumerate(layout.scenarios)
            for m, task in enumerate(layout.tasks)
            if spec.has(scenario, task) and rates.n[k]
        ]
    return found


def _measured(logits: NDArray[np.floating], scorer: Scorer, exam: Exam) -> Measured:
    chances = scorer.probabilities(logits, exam.samples.scenario)
    return measure(chances.astype(np.float64), exam.asked)


def _mean(values: Floats, axis: int) -> Floats:
    return values.mean(axis=axis) if len(values) else np.zeros(values.shape[1:])


def _std(values: Floats, axis: int) -> Floats:
    return values.std(axis=axis) if len(values) else np.zeros(values.shape[1:])


def _change(known: Difference | None) -> Estimate:
    return known.change if known else UNKNOWN
