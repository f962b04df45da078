"""Masks of a net become one mask a cell when little is lost."""

import pytest
import torch

from features.spec.search import Search
from training.collapse import collapse, vote, with_table
from training.scores import predict
from training.search import Record, search_and_retrain
from training.trainer import Trainer
from training.zoo import build


@pytest.fixture
def searched(architecture, examples, settings):
    """Return a function that trains a net of gates; also the last look and the record."""

    def make(**changed):
        model = build(architecture(**{"gates": "instance", **changed}), 1)
        trainer = Trainer(model, examples(), examples(seed=1), settings())
        record = Record()
        best = search_and_retrain(trainer, Search(gates="instance", epochs=2), 1, record)
        return trainer, best, record

    return make


@pytest.mark.parametrize("form", ["additive", "official"])
def test_a_net_that_says_the_same_of_all_rows_collapses_without_loss(searched, form):
    trainer, _, _ = searched(form=form)
    model = trainer.model
    with torch.no_grad():
        model.gates.net[2].weight.zero_()
        model.gates.net[2].bias.copy_(torch.tensor([-1.0, 1, -1, 1, 1, -1, 1, 1]))
    strength, agreement = vote(model, trainer.train.inputs)
    assert agreement == 1.0
    assert strength[0].tolist() == [[1, 0, 1, 0], [0, 1, 0, 0]]
    rows = trainer.validate.inputs
    assert torch.allclose(predict(model, rows), predict(with_table(model, strength), rows))


def test_the_mask_is_that_of_most_rows_and_no_cell_loses_all(searched):
    trainer, _, _ = searched()
    gates = trainer.model.gates
    with torch.no_grad():
        for layer in (gates.net[0], gates.net[2]):
            layer.weight.zero_()
            layer.bias.zero_()
        number = trainer.model.architecture.width - 3
        gates.net[0].weight[0, number] = 1.0  # relu of the first number: above 0 in half the rows
        gates.net[2].weight[0, 0] = 1.0
        gates.net[2].bias[0] = -0.1
        gates.net[2].bias[4:] = 1.0
    strength, agreement = vote(trainer.model, trainer.train.inputs)
    removed = (trainer.train.inputs.numbers[:, 0] > 0.1).float().mean()
    assert (strength[:, 0] == 1).all(), "less than half of the rows remove it"
    assert (strength[:, 1] > 0).sum(1).tolist() == [1, 1, 1]
    assert agreement == pytest.approx(1 - (float(removed) + 1) / 8, abs=1e-4)


def test_what_is_lost_is_recorded_and_too_much_keeps_the_net(searched):
    trainer, best, record = searched()
    before = trainer.model
    after = collapse(trainer, 10.0, best, record)
    said = record.stages[-1]
    assert said["stage"] == "collapse" and said["accepted"]
    assert said["validation"]["rows"] == best.validation
    assert said["validation"]["settled"] == after.validation == trainer.validation_loss()
    assert said["validation"]["settled"] <= said["validation"]["voted"]
    assert trainer.model.architecture.gates == "strength"
    trainer.hold(before)
    assert collapse(trainer, -10.0, best, record) == best
    assert trainer.model is before and not record.stages[-1]["accepted"]
