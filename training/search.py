"""AutoIFS's stages: warm up, search the flows, prune, rewind, retrain, choose.

A table of strengths is searched under a price and boxed into [0, 1], on rows that its flows never
saw (``crossfit``) or beside the weights; removal gates are sigmoids whose temperature rises until
they are hard (the official recipe).
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from features.spec.search import Search
from training.autoifs import AutoIFS
from training.average import State
from training.crossfit import CrossFit
from training.history import Checked
from training.masks import Masks, kept, mean_keep, prune, strengths_of
from training.rows import steps_per_epoch
from training.trainer import Trainer, constant, linear_decay

SHRINKING = 0.75
"""Share of the search after which coefficients are pruned and frozen and weights anneal to rest."""
TRAVEL = 6.0
"""How far Adam may move a coefficient in a search: about twice the largest sensible price.

A step moves a coefficient by at most its learning rate, so with a fixed rate a short search could
never resist the price and would prune everything.
"""
SEARCH_ROWS = 50_000
"""Most rows an epoch of the search sees: a price needs many steps, not every row."""
FINAL_TEMPERATURE = 100.0


@dataclass(kw_only=True)
class Record:
    """What happened, stage by stage, for ``history.json``."""

    stages: list[dict[str, Any]] = field(default_factory=list)

    def say(self, stage: str, **what: Any) -> None:
        """Add one stage."""
        self.stages.append({"stage": stage, **what})

    @property
    def shrink(self) -> float | None:
        """The price that was chosen, when prices were tried."""
        chosen = [one["shrink"] for one in self.stages if one["stage"] == "choose"]
        return chosen[-1] if chosen else None


def search_and_retrain(trainer: Trainer, search: Search, epochs: int, record: Record) -> Checked:
    """Run the whole of AutoIFS and leave the retrained model in ``trainer``.

    Args:
        trainer: holds a fresh :class:`AutoIFS`.
        search: how flows are searched.
        epochs: of the retraining.
        record: told each stage.

    Returns:
        The look at validation whose weights the model holds.
    """
    model = autoifs_of(trainer)
    record.say("initial", keep=mean_keep(model, trainer.train.inputs))
    warm = _warm_up(trainer, search, record)
    if search.recipe == "crossfit":
        candidates = _crossfit(trainer, search, warm, record)
        return _retrain_best(trainer, candidates, warm, epochs, record)
    if model.coefficients is not None:
        _boxed(trainer, search, warm, record)
    else:
        _official(trainer, search, record)
    _rewind(trainer, warm, record)
    return retrain(trainer, epochs, record)


def freeze_and_retrain(
    trainer: Trainer, search: Search, masks: Masks, epochs: int, record: Record
) -> Checked:
    """Train with masks that an earlier night found; nothing is searched.

    The weights get the same warm-up as on a night that searches, so that no night's model is worse
    for having trained less.
    """
    _freeze(trainer, masks, record)
    _warm_up(trainer, search, record)
    return retrain(trainer, epochs, record)


def _freeze(trainer: Trainer, masks: Masks, record: Record) -> None:
    model = autoifs_of(trainer)
    strength = strengths_of(model).strength
    if masks.strength is None:
        raise ValueError("masks that a net decides row by row can't be frozen")
    with torch.no_grad():
        strength.copy_(torch.tensor(masks.strength))
    record.say("freeze", kept=kept(strength, model.architecture.cells))


def go_on(trainer: Trainer, masks: Masks | None, epochs: int, record: Record) -> Checked:
    """Train weights that an earlier night left some more, with its masks if it had any."""
    if masks is not None:
        _freeze(trainer, masks, record)
        return retrain(trainer, epochs, record)
    return _train(trainer, "go on", epochs, record)


def train_without_flows(trainer: Trainer, search: Search, epochs: int, record: Record) -> Checked:
    """Train a model that has no flows for as many steps as AutoIFS's weights get."""
    _warm_up(trainer, search, record)
    return _train(trainer, "train", epochs, record)


