"""How good the trained models are on the test day, which is read here and once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features.spec import layout_of
from jobs.benchmark.protocol import BAR, BASELINE
from jobs.benchmark.runs import Chosen, Run
from jobs.benchmark.worlds import World
from training.artifact import load
from training.data import Dataset, read_days
from validation.cells import Cell, Group, Judged, judged
from validation.comparison import differences
from validation.intervals import Estimate
from validation.statistic import Measured, average, measure

MINIMUM = 30
"""Positives, negatives and users that a cell needs to be compared."""
CONFIDENCE = 0.95
WHOLE: Group = (None, None)
"""All scenarios together, mean of the tasks."""
MEASURES = ("auc", "logloss")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An entry on one data set; every figure is the mean over its seeds."""

    chosen: Chosen
    cells: Mapping[str, Mapping[Cell, float]]
    """Measure → (scenario, task) → value."""
    pooled: Mapping[str, float]
    """Measure → of all scenarios together, mean of the tasks."""
    spread: Mapping[str, float]
    """Measure → standard deviation of ``pooled`` over the seeds."""
    against: Mapping[str, Mapping[tuple[str, Group], Estimate]]
    """Entry that it is held against → (measure, group) → paired difference, clustered by user."""

    def mean(self, measure_: str) -> float:
        """Return the mean of a measure over the cells."""
        return float(np.mean(list(self.cells[measure_].values())))


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """All entries on one data set."""

    world: World
    test: Judged
    rows: Mapping[str, int]
    """Rows that trained, validated and tested."""
    verdicts: Mapping[str, Verdict]


def judge(world: World, trained: Iterable[Chosen], rows: Mapping[str, int]) -> Judgement:
    """Judge all entries on the test day.

    Args:
        world: the data set.
        trained: its entries' runs.
        rows: how many rows trained and validated.
    """
    layout, version = layout_of(world.spec), world.lake.open("encoded").version()
    samples = read_days(world.lake, layout, [world.test], version)
    asked = judged(samples.labels, samples.scenario, samples.user, layout)
    measured = [(one, [_measured(run, samples, asked) for run in one.runs]) for one in trained]
    means = {one.entry.name: average(runs) for one, runs in measured}
    return Judgement(
        world=world,
        test=asked,
        rows={**rows, "test": len(samples)},
        verdicts={one.entry.name: _verdict(one, runs, means, asked) for one, runs in measured},
    )


def _measured(run: Run, samples: Dataset, asked: Judged) -> Measured:
    return measure(load(Path(run.folder)).score(samples).astype(np.float64), asked)


def _verdict(
    chosen: Chosen, runs: list[Measured], means: Mapping[str, Measured], asked: Judged
) -> Verdict:
    name = chosen.entry.name
    mean = means[name]
    within = [(k, m) for k, m in asked.cells if k in range(len(asked.layout.scenarios))]
    every = {one: [_whole(run, one, asked) for run in runs] for one in MEASURES}
    return Verdict(
        chosen=chosen,
        cells={
            one: {c: mean.statistics[one][c].value for c in within if c in mean.statistics[one]}
            for one in MEASURES
        },
        pooled={one: float(np.mean(found)) for one, found in every.items()},
        spread={
            one: float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
            for one, found in every.items()
        },
        against={
            other: _differences(means[other], mean, asked)
            for other in (BAR, BASELINE)
            if other in means and other != name
        },
    )


def _whole(model: Measured, name: str, asked: Judged) -> float:
    enough = {cell for cell in asked.cells if not asked.counts[cell].lacks(MINIMUM)}
    return model.with_means(name, asked, enough)[WHOLE].value


def _differences(
    before: Measured, after: Measured, asked: Judged
) -> dict[tuple[str, Group], Estimate]:
    found = differences(before, after, asked, confidence=CONFIDENCE, minimum=MINIMUM)
    return {place: one.change for place, one in found.items() if place[0] in MEASURES}
