"""What a model costs beside the shared bottom: multiplications, a step, an answer."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.model import Model
from training.rows import Examples
from training.scores import predict
from training.settings import Settings
from training.trainer import Trainer, constant

STEPS = 8
"""Steps that are timed at once, so that what surrounds them does not count."""
ANSWERED = 8192
"""Rows that are scored at once."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one model; times are of one core."""

    macs: int | None
    """Multiplications with an addition, for one row's answer; None: it has no matrices."""
    step: float | None
    """Seconds of a training step; None: it is not trained in steps."""
    answer: float
    """Seconds to answer ``ANSWERED`` rows."""


Costs = dict[str, Cost]


def costs(models: Mapping[str, tuple[Model, Examples]], settings: Settings, repeats: int) -> Costs:
    """Measure models in turn, round after round, so that a busy moment meets all of them.

    Args:
        models: name → the model and the rows that it learns from and answers; networks are trained
            on a bit.
        settings: of the training.
        repeats: rounds; the median is told.
    """
    steps = {
        name: _stepper(model, rows, settings)
        for name, (model, rows) in models.items()
        if _is_network(model)
    }
    answers = {name: _answerer(model, rows) for name, (model, rows) in models.items()}
    stepped, answered = _in_turn(steps, repeats), _in_turn(answers, repeats)
    return {
        name: Cost(
            macs=macs_of(model, rows) if name in steps else None,
            step=stepped[name] / STEPS if name in steps else None,
            answer=answered[name],
        )
        for name, (model, rows) in models.items()
    }


def macs_of(model: Model, rows: Examples) -> int:
    """Return the multiplications with an addition that one row's answer takes."""
    some = rows.inputs.take(torch.arange(min(len(rows), 256)))
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(some)
    return int(counter.get_total_flops()) // 2 // len(some)


def _is_network(model: Model) -> bool:
    return next(model.parameters(), None) is not None


def _stepper(model: Model, rows: Examples, settings: Settings) -> Callable[[], Any]:
    few = rows.take(torch.arange(min(len(rows), 64)))  # it looks at them once each time
    trainer = Trainer(model, rows, few, settings)
    return lambda: trainer.run("timing", STEPS, constant, keep="last")


def _answerer(model: Model, rows: Examples) -> Callable[[], Any]:
    asked = rows.inputs.take(torch.arange(ANSWERED) % len(rows))
    return lambda: predict(model, asked)


def _in_turn(works: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return the median seconds of one core of each work, after one round to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(repeats + 1):
        for name, work in works.items():
            started = time.process_time()
            work()
            if round_:
                taken[name].append(time.process_time() - started)
    return {name: statistics.median(times) for name, times in taken.items()}
