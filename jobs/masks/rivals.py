"""Models trained with other masks than a version's, and how much better or worse they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from features.spec import Spec
from jobs.masks.shelf import Shelf
from jobs.trial import Exam
from training.artifact import Scorer
from training.controls import bare, even, shuffled, whole
from validation.cells import Group
from validation.comparison import differences
from validation.drift import keep_rates
from validation.intervals import Estimate
from validation.statistic import Measured, average, measure

OURS = "this model's masks"
SEARCHED = "searched anew"
NONE, ALL, RANDOM, EVEN = "none pruned", "all pruned", "random, as many", "all equally strong"
WHOLE: Group = (None, None)


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Masks with which models were trained, with several seeds."""

    name: str
    kept: float
    """Share of the flows that are kept."""
    strength: float
    """Mean strength, pruned flows as 0."""
    auc: float
    """All scenarios together, mean of tasks and seeds."""
    logloss: float
    difference: Estimate | None = None
    """Of the log loss to this model's masks, paired, clustered by user; above 0: worse."""
    beaten: int | None = None
    """Seeds with which this model's masks did better."""
    seeds: int


def train_rivals(shelf: Shelf, scorer: Scorer, seeds: int) -> dict[str, list[Scorer]]:
    """Return kind of masks → its models, one for each seed from 1 on; bare ones need but one."""
    cells, table = scorer.card.architecture.cells, scorer.table
    numbers = range(1, seeds + 1)
    held = {SEARCHED: [shelf.train(SEARCHED, seed, None) for seed in numbers]}
    given: dict[str, list[Tensor]] = {NONE: [whole(cells)] * seeds, ALL: [bare(cells)]}
    if table is not None:
        given |= {
            OURS: [table] * seeds,
            RANDOM: [shuffled(table, cells, seed) for seed in numbers],
            EVEN: [even(table, cells)] * seeds,
        }
    for name, tables in given.items():
        held[name] = [shelf.train(name, seed + 1, one) for seed, one in enumerate(tables)]
    return held


def compare(spec: Spec, held: Mapping[str, list[Scorer]], exam: Exam) -> list[Rival]:
    """Hold every kind of masks against this model's, or without a table against new searches."""
    measured = {name: [_measure(one, exam) for one in models] for name, models in held.items()}
    ours = measured.get(OURS, measured[SEARCHED])
    return [_rival(spec, name, held[name], found, ours, exam) for name, found in measured.items()]


def _rival(
    spec: Spec,
    name: str,
    models: Sequence[Scorer],
    found: Sequence[Measured],
    ours: Sequence[Measured],
    exam: Exam,
) -> Rival:
    kept, strength = np.mean([_flows(one, exam) for one in models], axis=0)
    pairs = list(zip(ours, found, strict=False)) if found is not ours else []
    beaten = [_whole(mine, "logloss", exam) < _whole(one, "logloss", exam) for mine, one in pairs]
    return Rival(
        name=name,
        kept=float(kept),
        strength=float(strength),
        auc=float(np.mean([_whole(one, "auc", exam) for one in found])),
        logloss=float(np.mean([_whole(one, "logloss", exam) for one in found])),
        difference=_difference(spec, pairs, exam) if pairs else None,
        beaten=sum(beaten) if pairs else None,
        seeds=len(found),
    )


def _difference(
    spec: Spec, pairs: Sequence[tuple[Measured, Measured]], exam: Exam
) -> Estimate | None:
    """Return the mean difference of the log loss to ours, over the seeds that both have."""
    ours, theirs = (average([pair[side] for pair in pairs]) for side in (0, 1))
    gate = spec.gate
    changes = differences(
        ours, theirs, exam.asked, confidence=gate.confidence, minimum=gate.minimum
    )
    found = changes.get(("logloss", WHOLE))
    return found.change if found else None


def _flows(scorer: Scorer, exam: Exam) -> tuple[float, float]:
    """Return the share of the flows that are kept and their mean strength; all cells count alike.

    Where rows decide, a flow is kept as far as the cell's samples keep it.
    """
    cells, table = np.array(scorer.card.architecture.cells), scorer.table
    if table is not None:
        strengths = table.numpy()[cells]
        return float((strengths > 0).mean()), float(strengths.mean())
    said = scorer.flows(exam.samples)
    if said is None:
        raise TypeError("a model without flows has no strengths")
    rates = keep_rates(np.nan_to_num(said), exam.samples.scenario, exam.samples.layout)
    return float(np.nanmean(rates.keep[cells])), float(np.nanmean(rates.strength[cells]))


def _measure(scorer: Scorer, exam: Exam) -> Measured:
    return measure(scorer.score(exam.samples).astype(np.float64), exam.asked)


def _whole(found: Measured, name: str, exam: Exam) -> float:
    return found.with_means(name, exam.asked, set(exam.asked.cells))[WHOLE].value
