"""What a model costs beside the shared bottom: multiplications, a step, an answer."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.autoifs import AutoIFS
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


@dataclass(frozen=True)
class Timed:
    """A model as it learns and as it answers, and the rows for both."""

    model: Model
    answering: Model
    rows: Examples


def costs(models: Mapping[str, Timed], settings: Settings, repeats: int) -> Costs:
    """Measure models in turn, round after round, so that a busy moment meets all of them.

    Args:
        models: by name; networks are trained on a bit, last.
        settings: of the training.
        repeats: rounds; the median is told.
    """
    networks = {name: one for name, one in models.items() if _is_network(one.model)}
    macs = {name: macs_of(one.answering, one.rows) for name, one in networks.items()}
    answered = in_turn({name: _answerer(one) for name, one in models.items()}, repeats)
    steps = {name: _stepper(one, settings) for name, one in networks.items()}
    stepped = in_turn(steps, repeats)
    return {
        name: Cost(
            macs=macs.get(name),
            step=stepped[name] / STEPS if name in stepped else None,
            answer=answered[name],
        )
        for name in models
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


def _stepper(one: Timed, settings: Settings) -> Callable[[], Any]:
    few = one.rows.take(torch.arange(min(len(one.rows), 64)))  # it looks at them once each time
    model = one.model.requires_grad_(True)
    if isinstance(model, AutoIFS):
        model.harden()  # a step of retraining: the flows hold still
    trainer = Trainer(model, one.rows, few, settings)
    return lambda: trainer.run("timing", STEPS, constant, keep="last")


def _answerer(one: Timed) -> Callable[[], Any]:
    asked = one.rows.inputs.take(torch.arange(ANSWERED) % len(one.rows))
    return lambda: predict(one.answering, asked)


def in_turn(works: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return the median seconds of one core of each work, after one round to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(repeats + 1):
        for name, work in works.items():
            started = time.process_time()
            work()
            if round_:
                taken[name].append(time.process_time() - started)
    return {name: statistics.median(times) for name, times in taken.items()}