def _train(trainer: Trainer, stage: str, epochs: int, record: Record) -> Checked:
    """Train while the rate falls to 0; the best epoch by validation is kept."""
    best = trainer.run(stage, epochs * trainer.epoch, linear_decay, seed=3)
    record.say(stage, epochs=epochs, best_step=best.step, validation=best.validation)
    return best


def retrain(trainer: Trainer, epochs: int, record: Record, shrink: float | None = None) -> Checked:
    """Train the weights with the flows held still; the best epoch by validation is kept.

    Args:
        trainer: holds the model.
        epochs: how long.
        record: told of it.
        shrink: the price of the flows, when several are retrained.
    """
    autoifs_of(trainer).harden()
    stage = "retrain" if shrink is None else f"retrain {shrink:g}"
    best = trainer.run(stage, epochs * trainer.epoch, linear_decay, seed=3)
    record.say(
        stage,
        epochs=epochs,
        best_step=best.step,
        validation=best.validation,
        keep=mean_keep(autoifs_of(trainer), trainer.train.inputs),
    )
    return best


def autoifs_of(trainer: Trainer) -> AutoIFS:
    """Return the trainer's model.

    Raises:
        TypeError: it is another, without flows.
    """
    if not isinstance(trainer.model, AutoIFS):
        raise TypeError("only AutoIFS has flows to search")
    return trainer.model


def _warm_up(trainer: Trainer, search: Search, record: Record) -> State:
    """Train with the flows as they are up to the point that retraining rewinds to."""
    model = trainer.model
    steps = round(search.rewind * search.epochs * _epoch(trainer))
    if isinstance(model, AutoIFS):
        # Removal gates learn from the start, as in the official recipe; coefficients hold still.
        model.soften() if model.removal is not None else model.harden()
    if steps:
        looked = trainer.run("warm-up", steps, constant, seed=1, keep="last")
        record.say("warm-up", steps=steps, validation=looked.validation)
    return trainer.state()


def _crossfit(
    trainer: Trainer, search: Search, warm: State, record: Record
) -> list[tuple[float, Tensor]]:
    """Return each price with the strengths [K, M, 4] found at it; price 0 keeps every flow whole.

    The strengths of all folds learn from rows that the fold's weights never saw, under a price, and
    are brought to the scale of the largest after each step.
    """
    model = autoifs_of(trainer)
    steps = sum(_steps(trainer, search))
    found: list[tuple[float, Tensor]] = []
    for shrink in dict.fromkeys(search.shrink):
        trainer.restore(warm)
        if shrink:
            _fit_across(trainer, steps, shrink)
            record.say(f"prune {shrink:g}", **prune(model, trainer.train.inputs, search.floor))
        found.append((shrink, strengths_of(model).strength.detach().clone()))
    return found


def _fit_across(trainer: Trainer, steps: int, shrink: float) -> None:
    """Learn the model's strengths at one price; its weights are left as those of the first fold."""
    model = autoifs_of(trainer)
    model.soften()
    folds = CrossFit(model)

    def after(_: int) -> None:
        folds.strengths.shrink(shrink / steps)
        if model.architecture.form == "additive":
            folds.balance()

    trainer.hold(folds)
    trainer.run(
        f"search {shrink:g}",
        steps,
        constant,
        gate_rate=TRAVEL / steps,
        seed=2,
        after=after,
        extra={"shrink": shrink},
        keep="last",
    )
    trainer.hold(model)


def _retrain_best(
    trainer: Trainer,
    candidates: list[tuple[float, Tensor]],
    warm: State,
    epochs: int,
    record: Record,
) -> Checked:
    """Retrain with each candidate's strengths and keep the model that validates best."""
    model = autoifs_of(trainer)
    tried: list[tuple[Checked, float, State]] = []
    for shrink, strength in candidates:
        trainer.restore(warm)
        with torch.no_grad():
            strengths_of(model).strength.copy_(strength)
        best = retrain(trainer, epochs, record, shrink if len(candidates) > 1 else None)
        tried.append((best, shrink, trainer.state()))
    best, shrink, state = min(tried, key=lambda one: one[0].validation)
    trainer.restore(state)
    record.say(
        "choose",
        shrink=shrink,
        candidates=[{"shrink": price, "validation": one.validation} for one, price, _ in tried],
        kept=kept(strengths_of(model).strength, model.architecture.cells),
    )
    return best


