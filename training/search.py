"""AutoIFS's stages: warm up, search the flows, prune, anneal, choose, rewind, retrain.

A table of strengths is searched under a price and boxed into [0, 1]; removal gates are sigmoids
whose temperature rises until they are hard (the official recipe).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from features.spec.layout import FLOWS
from features.spec.search import Search
from training.autoifs import AutoIFS
from training.average import State
from training.gates import Coefficients
from training.history import Checked
from training.prepare import Inputs
from training.rows import steps_per_epoch
from training.trainer import Trainer, constant, linear_decay

SHRINKING = 0.75
"""Share of the search after which coefficients are pruned and frozen and weights anneal to rest."""
TRAVEL = 6.0
"""How far Adam may move a coefficient in a search: about twice the largest sensible price.

A step moves a coefficient by at most its learning rate, so with a fixed rate a short search could
never resist the price and would prune everything.
"""
PRUNE_ROWS = 20_000
"""Training rows on which a flow's share of the logit's spread is measured."""
SEARCH_ROWS = 50_000
"""Most rows an epoch of the search sees: a price needs many steps, not every row."""
FEWEST = 30
"""Rows of a scenario below which the spread of its flows says nothing."""
FINAL_TEMPERATURE = 100.0


@dataclass(frozen=True, kw_only=True)
class Masks:
    """What a search decided."""

    strength: list[list[list[float]]] | None
    """[K][M][4], 0 for a pruned flow; None for instance gates, which decide row by row."""
    shrink: float | None
    """The price it was found with; None for the official recipe."""


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
    model = _autoifs(trainer)
    record.say("initial", keep=mean_keep(model, trainer.train.inputs))
    warm = _warm_up(trainer, search, record)
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
    model = _autoifs(trainer)
    coefficients = model.coefficients
    if coefficients is None or masks.strength is None:
        raise ValueError("only table coefficients can be frozen from an earlier night")
    with torch.no_grad():
        coefficients.strength.copy_(torch.tensor(masks.strength))
    record.say("freeze", kept=_kept(coefficients.strength, model))
    _warm_up(trainer, search, record)
    return retrain(trainer, epochs, record)


def train_without_flows(trainer: Trainer, search: Search, epochs: int, record: Record) -> Checked:
    """Train a model that has no flows for as many steps as AutoIFS's weights get."""
    _warm_up(trainer, search, record)
    best = trainer.run("train", epochs * trainer.epoch, linear_decay, seed=3)
    record.say("train", epochs=epochs, best_step=best.step, validation=best.validation)
    return best


def retrain(trainer: Trainer, epochs: int, record: Record) -> Checked:
    """Train the weights with the flows held still; the best epoch by validation is kept."""
    _autoifs(trainer).harden()
    best = trainer.run("retrain", epochs * trainer.epoch, linear_decay, seed=3)
    record.say(
        "retrain",
        epochs=epochs,
        best_step=best.step,
        validation=best.validation,
        keep=mean_keep(_autoifs(trainer), trainer.train.inputs),
    )
    return best


def masks_of(model: AutoIFS, shrink: float | None = None) -> Masks:
    """Return the model's masks: strengths of a table, or None for instance gates."""
    table = model.table()
    return Masks(strength=None if table is None else table.tolist(), shrink=shrink)


def flips(before: Masks, after: Masks, cells: Sequence[Sequence[bool]]) -> int | None:
    """Return how many flows of existing cells were kept before and not after, or the reverse."""
    if before.strength is None or after.strength is None:
        return None
    old, new = torch.tensor(before.strength), torch.tensor(after.strength)
    if old.shape != new.shape:
        return None
    return int((((old > 0) != (new > 0)) & torch.tensor(cells)[:, :, None]).sum())


@torch.inference_mode()
def mean_keep(model: AutoIFS, inputs: Inputs) -> list[list[list[float] | None]]:
    """Return the mean kept strength [K][M][4] over rows; None without a row or cell."""
    _, keep, scenario = _spread(model, inputs)
    found: list[list[list[float] | None]] = []
    for k, row in enumerate(model.architecture.cells):
        mine = keep[scenario == k]
        found.append(
            [
                mine[:, m].mean(0).tolist() if exists and len(mine) else None
                for m, exists in enumerate(row)
            ]
        )
    return found


def _autoifs(trainer: Trainer) -> AutoIFS:
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


