"""One stage of a training: its steps, its optimisers, its average, its best look at validation."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from features.errors import TrainingError
from training.aside import Aside
from training.average import Average, State
from training.checkpoint import Everything, Saved, Stopped, below, under
from training.history import Checked, Progress
from training.objective import Objective
from training.optimiser import Optimiser, Trained
from training.rows import Batch
from training.suspect import Suspect, suspect

if TYPE_CHECKING:
    from training.trainer import Trainer

log = logging.getLogger(__name__)

PROGRESS_STEPS = 20
APART = 104_729
"""Between the seeds of two ranks, so that each draws its own dropout."""


class Diverged(TrainingError):
    """The loss became NaN or infinite; the model holds its last good weights again."""

    def __init__(self, text: str, suspect: Suspect | None = None) -> None:
        """Say ``text``; ``suspect`` is the feature that stands out in the batch."""
        super().__init__(text)
        self.suspect = suspect


class Part(Protocol):
    """What a checkpoint asks of each thing that changes while a stage runs."""

    def state(self) -> State:
        """Return what :meth:`load` needs to go on from here."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        ...


class Stage:
    """A run of steps under one schedule, by optimisers that begin with it."""

    def __init__(
        self,
        trainer: "Trainer",
        name: str,
        steps: int,
        rate: Callable[[float], float],
        *,
        gate_rate: float,
        seed: int,
    ) -> None:
        """Make ready; :meth:`Trainer.run` says what the arguments are."""
        self.trainer, self.name, self.steps, self.rate, self.seed = trainer, name, steps, rate, seed
        settings, objective = trainer.settings, trainer.objective
        trained = Trained.of(trainer.model, settings)
        self.average = Average(trained.weights, trained.tables, settings.ema, steps)
        self.optimiser = Optimiser(
            trained, objective.own(), settings, gate_rate, self.average.before
        )
        self.loss = self._over_all_ranks(objective)
        self.parts: dict[str, Part] = {
            "weights": Everything(objective),
            "optimiser": self.optimiser,
            "average": self.average,
        }
        self.aside: Aside | None = None
        if trainer.aside is not None:
            self.aside = Aside(objective, trainer.aside, gate_rate, seed, trainer.ranks)
            self.parts["aside"] = self.aside
        self.step, self.total, self.since = 0, 0.0, 0
        self.best: Checked | None = None
        self.kept = trainer.state()
        """The weights of the best look; before the first, those the stage began with."""

    def run(
        self, after: Callable[[int], None] | None, extra: dict[str, Any]
    ) -> tuple[Checked, Checked]:
        """Take the steps that no checkpoint holds; return the best look and the last."""
        trainer, device = self.trainer, self.trainer.settings.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed + APART * trainer.ranks.rank)
            self._go_on()
            batches = trainer.train.batches(trainer.settings.batch, self.seed, self.step)
            started = time.perf_counter()
            while self.step < self.steps:
                self.step += 1
                due, stop = self._step(next(batches))
                if after is not None:
                    after(self.step)
                if self.step % trainer.epoch == 0 or self.step == self.steps:
                    last = self._look(time.perf_counter() - started, extra)
                    started = time.perf_counter()
                if due and self.step < self.steps:
                    self._keep(stop)
        return self.best or last, last

    def _step(self, batch: Batch) -> tuple[bool, bool]:
        """Move the weights; return whether a checkpoint is due, and whether to stop after it."""
        self.trainer.model.train()
        self.optimiser.set_rate(self.rate((self.step - 1) / self.steps))
        loss: Tensor = self.loss(batch.examples, batch.share)
        value, due, stop = self._agree(loss)
        if not math.isfinite(value):
            self._diverged(value, batch)
        self.optimiser.step(loss, self.trainer.ranks)
        self.average.fold()
        if self.aside is not None:
            self.aside.step()
        self.total, self.since = self.total + value, self.since + 1
        report = self.trainer.report
        if report and (self.step % PROGRESS_STEPS == 0 or self.step == self.steps):
            report(Progress(stage=self.name, step=self.step, steps=self.steps, loss=value))
        return due, stop

    def _agree(self, loss: Tensor) -> tuple[float, bool, bool]:
        """Return the loss of all ranks, and whether one of them wants a checkpoint, or to stop."""
        held, ranks = self.trainer.checkpoints, self.trainer.ranks
        due, stop = (held.due(), held.stop) if held else (False, False)
        if ranks.alone:
            return loss.item(), due, stop
        said = torch.stack(
            [loss.detach().double() / ranks.count, *map(loss.new_tensor, (due, stop))]
        )
        value, dues, stops = ranks.sum(said).tolist()
        return value, dues > 0, stops > 0

    def _over_all_ranks(self, objective: Objective) -> Callable[..., Tensor]:
        """Return ``objective`` with gradients averaged over the ranks; its tables see to theirs."""
        if self.trainer.ranks.alone:
            return objective
        tables = {id(table) for table in self.optimiser.tables}
        names = [name for name, one in objective.named_parameters() if id(one) in tables]
        objective._ddp_params_and_buffers_to_ignore = names  # type: ignore[assignment]
        return DistributedDataParallel(objective, find_unused_parameters=True)

    def _diverged(self, value: float, batch: Batch) -> None:
        found = suspect(self.trainer.model, batch.examples.inputs)
        self.trainer.restore(self.kept)
        raise Diverged(
            f"the loss became {value} in batch {self.step} of {self.steps} of stage "
            f"'{self.name}'; the last good weights are kept: lower training.learning_rate or look "
            "for extreme numbers",
            found,
        )

    def _look(self, seconds: float, extra: dict[str, Any]) -> Checked:
        """Score the validation days with the average and keep it when it is the best so far."""
        self.average.swap()
        checked = Checked(
            stage=self.name,
            step=self.step,
            steps=self.steps,
            rate=self.optimiser.rate,
            train_loss=self.total / self.since,
            validation=self.trainer.validation_loss(),
            seconds=round(seconds, 3),
            extra=extra,
        )
        if self.best is None or checked.validation < self.best.validation:
            self.best, self.kept = checked, self.trainer.state()
        self.average.swap()
        self.total, self.since = 0.0, 0
        self.trainer.history.append(checked)
        log.info(
            "%s step %d/%d validation %.5f", self.name, self.step, self.steps, checked.validation
        )
        return checked

    def _keep(self, stop: bool) -> None:
        """Write a checkpoint of all that the rest of the stage depends on."""
        trainer, tensors = self.trainer, under("kept", self.kept)
        for name, part in self.parts.items():
            tensors |= under(name, part.state())
        random = _random_state(trainer.settings.device)
        for rank, one in enumerate(trainer.ranks.gather(random)):
            tensors[f"random.{rank}"] = one
        said = {
            "step": self.step,
            "total": self.total,
            "since": self.since,
            "best": self.best.to_json() if self.best else None,
            "history": [one.to_json() for one in trainer.history],
        }
        if trainer.checkpoints is not None:
            trainer.checkpoints.keep(trainer.stages, self.step, Saved(tensors, said))
        if stop:
            raise Stopped(
                f"told to end in batch {self.step} of {self.steps} of stage '{self.name}'; "
                "a checkpoint is written and the same command goes on from it"
            )

    def _go_on(self) -> None:
        """Go on from the newest step of this stage that a checkpoint holds, if there is one."""
        trainer = self.trainer
        saved = trainer.checkpoints.under_way(trainer.stages) if trainer.checkpoints else None
        if saved is None:
            return
        said, tensors, device = saved.said, saved.tensors, trainer.settings.device
        for name, part in self.parts.items():
            part.load({key: one.to(device) for key, one in below(name, tensors).items()})
        self.kept = {key: one.to(device) for key, one in below("kept", tensors).items()}
        random = tensors.get(f"random.{trainer.ranks.rank}")
        if random is not None:
            _set_random_state(random, device)
        self.step, self.total, self.since = said["step"], said["total"], said["since"]
        self.best = Checked.from_json(said["best"]) if said["best"] else None
        trainer.history = [Checked.from_json(one) for one in said["history"]]
        log.info("going on from step %d of stage '%s'", self.step, self.name)


def _random_state(device: torch.device) -> Tensor:
    """Return the state of the generators that dropout draws from, on ``device``, as bytes."""
    held = [torch.get_rng_state()]
    if device.type == "cuda":
        held.append(torch.cuda.get_rng_state(device))
    return torch.cat(held).to(device)


def _set_random_state(state: Tensor, device: torch.device) -> None:
    length = len(torch.get_rng_state())
    torch.set_rng_state(state[:length].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[length:].cpu(), device)
