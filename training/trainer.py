"""Training that reads like the algorithm: batches, masked loss, Adam, average, best epoch."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from features.errors import TrainingError
from training.autoifs import AutoIFS
from training.history import Checked, Progress
from training.model import Model
from training.rows import Examples, batches, set_aside, steps_per_epoch
from training.scores import pooled_log_loss, predict
from training.settings import Settings

log = logging.getLogger(__name__)

PROGRESS_STEPS = 20

State = dict[str, Tensor]


class Diverged(TrainingError):
    """The loss became NaN or infinite; the model holds its last good weights again."""


class Trainer:
    """Trains one model on one split, stage by stage."""

    def __init__(
        self,
        model: Model,
        train: Examples,
        validate: Examples,
        settings: Settings,
        report: Callable[[Progress], None] | None = None,
    ) -> None:
        """Move everything to the device; nothing is trained yet."""
        self.model = model.to(settings.device)
        train = train.to(settings.device)
        self.train: Examples
        self.aside: Examples | None
        self.train, self.aside = (
            set_aside(train, settings.seed) if model.held_out() else (train, None)
        )
        self.validate = validate.to(settings.device)
        self.settings = settings
        self.report = report
        self.history: list[Checked] = []
        self.epoch = steps_per_epoch(len(self.train), settings.batch)
        known = (~self.train.labels.isnan()).sum(0).clamp(min=1)
        # A task with few mature labels weighs as much as the others: a label's weight is the
        # task's, divided by the share of rows that have one.
        wanted = torch.tensor(settings.task_weights, device=settings.device)
        self.weights = wanted / wanted.sum() * len(self.train) / known

    def run(
        self,
        stage: str,
        steps: int,
        rate: Callable[[float], float],
        *,
        gate_rate: float | None = None,
        seed: int = 0,
        after: Callable[[int], None] | None = None,
        extra: dict[str, Any] | None = None,
        keep: Literal["best", "last"] = "best",
    ) -> Checked:
        """Train for ``steps``.

        Args:
            stage: its name in the history.
            steps: how many; validation is looked at after every epoch's worth and at the end.
            rate: share of the stage done, [0, 1), to the learning rate as a share of the setting.
            gate_rate: learning rate of the gates; None: the setting's.
            seed: added to the setting's, for the order of rows and for dropout.
            after: called with the step after each update (boxes coefficients).
            extra: said in each row of the history.
            keep: the averaged weights of the best look, or the last step's own, to go on from.

        Returns:
            The best look, or the last.

        Raises:
            Diverged: the loss is no number; the sentence names the step.
        """
        loop = _Loop(self, stage, steps, rate, gate_rate or self.settings.gate_learning_rate, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed * 1009 + seed)
            best, last = loop.run(after, extra or {})
        if keep == "last":
            return last
        self.restore(loop.kept)
        return best

    def validation_loss(self) -> float:
        """Return the pooled log loss of the model as it is."""
        return pooled_log_loss(predict(self.model, self.validate.inputs), self.validate.labels)

    def state(self) -> State:
        """Return a copy of every weight."""
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def restore(self, state: State) -> None:
        """Put weights back that :meth:`state` copied."""
        self.model.load_state_dict(state)


class _Loop:
    """One stage: its optimiser, its average, its best look."""

    def __init__(
        self,
        trainer: Trainer,
        stage: str,
        steps: int,
        rate: Callable[[float], float],
        gate_rate: float,
        seed: int,
    ) -> None:
        self.trainer, self.stage, self.steps, self.rate = trainer, stage, steps, rate
        settings = trainer.settings
        self.batches = batches(len(trainer.train), settings.batch, settings.seed * 1009 + seed)
        self.weights, gates = _weights_and_gates(trainer.model)
        groups = [{"params": self.weights, "lr": settings.learning_rate}]
        if gates:
            groups.append({"params": gates, "lr": gate_rate})
        self.optimiser = torch.optim.Adam(groups, fused=True)
        rows = trainer.aside
        self.aside = None if rows is None else _Aside(trainer, rows, gate_rate, seed)
        self.average = [weight.detach().clone() for weight in self.weights] if settings.ema else []
        self.best: Checked | None = None
        self.kept = trainer.state()
        """The weights of the best look; before the first, those the stage began with."""

    def run(
        self, after: Callable[[int], None] | None, extra: dict[str, Any]
    ) -> tuple[Checked, Checked]:
        """Take every step; return the best look and the last."""
        trainer, epoch = self.trainer, self.trainer.epoch
        started, total = time.perf_counter(), 0.0
        since = 0
        for step in range(1, self.steps + 1):
            loss = self._step(step, next(self.batches))
            total, since = total + loss, since + 1
            if after is not None:
                after(step)
            if trainer.report and (step % PROGRESS_STEPS == 0 or step == self.steps):
                trainer.report(Progress(stage=self.stage, step=step, steps=self.steps, loss=loss))
            if step % epoch == 0 or step == self.steps:
                seconds = time.perf_counter() - started
                last = self._look(step, total / since, seconds, extra)
                started, total, since = time.perf_counter(), 0.0, 0
        return self.best or last, last

    def _step(self, step: int, rows: Tensor) -> float:
        trainer = self.trainer
        trainer.model.train()
        rate = self.rate((step - 1) / self.steps) * trainer.settings.learning_rate
        self.optimiser.param_groups[0]["lr"] = rate
        batch = trainer.train.take(rows.to(trainer.settings.device))
        loss = trainer.model.loss(batch.inputs, batch.labels, trainer.weights)
        value = loss.item()
        if not math.isfinite(value):
            self._diverged(step, value)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        if self.average:
            self._fold(step)
        if self.aside is not None:
            self.aside.step()
        return value

    @torch.no_grad()
    def _fold(self, step: int) -> None:
        """Fold the weights into their average, which trusts them more while it is young."""
        decay = min(self.trainer.settings.ema, step / (step + 10))
        torch._foreach_lerp_(self.average, list(self.weights), 1 - decay)

    def _diverged(self, step: int, value: float) -> None:
        self.trainer.restore(self.kept)
        raise Diverged(
            f"the loss became {value} in batch {step} of {self.steps} of stage '{self.stage}'; the "
            "last good weights are kept: lower training.learning_rate or look for extreme numbers"
        )

    def _look(self, step: int, loss: float, seconds: float, extra: dict[str, Any]) -> Checked:
        """Score the validation days with the average and keep it when it is the best so far."""
        trained = [weight.detach().clone() for weight in self.weights] if self.average else []
        self._put(self.average)
        checked = Checked(
            stage=self.stage,
            step=step,
            steps=self.steps,
            rate=self.optimiser.param_groups[0]["lr"],
            train_loss=loss,
            validation=self.trainer.validation_loss(),
            seconds=round(seconds, 3),
            extra=extra,
        )
        if self.best is None or checked.validation < self.best.validation:
            self.best, self.kept = checked, self.trainer.state()
        self._put(trained)
        self.trainer.history.append(checked)
        log.info("%s step %d/%d validation %.5f", self.stage, step, self.steps, checked.validation)
        return checked

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        for weight, value in zip(self.weights, values, strict=False):
            weight.copy_(value)


class _Aside:
    """The steps, on rows set aside, of the parameters a model learns from them."""

    def __init__(self, trainer: Trainer, rows: Examples, rate: float, seed: int) -> None:
        self.trainer, self.rows = trainer, rows
        settings = trainer.settings
        # A seed of its own: these batches must not follow the order of the others.
        self.batches = batches(len(rows), settings.batch, settings.seed * 1009 + seed + 500)
        self.parameters = trainer.model.held_out()
        self.optimiser = torch.optim.Adam(self.parameters, lr=rate, fused=True)

    def step(self) -> None:
        """Take one step with the other parameters as they now are (first order)."""
        model = self.trainer.model
        batch = self.rows.take(next(self.batches).to(self.trainer.settings.device))
        loss = model.loss(batch.inputs, batch.labels, self.trainer.weights)
        for parameter, found in zip(
            self.parameters, torch.autograd.grad(loss, self.parameters), strict=True
        ):
            parameter.grad = found
        self.optimiser.step()


def _weights_and_gates(model: Model) -> tuple[list[Tensor], list[Tensor]]:
    """Return the trained parameters, the gates' apart.

    Gates that are hard and parameters learned from held-out rows belong to neither.
    """
    gates = list(model.gates.parameters()) if isinstance(model, AutoIFS) else []
    held = {id(one) for one in (*gates, *model.held_out())}
    weights: list[Tensor] = [one for one in model.parameters() if id(one) not in held]
    return weights, [gate for gate in gates if gate.requires_grad]


def linear_decay(done: float) -> float:
    """Return the rate that falls from 1 to 0 over the stage."""
    return 1.0 - done


def constant(_: float) -> float:
    """Return the rate that stays 1."""
    return 1.0