def _boxed(trainer: Trainer, search: Search, warm: State, record: Record) -> None:
    """Search with each price from the same warm weights; leave the best one's coefficients."""
    model = autoifs_of(trainer)
    tried: list[tuple[float, float, Tensor]] = []
    for shrink in dict.fromkeys(search.shrink):
        trainer.restore(warm)
        validation = _candidate(trainer, search, shrink, record)
        tried.append((validation, shrink, strengths_of(model).strength.detach().clone()))
    best = min(tried, key=lambda one: one[0])
    with torch.no_grad():
        found = best[2].ceil() if search.recipe == "masks" else best[2]
        strengths_of(model).strength.copy_(found)
    record.say(
        "choose",
        shrink=best[1],
        candidates=[{"shrink": shrink, "validation": loss} for loss, shrink, _ in tried],
        kept=kept(best[2], model.architecture.cells),
    )


def _candidate(trainer: Trainer, search: Search, shrink: float, record: Record) -> float:
    """Search at one price and return the validation log loss it ends with.

    Shrink 0 has no freedom either: coefficients without a price only learn noise, so it is the
    network with every flow kept.
    """
    model = autoifs_of(trainer)
    priced, annealed = _steps(trainer, search)
    said = {"shrink": shrink}
    if shrink == 0:
        model.harden()
        trainer.run(f"search {shrink:g}", priced, constant, seed=2, extra=said, keep="last")
    else:
        model.soften()
        trainer.run(
            f"search {shrink:g}",
            priced,
            constant,
            gate_rate=TRAVEL / priced,
            seed=2,
            after=lambda _: strengths_of(model).shrink(shrink / priced),
            extra=said,
            keep="last",
        )
        record.say(f"prune {shrink:g}", **prune(model, trainer.train.inputs, search.floor))
        model.harden()
    return trainer.run(f"anneal {shrink:g}", annealed, linear_decay, seed=4, extra=said).validation


def _epoch(trainer: Trainer) -> int:
    """Return the steps of one epoch of the search."""
    return min(trainer.epoch, steps_per_epoch(SEARCH_ROWS, trainer.settings.batch))


def _steps(trainer: Trainer, search: Search) -> tuple[int, int]:
    """Return the steps under a price and the steps of annealing after the warm-up."""
    whole = search.epochs * _epoch(trainer)
    rest = max(2, round((1 - search.rewind) * whole))
    annealed = max(1, min(round((1 - SHRINKING) * whole), rest // 2))
    return rest - annealed, annealed


def _official(trainer: Trainer, search: Search, record: Record) -> None:
    """Train gates and weights together while the temperature rises to its end."""
    model = autoifs_of(trainer)
    gates = model.removal
    if gates is None:
        raise TypeError("these gates have no temperature")
    steps = sum(_steps(trainer, search))

    def heat(step: int) -> None:
        gates.temperature = FINAL_TEMPERATURE ** (step / steps)

    model.soften()
    looked = trainer.run("search", steps, constant, seed=2, after=heat, keep="last")
    gates.hard = True
    keep = mean_keep(model, trainer.train.inputs)
    record.say("search", temperature=gates.temperature, validation=looked.validation, keep=keep)


def _rewind(trainer: Trainer, warm: State, record: Record) -> None:
    """Put the weights of the warm-up back and leave the gates as the search made them."""
    model = autoifs_of(trainer)
    found = {name: value.clone() for name, value in model.gates.state_dict().items()}
    trainer.restore(warm)
    model.gates.load_state_dict(found)
    record.say("rewind", to="the weights after the warm-up", validation=trainer.validation_loss())
