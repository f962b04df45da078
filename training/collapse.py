"""From gates that decide row by row to one mask a cell, if little is lost.

Gates of a net must be computed for every sample that is scored and can't be frozen for the next
night; a mask a cell folds into plain layers (``folded.py``).
"""

from dataclasses import replace

import torch
from torch import Tensor

from training.autoifs import AutoIFS
from training.history import Checked
from training.masks import flowing, keep_one
from training.prepare import Inputs
from training.search import Record, autoifs_of
from training.trainer import Trainer, linear_decay

RATE = 0.3
"""Share of the learning rate that the weights settle with."""
EPOCHS = 1
"""Of settling: the weights are trained already, for masks that are nearly these."""


def collapse(trainer: Trainer, tolerance: float, before: Checked, record: Record) -> Checked:
    """Give every cell the mask that most of its rows have, and let the weights settle.

    The record says which share of (row, task, flow) had that mask before (``agreement``), and the
    validation log loss before, with the new masks, and after settling.

    Args:
        trainer: holds a trained model with hard gates of a net, and afterwards one with a table.
        tolerance: of the validation log loss; the old model stays when more would be lost.
        before: the look at validation whose weights the model holds.
        record: told what was found.

    Returns:
        The look at validation whose weights the trainer's model now holds.
    """
    model = autoifs_of(trainer)
    strength, agreement = vote(model, trainer.train.inputs)
    trainer.hold(with_table(model, strength))
    voted, state = trainer.validation_loss(), trainer.state()
    best = trainer.run(
        "settle", EPOCHS * trainer.epoch, lambda done: RATE * linear_decay(done), seed=5
    )
    if best.validation > voted:
        trainer.restore(state)
        best = replace(best, step=0, validation=voted)
    accepted = best.validation - before.validation <= tolerance
    record.say(
        "collapse",
        agreement=round(agreement, 4),
        validation={"rows": before.validation, "voted": voted, "settled": best.validation},
        tolerance=tolerance,
        accepted=accepted,
    )
    if accepted:
        return best
    trainer.hold(model)
    return before


def vote(model: AutoIFS, inputs: Inputs) -> tuple[Tensor, float]:
    """Return the mask [K, M, 4] of most rows of each cell, and the share of keeps that have it.

    A cell without a row keeps every flow, and no cell loses all.
    """
    said = flowing(model, inputs)
    means = [said.keep[said.scenario == k].mean(0) for k in range(model.architecture.scenarios)]
    mean = torch.stack(means).nan_to_num(nan=1.0)
    strength = (mean >= 0.5).to(mean.dtype)
    keep_one(strength, mean)
    exists = torch.tensor(model.architecture.cells, device=mean.device)[said.scenario]
    agreed = ((said.keep > 0.5) == (strength[said.scenario] > 0))[exists]
    return strength, float(agreed.float().mean())


def with_table(model: AutoIFS, strength: Tensor) -> AutoIFS:
    """Return the same network with the strengths [K, M, 4] in place of its gates."""
    found = AutoIFS(replace(model.architecture, gates="strength", context=()))
    own = {name: one for name, one in model.state_dict().items() if not name.startswith("gates.")}
    found.load_state_dict({**own, "gates.strength": strength})
    found.harden()
    return found
