"""Strengths learn from rows that the weights of their fold never saw."""

from dataclasses import replace

import pytest
import torch

from training.crossfit import CrossFit, fold_of
from training.scores import predict
from training.zoo import build


@pytest.fixture
def fitted(architecture):
    """Return a model with values everywhere, and the same once for each of three folds."""

    def make(**changed):
        model = build(architecture(**changed), 1)
        torch.manual_seed(2)
        with torch.no_grad():
            for one in model.parameters():
                one.add_(0.2 * torch.randn_like(one))
            model.coefficients.strength.uniform_(0.1, 0.6)
        return model, CrossFit(model, folds=3)

    return make


def test_a_rows_fold_depends_on_the_row_alone(inputs):
    rows = inputs(3000)
    fold = fold_of(rows, 4)
    order = torch.randperm(3000)
    assert torch.equal(fold_of(rows.take(order), 4), fold[order])
    wider = torch.cat([rows.index, torch.full((3000, 2), -1, dtype=torch.int32)], 1)
    assert torch.equal(fold_of(replace(rows, index=wider, widths=(5,)), 4), fold)
    assert (torch.bincount(fold) > 650).all() and len(torch.bincount(fold)) == 4
    moved = replace(rows, numbers=rows.numbers + 1e-6)
    assert 0.2 < (fold_of(moved, 4) == fold).float().mean() < 0.3, "as good as drawn anew"


@pytest.mark.parametrize("form", ["additive", "official"])
def test_it_starts_as_the_model_and_holds_its_trunk_and_strengths_once(fitted, inputs, form):
    model, folds = fitted(form=form)
    assert torch.allclose(predict(model, inputs()), predict(folds, inputs()), atol=1e-6)
    names = {name.split(".")[2] for name, _ in folds.named_parameters() if "copies" in name}
    assert not names & {"embeddings", "trunk", "gates"}
    assert len(folds.copies) == 2


def test_a_folds_weights_learn_from_the_others_and_strengths_from_its_own(fitted, inputs):
    model, folds = fitted()
    rows = inputs(300)
    mine = rows.take(torch.where(fold_of(rows, 3) == 0)[0])
    labels = (torch.rand(len(mine), 2) < 0.5).float()
    folds.loss(mine, labels, torch.ones(2)).backward()
    strength = model.coefficients.strength
    assert strength.grad.abs().sum() > 0
    assert model.units.heads.shared.grad.abs().sum() == 0, "the rows are of the model's own fold"
    assert all(one.units.heads.shared.grad.abs().sum() > 0 for one in folds.copies)
    assert model.trunk[0].weight.grad.abs().sum() > 0, "the trunk learns from all rows"

    # The strengths' gradient is that of the model's own loss with its weights held still.
    found, strength.grad = strength.grad.clone(), None
    known = torch.nn.functional.binary_cross_entropy_with_logits(
        model(mine), labels, reduction="sum"
    )
    (known / len(mine)).backward()
    assert torch.allclose(found, strength.grad, atol=1e-6)


def test_each_row_counts_once_for_the_weights(fitted, inputs):
    _, folds = fitted()
    rows = inputs(300)
    labels = torch.ones(300, 2)
    both = folds.loss(rows, labels, torch.ones(2))
    once = torch.nn.functional.binary_cross_entropy_with_logits(
        folds.base(rows), labels, reduction="sum"
    )
    assert torch.allclose(both, 2 * once / 300, rtol=1e-5), "once for weights, once for strengths"


def test_balancing_brings_the_largest_strength_to_one_and_says_the_same(fitted, inputs):
    cells = ((True, True), (True, False), (True, True))
    model, folds = fitted(cells=cells)
    rows = inputs(60)
    rows = rows.take(torch.where(rows.scenario != 1)[0])
    before = predict(folds, rows)
    with torch.no_grad():
        model.coefficients.strength[1, 1] = 5.0  # of a cell that does not exist
    folds.balance()
    assert torch.allclose(predict(folds, rows), before, atol=1e-5)
    assert model.coefficients.strength[torch.tensor(cells)].max().item() == pytest.approx(1.0)
