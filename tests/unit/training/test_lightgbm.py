"""Trees as a model of the zoo: what all models hold to, what they read, and their files."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from features.errors import RegistryError, TrainingError
from features.spec.policy import Trees
from training.artifact import Card, load, masks_json, save, verify
from training.lightgbm import MOST, LightGBM, grow, matrix
from training.prepare import NumberStats
from training.rows import Examples
from training.scores import pooled_log_loss, predict
from training.zoo import build

SHAPES = list(itertools.product((1, 2, 3, 20), (1, 2, 3, 5)))
SMALL = Trees(min_data_in_leaf=5, rounds=30, patience=30)


@pytest.fixture
def grown(architecture, examples):
    """Return a model of K scenarios and M tasks, grown on rows with a signal."""

    def make(
        scenarios: int = 3,
        tasks: int = 2,
        *,
        rows: Examples | None = None,
        checks: Examples | None = None,
        trees: Trees = SMALL,
        seed: int = 1,
        **changed,
    ) -> LightGBM:
        model = build(architecture(scenarios, tasks, kind="lightgbm", **changed), 1)
        train = rows or examples(400, scenarios, tasks)
        names = [f"t{m}" for m in range(tasks)]
        validate = checks or examples(150, scenarios, tasks, seed=1)
        grow(model, train, validate, trees, tasks=names, seed=seed)
        return model

    return make


@pytest.mark.parametrize(("scenarios", "tasks"), SHAPES)
def test_any_number_of_scenarios_and_tasks_is_learned(grown, examples, scenarios, tasks):
    rows = examples(400, scenarios, tasks)
    rows.labels[torch.rand(rows.labels.shape, generator=torch.Generator().manual_seed(0)) < 0.3] = (
        math.nan
    )
    model = grown(scenarios, tasks, rows=rows)
    new = examples(300, scenarios, tasks, seed=2)
    logits = predict(model, new.inputs)
    assert logits.shape == (300, tasks) and logits.isfinite().all()
    assert pooled_log_loss(logits, new.labels) < 0.6 < pooled_log_loss(0 * logits, new.labels)


def test_a_rows_score_does_not_depend_on_the_rows_beside_it(grown, inputs):
    model, rows = grown(), inputs(24)
    together = predict(model, rows)
    alone = torch.cat([predict(model, rows.narrow(i, 1)) for i in range(24)])
    halves = torch.cat([predict(model, rows.narrow(i, 12)) for i in (0, 12)])
    assert torch.equal(together, alone) and torch.equal(together, halves)
    assert together.std() > 0.1
    assert predict(model, inputs(0)).shape == (0, 2)


def test_a_scenario_without_rows_missing_labels_and_one_class_are_no_trouble(grown, inputs):
    rows = replace(inputs(64), scenario=torch.ones(64, dtype=torch.int64))
    labels = torch.ones(64, 2)
    labels[::2, 1] = math.nan
    one_class = Examples(rows, labels)
    model = grown(rows=one_class, checks=one_class)
    assert (predict(model, inputs(30)) > 3).all(), "what was always so is foretold with confidence"


def test_a_task_without_validation_labels_stops_on_some_of_its_training_rows(grown, examples):
    checks = examples(150, seed=1)
    checks.labels[:, 1] = math.nan
    new = examples(300, seed=2)
    logits = predict(grown(checks=checks), new.inputs)
    assert pooled_log_loss(logits[:, 1:], new.labels[:, 1:]) < 0.6


def test_a_task_without_any_label_is_one_clear_sentence(grown, examples):
    rows = examples(400)
    rows.labels[:, 1] = math.nan
    with pytest.raises(TrainingError, match="task 't1' has no label on the training days"):
        grown(rows=rows)


def test_a_tiny_set_is_learned_by_heart(grown, inputs):
    draw = torch.rand(48, 2, generator=torch.Generator().manual_seed(4))
    every = Examples(inputs(48), (draw < 0.5).float())
    trees = Trees(
        num_leaves=8, min_data_in_leaf=1, learning_rate=0.3, lambda_l2=0, feature_fraction=1
    )
    scores = predict(grown(rows=every, checks=every, trees=trees), every.inputs)
    for m in range(2):
        positive, negative = (scores[every.labels[:, m] == y, m] for y in (1, 0))
        assert (positive[:, None] > negative).float().mean() > 0.99


def test_the_same_seed_grows_the_same_trees_and_another_seed_others(grown, inputs):
    first, again, other = (predict(grown(seed=seed), inputs(200)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_growth_stops_when_validation_no_longer_gains(grown, examples):
    patient = grown(trees=Trees(min_data_in_leaf=5, rounds=400, patience=5))
    assert 5 < patient.forests[0].num_trees() < 200
    noise = examples(150, seed=1)
    noise = replace(noise, labels=noise.labels.flip(0))
    assert grown(checks=noise, trees=SMALL).size() < grown(trees=SMALL).size() / 2


def test_trees_see_missing_numbers_short_columns_and_each_token_of_a_bag(architecture, inputs):
    a, rows = architecture(kind="lightgbm"), inputs(20)
    rows.numbers[3, 1] = math.nan
    seen = matrix(rows, a)
    assert seen.shape == (20, 1 + 2 + 6 + 3) and np.isnan(seen[3, -2])
    assert (seen[:, 0] == rows.scenario.numpy()).all()
    assert (seen[:, 1:3] == rows.index[:, :2].numpy()).all()
    for row, bag in zip(seen[:, 3:9], rows.index[:, 2:].tolist(), strict=True):
        assert set(np.flatnonzero(row)) == {token for token in bag if token >= 0}
    long = architecture(kind="lightgbm", sizes=(MOST + 1, 5, MOST + 1))
    assert matrix(rows, long).shape == (20, 1 + 1 + 3), "long columns are left to their rates"


def test_a_number_that_is_missing_is_not_taken_for_the_mean(grown, examples):
    rows = examples(600)
    gone = torch.rand(600, generator=torch.Generator().manual_seed(1)) < 0.5
    rows.inputs.numbers[gone, 0] = math.nan
    labels = gone[:, None].float().expand(-1, 2).clone()
    model = grown(rows=Examples(rows.inputs, labels), checks=Examples(rows.inputs, labels))
    two = rows.inputs.take(torch.arange(2))
    two.numbers[:, 0] = torch.tensor([math.nan, 0.0])
    said = predict(model, two)[:, 0]
    assert said[0] > 0.5 and said[1] < -0.5


@pytest.fixture
def saved(grown, dataset, layout, tmp_path):
    """A saved model, and rows whose numbers are partly missing."""
    rows, model = dataset(60), grown()
    rows.numbers[::7, 0] = np.nan
    card = Card(
        architecture=model.architecture,
        layout=layout,
        stats=NumberStats.untouched(),
        vocabulary_version=7,
        spec_hash="abc",
    )
    masks = masks_json(model, layout, None, None)
    folder = tmp_path / "model"
    save(folder, model, card, masks=masks, history={}, probe=rows)
    return folder, model, card, rows


def test_a_saved_model_scores_the_same_when_loaded_and_holds_no_pickle(saved):
    folder, model, card, rows = saved
    verify(folder)
    scorer = load(folder)
    assert scorer.card == card and scorer.flows(rows) is None
    inputs, _ = scorer._inputs(rows)
    assert np.isnan(inputs.numbers.numpy()[0, 0]), "numbers stay as they are"
    wanted = torch.sigmoid(predict(model, inputs)).numpy()
    assert np.abs(scorer.score(rows) - wanted).max() < 1e-6
    names = {path.name for path in folder.iterdir()}
    assert {"trees-0.txt", "trees-1.txt"} < names and "model.safetensors" not in names
    assert (folder / "trees-0.txt").read_text().startswith("tree\nversion=")


@pytest.mark.parametrize("damage", ["no forest", "other columns", "missing"])
def test_a_file_that_does_not_fit_is_named(saved, architecture, examples, damage):
    folder, model, _, _ = saved
    path = folder / "trees-1.txt"
    if damage == "no forest":
        path.write_text("tree\nversion=v4\n")
    elif damage == "missing":
        path.unlink()
    else:
        other = build(architecture(kind="lightgbm", numbers=2), 1)
        rows = examples(200)
        rows = replace(rows, inputs=replace(rows.inputs, numbers=rows.inputs.numbers[:, :2]))
        grow(other, rows, rows, SMALL, tasks=["a", "b"], seed=1)
        other.write(folder)
    with pytest.raises(RegistryError, match=r"trees-[01]\.txt does not fit: .*train again"):
        model.read(folder)
