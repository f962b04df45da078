import math

import numpy as np
import pytest
import torch

from features.errors import TrainingError
from training.losses import masked_loss
from training.prepare import Inputs
from training.rows import Examples, batches
from training.scores import pooled_log_loss, predict
from training.settings import choose_device
from training.stage import Diverged
from training.trainer import Trainer, constant, linear_decay
from training.zoo import build


def test_a_missing_label_has_no_loss_and_no_gradient():
    logits = torch.randn(6, 2, requires_grad=True)
    labels = torch.tensor([[1.0, math.nan]] * 6)
    masked_loss(logits, labels, torch.ones(2)).backward()
    assert (logits.grad[:, 1] == 0).all()
    assert (logits.grad[:, 0] != 0).all()


def test_the_loss_is_the_weighted_sum_of_known_labels_over_the_batch():
    logits, labels = (
        torch.tensor([[0.5, -1.0], [2.0, 0.0]]),
        torch.tensor([[1, 0.0], [math.nan, 1]]),
    )
    p = 1 / (1 + np.exp(-logits.numpy()))
    wanted = (-np.log(p[0, 0]) + 3 * (-np.log(1 - p[0, 1]) - np.log(p[1, 1]))) / 2
    assert masked_loss(logits, labels, torch.tensor([1.0, 3.0])).item() == pytest.approx(wanted)


def test_a_task_whose_labels_are_rare_weighs_as_much_as_the_others(
    architecture, examples, settings
):
    rows = examples(100)
    rows.labels[10:, 1] = math.nan
    trainer = Trainer(build(architecture(), 1), rows, examples(seed=1), settings())
    assert trainer.objective.weights.tolist() == pytest.approx([0.5, 5.0])


def test_pooled_log_loss_is_the_mean_over_tasks_that_have_labels():
    logits = torch.zeros(4, 3)
    labels = torch.tensor([[1, 0.0, math.nan]] * 3 + [[math.nan, 1, math.nan]])
    assert pooled_log_loss(logits, labels) == pytest.approx(math.log(2))


def test_an_epoch_holds_every_row_once_in_near_equal_batches():
    run = batches(1000, 64, seed=3)
    first = [next(run) for _ in range(16)]
    assert sorted(torch.cat(first).tolist()) == list(range(1000))
    assert {len(batch) for batch in first} == {62, 63}
    assert not torch.equal(next(run), first[0])