def _boxed(trainer: Trainer, search: Search, warm: State, record: Record) -> None:
    """Search with each price from the same warm weights; leave the best one's coefficients."""
    model = _autoifs(trainer)
    tried: list[tuple[float, float, Tensor]] = []
    for shrink in dict.fromkeys(search.shrink):
        trainer.restore(warm)
        validation = _candidate(trainer, search, shrink, record)
        tried.append((validation, shrink, _coefficients(model).strength.detach().clone()))
    best = min(tried, key=lambda one: one[0])
    with torch.no_grad():
        kept = best[2].ceil() if search.recipe == "masks" else best[2]
        _coefficients(model).strength.copy_(kept)
    record.say(
        "choose",
        shrink=best[1],
        candidates=[{"shrink": shrink, "validation": loss} for loss, shrink, _ in tried],
        kept=_kept(best[2], model),
    )


def _candidate(trainer: Trainer, search: Search, shrink: float, record: Record) -> float:
    """Search at one price and return the validation log loss it ends with.

    Shrink 0 has no freedom either: coefficients without a price only learn noise, so it is the
    network with every flow kept.
    """
    model = _autoifs(trainer)
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
            after=lambda _: _coefficients(model).shrink(shrink / priced),
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


@torch.no_grad()
def prune(model: AutoIFS, inputs: Inputs, floor: float) -> dict[str, Any]:
    """Set to 0 each coefficient whose flow has less than ``floor`` of its cell's logit spread.

    The spread of a flow is the standard deviation of ``a f`` over the cell's rows. The largest flow
    of a cell always stays; a cell with too few rows to judge keeps every flow whole.

    Returns:
        For the record: flows kept and pruned, and the shares [K][M][4].
    """
    strength = _coefficients(model).strength
    flows, keep, scenario = _spread(model, inputs)
    shares = torch.full_like(strength, torch.nan)
    for k in range(model.architecture.scenarios):
        mine = scenario == k
        if int(mine.sum()) < FEWEST:
            strength[k] = 1.0
            continue
        spread = (flows * keep)[mine].std(0)
        shares[k] = spread / spread.sum(1, keepdim=True).clamp(min=1e-12)
        strength[k] = torch.where(shares[k] < floor, 0.0, strength[k])
        _keep_one(strength[k], spread)
    kept = _kept(strength, model)
    return {"kept": kept, "pruned": _cells(model) * len(FLOWS) - kept, "shares": _rounded(shares)}


def _keep_one(strength: Tensor, spread: Tensor) -> None:
    """Give each task [M, 4] that lost every flow its largest one back, whole (in place)."""
    for m in range(len(strength)):
        if not bool((strength[m] > 0).any()):
            strength[m, int(spread[m].argmax())] = 1.0


def _official(trainer: Trainer, search: Search, record: Record) -> None:
    """Train gates and weights together while the temperature rises to its end."""
    model = _autoifs(trainer)
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
    model = _autoifs(trainer)
    found = {name: value.clone() for name, value in model.gates.state_dict().items()}
    trainer.restore(warm)
    model.gates.load_state_dict(found)
    record.say("rewind", to="the weights after the warm-up", validation=trainer.validation_loss())


@torch.inference_mode()
def _spread(model: AutoIFS, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """Return flows, kept strengths and scenarios of rows spread evenly over all of them."""
    model.eval()
    stride = -(-len(inputs) // PRUNE_ROWS)
    held = inputs.take(torch.arange(0, len(inputs), stride, device=inputs.scenario.device))
    parts = [model.parts(chunk)[1:] for chunk in held.chunks()]
    return torch.cat([f for f, _ in parts]), torch.cat([k for _, k in parts]), held.scenario


def _kept(strength: Tensor, model: AutoIFS) -> int:
    cells = torch.tensor(model.architecture.cells, device=strength.device)
    return int(((strength > 0) & cells[:, :, None]).sum())


def _cells(model: AutoIFS) -> int:
    return sum(exists for row in model.architecture.cells for exists in row)


def _rounded(values: Tensor) -> list[list[list[float | None]]]:
    """Return [K][M][4] for JSON, NaN as None."""
    return [
        [[None if math.isnan(one) else round(one, 4) for one in flows] for flows in row]
        for row in values.tolist()
    ]


def _coefficients(model: AutoIFS) -> Coefficients:
    if model.coefficients is None:
        raise TypeError("these gates have no coefficients")
    return model.coefficients
