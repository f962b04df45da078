"""A model with constant masks predicts the same as plain layers."""

import pytest
import torch

from training.folded import Folded, fold
from training.scores import predict
from training.zoo import build

SHAPES = [(1, 1), (2, 5), (3, 2), (20, 3)]
DEEP = [{}, {"scenario": (8, 6), "task": (7, 5), "rank": (2, 3, 1, 2)}]


def masked(architecture, scenarios, tasks, **changed):
    """Return a model with values everywhere and about half of its flows pruned."""
    model = build(architecture(scenarios, tasks, **changed), 1)
    random = torch.Generator().manual_seed(scenarios)
    with torch.no_grad():
        for one in model.parameters():
            one.add_(0.2 * torch.randn(one.shape, generator=random))
        table = torch.rand(scenarios, tasks, 4, generator=random)
        table = torch.where(torch.rand(table.shape, generator=random) < 0.5, 0.0, table)
        if model.coefficients is None:
            model.gates.table.copy_(-table)
        else:
            model.coefficients.strength.copy_(table)
    model.harden()
    return model


@pytest.mark.parametrize("deep", DEEP)
@pytest.mark.parametrize("form", ["additive", "official"])
@pytest.mark.parametrize("gates", ["strength", "table"])
@pytest.mark.parametrize(("scenarios", "tasks"), SHAPES)
def test_a_folded_model_predicts_the_same(
    architecture, inputs, scenarios, tasks, form, gates, deep
):
    model = masked(architecture, scenarios, tasks, form=form, gates=gates, **deep)
    folded, rows = fold(model), inputs(60, scenarios)
    assert isinstance(folded, Folded)
    assert (predict(model, rows).sigmoid() - predict(folded, rows).sigmoid()).abs().max() < 1e-6
    one = rows.take(torch.where(rows.scenario == rows.scenario[0])[0])
    assert (predict(model, one).sigmoid() - predict(folded, one).sigmoid()).abs().max() < 1e-6
    assert predict(folded, rows.narrow(0, 0)).shape == (0, tasks)


def test_parts_that_no_cell_reads_are_not_computed(architecture):
    model = masked(architecture, 3, 2, cells=((True, True), (True, False), (True, True)))
    with torch.no_grad():
        strength = model.coefficients.strength
        strength.fill_(1.0)
        strength[0, :, [1, 3]] = 0.0
        strength[1, 0, [0, 2]] = 0.0
    readers = [len(scenario.readers) for scenario in fold(model).scenarios]
    assert readers == [1, 1, 2], "own part pruned; shared part pruned and its other cell absent"


@pytest.mark.parametrize("changed", [{"gates": "instance"}, {"kind": "shared_bottom"}])
def test_what_has_no_constant_mask_stays_as_it_is(architecture, changed):
    model = build(architecture(**changed), 1)
    assert fold(model) is model
