"""Training that reads like the algorithm: stages of steps, the best look at validation kept."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import torch

from training.average import State
from training.checkpoint import Checkpoints, Everything, Saved
from training.history import Checked, Progress
from training.model import Model
from training.objective import Objective
from training.ranks import ALONE, Ranks
from training.rows import Examples, Held, Rows, steps_per_epoch
from training.scores import log_loss_sums, mean_log_loss, predict
from training.settings import Settings
from training.sharded import is_sharded, parted, shard
from training.stage import Stage


class Trainer:
    """Trains one model on one split, stage by stage."""

    def __init__(
        self,
        model: Model,
        train: Examples | Rows,
        validate: Examples | Rows,
        settings: Settings,
        report: Callable[[Progress], None] | None = None,
        *,
        ranks: Ranks = ALONE,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        """Move everything to the device; nothing is trained yet.

        Args:
            model: with the weights to start from.
            train: rows to learn from.
            validate: rows that choose the epoch.
            settings: how.
            report: told of progress.
            ranks: the processes that train it together.
            checkpoints: where to go on from; without, a training that is stopped is lost.
        """
        if settings.embeddings.sharded and not ranks.alone:
            shard(model, ranks)
        self.model = model.to(settings.device)
        self.settings, self.report = settings, report
        self.ranks, self.checkpoints = ranks, checkpoints
        if checkpoints is not None and settings.embeddings.sharded:
            checkpoints.parted = partial(parted, model=model)
        self.train, self.validate = self._rows(train), self._rows(validate)
        self.aside: Rows | None = None
        if model.held_out():
            self.train, self.aside = self.train.set_aside(settings.seed)
        self.history: list[Checked] = []
        self.epoch = steps_per_epoch(len(self.train), settings.batch)
        tally = self.train.tally(model.architecture.scenarios)
        self.objective = Objective(model, tally, settings)
        self.stages = 0
        """Stages begun."""
        if settings.compile:
            model.compile()

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
        """Train for ``steps``, or take over from a checkpoint what they led to.

        Args:
            stage: its name in the history.
            steps: how many; validation is looked at after every epoch's worth and at the end.
            rate: share of the stage done, [0, 1), to the learning rate as a share of the setting.
            gate_rate: learning rate of the gates; None: the setting's.
            seed: added to the setting's, for the order of rows and for dropout.
            after: called with the step after each update (boxes coefficients); what it changes is
                a parameter or a buffer of the model.
            extra: said in each row of the history.
            keep: the averaged weights of the best look, or the last step's own, to go on from.

        Returns:
            The best look, or the last.

        Raises:
            Diverged: the loss is no number; the sentence names the step.
            Stopped: the process was told to end; a checkpoint holds the step it was at.
        """
        self.stages += 1
        if (done := self._ended()) is not None:
            return done
        running = Stage(
            self,
            stage,
            steps,
            rate,
            gate_rate=gate_rate or self.settings.gate_learning_rate,
            seed=self.settings.seed * 1009 + seed,
        )
        best, last = running.run(after, extra or {})
        if keep == "best":
            self.restore(running.kept)
        looked = best if keep == "best" else last
        self._end(looked)
        return looked

    def _ended(self) -> Checked | None:
        """Take over the end of this stage from a checkpoint, if there is one."""
        saved = self.checkpoints.ended(self.stages) if self.checkpoints else None
        if saved is None:
            return None
        Everything(self.objective).load(saved.tensors)
        self.history = [Checked.from_json(one) for one in saved.said["history"]]
        return Checked.from_json(saved.said["look"])

    def _end(self, looked: Checked) -> None:
        if self.checkpoints is not None:
            history = [one.to_json() for one in self.history]
            said = {"look": looked.to_json(), "history": history}
            self.checkpoints.end(self.stages, Saved(Everything(self.objective).state(), said))

    def validation_loss(self) -> float:
        """Return the pooled log loss of the model as it is, over the rows of all ranks."""
        tasks, device = self.model.architecture.tasks, self.settings.device
        sums = torch.zeros(2, tasks, dtype=torch.float64, device=device)
        for chunk in self._looked_at():
            sums += log_loss_sums(predict(self.model, chunk.inputs), chunk.labels, chunk.weight)
        return mean_log_loss(self.ranks.sum(sums))

    def _looked_at(self) -> Iterator[Examples]:
        """Yield this rank's validation rows; where tables are parted, as often as all ranks do."""
        if not is_sharded(self.model):
            yield from self.validate.chunks()
            return
        parts = (one for chunk in self.validate.chunks() for one in chunk.chunks())
        inputs = self.train.inputs.narrow(0, 0)
        none = Examples(inputs, inputs.numbers.new_zeros(0, self.model.architecture.tasks))
        while True:
            part = next(parts, None)
            more = torch.tensor([float(part is not None)], device=self.settings.device)
            if not self.ranks.sum(more).item():
                return
            yield part or none

    def state(self) -> State:
        """Return a copy of every weight."""
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def hold(self, model: Model) -> None:
        """Go on with another model, on the same rows."""
        self.model = self.objective.model = model.to(self.settings.device)
        if self.settings.compile:
            model.compile()

    def restore(self, state: State) -> None:
        """Put weights back that :meth:`state` copied."""
        self.model.load_state_dict(state)

    def _rows(self, rows: Examples | Rows) -> Rows:
        if isinstance(rows, Examples):
            rows = Held(rows)
        return rows.placed(self.settings.device, self.ranks)


def linear_decay(done: float) -> float:
    """Return the rate that falls from 1 to 0 over the stage."""
    return 1.0 - done


def constant(_: float) -> float:
    """Return the rate that stays 1."""
    return 1.0