@pytest.mark.parametrize("kind", ["autoifs", "shared_bottom"])
def test_the_same_seed_trains_the_same_weights_to_the_bit(architecture, examples, settings, kind):
    def train(seed: int) -> dict[str, torch.Tensor]:
        a = architecture(kind=kind, dropout=0.2)
        trainer = Trainer(build(a, seed), examples(), examples(seed=1), settings(seed=seed))
        trainer.run("train", 25, linear_decay)
        return trainer.state()

    first = train(1)
    torch.rand(7)  # whoever draws in between changes nothing
    second, other = train(1), train(2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("kind", ["autoifs", "shared_bottom"])
def test_training_learns_what_can_be_learned(architecture, examples, settings, kind):
    trainer = Trainer(
        build(architecture(kind=kind), 1), examples(2000), examples(500, seed=1), settings()
    )
    before = trainer.validation_loss()
    best = trainer.run("train", 6 * trainer.epoch, linear_decay)
    assert best.validation < 0.9 * before
    assert trainer.validation_loss() == pytest.approx(best.validation, abs=1e-9)


def test_the_best_look_at_validation_is_kept_and_not_the_last(architecture, examples, settings):
    rows = examples(64)
    rows.labels[:] = torch.rand(64, 2, generator=torch.Generator().manual_seed(0)).round()
    trainer = Trainer(build(architecture(), 1), rows, examples(200, seed=1), settings(batch=8))
    best = trainer.run("train", 20 * trainer.epoch, constant)
    looks = [one.validation for one in trainer.history]
    assert best.validation == min(looks) < looks[-1]
    assert trainer.validation_loss() == pytest.approx(min(looks), abs=1e-9)


def test_a_scenario_without_rows_in_a_batch_is_no_trouble(architecture, examples, settings):
    rows = examples(128)
    only = Examples(rows.inputs.take(torch.arange(128)[rows.inputs.scenario == 0]), rows.labels)
    only = Examples(only.inputs, rows.labels[rows.inputs.scenario == 0])
    trainer = Trainer(build(architecture(), 1), only, examples(seed=1), settings())
    assert math.isfinite(trainer.run("train", 6, linear_decay).validation)


def test_an_absent_number_or_category_is_no_trouble(architecture, settings):
    a = architecture(2, 1, sizes=(), dims=(), bags=0, numbers=2)
    inputs = Inputs(
        torch.tensor([0, 1] * 20), torch.zeros(40, 0, dtype=torch.int32), torch.randn(40, 2)
    )
    rows = Examples(inputs, torch.ones(40, 1))
    trainer = Trainer(build(a, 1), rows, rows, settings(1, batch=8))
    assert math.isfinite(trainer.run("train", 3, constant).validation)


def test_a_loss_that_is_no_number_names_the_batch_and_leaves_the_last_good_weights(
    architecture, examples, settings
):
    rows = examples(256)
    trainer = Trainer(build(architecture(), 1), rows, examples(seed=1), settings())
    trainer.run("first", 4, linear_decay)
    good = trainer.state()

    def poison(step: int) -> None:
        if step == 2:
            with torch.no_grad():
                trainer.model.trunk[0].weight.fill_(math.nan)

    with pytest.raises(Diverged, match="nan in batch 3 of 9 of stage 'second'"):
        trainer.run("second", 9, linear_decay, after=poison)
    assert all(torch.equal(good[name], value) for name, value in trainer.state().items())


def test_the_feature_that_stands_out_is_named_when_a_loss_is_no_number(
    architecture, examples, settings, layout
):
    def said(break_it) -> str:
        rows, model = examples(256), build(architecture(), 1)
        break_it(rows, model)
        trainer = Trainer(model, rows, rows, settings())
        with pytest.raises(Diverged) as caught:
            trainer.run("first", 9, constant)
        return caught.value.suspect.sentence(layout)

    def number(rows: Examples, _) -> None:
        rows.inputs.numbers[:, 1] = math.nan

    def token(rows: Examples, model) -> None:
        rows.inputs.index[::2, 1] = 3
        with torch.no_grad():
            model.embeddings.vectors(1)[3] = math.nan

    def extreme(rows: Examples, model) -> None:
        rows.inputs.numbers[::2, 2] = 5.0
        with torch.no_grad():
            model.trunk[0].bias.fill_(math.inf)

    assert said(number) == "look first at feature 'age', whose values are no numbers"
    assert said(token).startswith("look first at feature 'place', whose vectors are no numbers")
    assert "feature 'rate', 5" in said(extreme) and "deviations off" in said(extreme)


def test_progress_is_told(architecture, examples, settings):
    told = []
    trainer = Trainer(
        build(architecture(), 1), examples(), examples(seed=1), settings(), told.append
    )
    trainer.run("train", 45, linear_decay)
    assert [(one.stage, one.step, one.steps) for one in told] == [
        ("train", 20, 45),
        ("train", 40, 45),
        ("train", 45, 45),
    ]


def test_asking_for_a_gpu_that_is_not_there_is_one_clear_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(TrainingError, match="no usable CUDA device; set it to auto or cpu"):
        choose_device("cuda")


def test_predictions_are_made_without_dropout(architecture, inputs):
    model = build(architecture(dropout=0.5), 1).train()
    assert torch.equal(predict(model, inputs()), predict(model, inputs()))


@pytest.mark.parametrize("kind", ["autoifs", "shared_bottom"])
def test_half_precision_trains_to_nearly_the_same(architecture, examples, settings, kind):
    looks = {}
    for precision in ("float32", "bfloat16"):
        trainer = Trainer(
            build(architecture(kind=kind), 1),
            examples(1000),
            examples(300, seed=1),
            settings(precision=precision),
        )
        looks[precision] = trainer.run("train", 4 * trainer.epoch, linear_decay)
        weights = trainer.state().values()
        assert all(one.dtype == torch.float32 for one in weights if one.is_floating_point())
    full, half = looks["float32"], looks["bfloat16"]
    assert half.validation == pytest.approx(full.validation, rel=0.01)
    assert half.train_loss != full.train_loss, "products were really made in half precision"
