"""Going on from an earlier version's weights: what is kept, what is new, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from features.errors import TrainingError
from features.spec import Column
from training.artifact import Card, Scorer
from training.autoifs import AutoIFS
from training.prepare import NumberStats
from training.rows import Examples
from training.scores import predict
from training.trainer import Trainer, constant
from training.warm import Start, check, seen, unknown_shares
from training.zoo import MODELS, build

STATS = NumberStats(log=(False,) * 3, mean=(0.0,) * 3, std=(1.0,) * 3)
NETWORKS = sorted(set(MODELS) - {"lightgbm"})


@pytest.fixture
def card(architecture, layout):
    """Return the card of a model; scenarios and sizes of its architecture can be given."""

    def make(scenarios: int = 3, **changed) -> Card:
        names = ("feed", "search", "live", "shop")[:scenarios]
        return Card(
            architecture=architecture(scenarios, **changed),
            layout=replace(layout, scenarios=names),
            stats=STATS,
            vocabulary_version=0,
            vocabulary_id="v",
            spec_hash="",
        )

    return make


def trained(card: Card, rows: Examples, settings, seed: int = 1) -> Start:
    trainer = Trainer(build(card.architecture, seed), rows, rows, settings())
    if isinstance(trainer.model, AutoIFS):
        trainer.model.harden()  # flows are frozen by masks, apart from weights
    trainer.run("train", 15, constant)
    return Start("3", Scorer(trainer.model, card))


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_goes_on_from_a_version_answers_as_it_did(card, examples, settings, kind):
    start = trained(card(kind=kind), examples(), settings)
    model = build(start.scorer.card.architecture, 7)
    other = predict(model, examples(seed=3).inputs)
    said = start.adopted_by(model, start.scorer.card, examples(5_000, seed=2))
    assert said == {"from": "3", "new_tokens": {}, "evicted_tokens": {}, "new_scenarios": []}
    wanted = predict(start.scorer.model, examples(seed=3).inputs)
    assert torch.allclose(predict(model, examples(seed=3).inputs), wanted, atol=1e-6)
    assert not torch.allclose(other, wanted, atol=1e-2)


def test_new_tokens_start_as_the_unknown_one_and_others_keep_what_they_learned(
    card, examples, settings
):
    start = trained(card(), examples(), settings)
    grown = card(sizes=(9, 5, 6))
    rows = examples(5_000, seed=2)
    model = build(grown.architecture, 7)
    with_new = replace(rows.inputs, index=rows.inputs.index.clone())
    with_new.index[:2_000, 0] = 8
    said = start.adopted_by(model, grown, Examples(with_new, rows.labels))
    assert said["new_tokens"] == {"c_item": 2}
    unknown = replace(with_new, index=with_new.index.clone())
    unknown.index[:2_000, 0] = 0
    wanted = predict(start.scorer.model, unknown)
    assert torch.allclose(predict(model, with_new), wanted, atol=1e-6)


def test_a_token_that_the_window_no_longer_holds_is_unknown_again(card, examples, settings):
    start = trained(card(), examples(), settings)
    rows = examples(3_000, seed=2)
    rows.inputs.index[rows.inputs.index[:, 0] == 4, 0] = 5
    assert [int((~one).sum()) for one in seen(rows, start.scorer.card.architecture)] == [1, 0, 1]
    model = build(start.scorer.card.architecture, 7)
    said = start.adopted_by(model, start.scorer.card, rows)
    assert said["evicted_tokens"] == {"c_item": 1}
    assert torch.equal(model.embeddings.vectors(0)[4], model.embeddings.vectors(0)[0])
    assert torch.equal(model.embeddings.vectors(0)[5], start.scorer.model.embeddings.vectors(0)[5])


@pytest.mark.parametrize("form", ["additive", "official"])
def test_a_new_scenario_begins_as_the_part_that_all_share_and_can_learn(
    card, examples, settings, form
):
    start = trained(card(2, form=form), examples(scenarios=2), settings)
    now = card(3, form=form)
    model = build(now.architecture, 7)
    rows = examples(1_000, scenarios=3, seed=2)
    said = start.adopted_by(model, now, rows)
    assert said["new_scenarios"] == ["live"]
    old = rows.take(torch.nonzero(rows.inputs.scenario < 2).flatten()).inputs
    assert torch.allclose(predict(model, old), predict(start.scorer.model, old), atol=1e-6)
    new = rows.take(torch.nonzero(rows.inputs.scenario == 2).flatten())
    with torch.inference_mode():
        x = model.embed(new.inputs)
        shared, specific = model._scenario_parts(model.trunk(x), new.inputs.scenario)
    assert specific.abs().max() <= 1e-3 < shared.abs().max()
    model.loss(new.inputs, new.labels, torch.ones(2)).backward()
    assert model.layers[0].up.grad[4:].abs().max() > 0


def test_a_new_scenarios_heads_begin_as_the_mean_of_the_others(card, examples, settings):
    start = trained(card(2, kind="shared_bottom"), examples(scenarios=2), settings)
    now = card(3, kind="shared_bottom")
    model = build(now.architecture, 7)
    start.adopted_by(model, now, examples(1_000))
    rows = examples(50).inputs
    each = [
        predict(model, replace(rows, scenario=torch.full_like(rows.scenario, k))) for k in range(3)
    ]
    assert torch.allclose(each[2], (each[0] + each[1]) / 2, atol=1e-6)


def test_a_scenario_that_comes_on_night_four_of_seven_starts_shared_and_learns(
    card, examples, settings
):
    model, start, losses = None, None, []
    for night in range(1, 8):
        scenarios = 2 if night < 4 else 3
        now = card(scenarios)
        rows = examples(600, scenarios=scenarios, seed=night)
        model = build(now.architecture, 1)
        if start is not None:
            said = start.adopted_by(model, now, rows)
            assert said["new_scenarios"] == (["live"] if night == 4 else [])
        trainer = Trainer(model, rows, rows, settings())
        if night >= 4:
            new = rows.take(torch.nonzero(rows.inputs.scenario == 2).flatten())
            losses.append(model.loss(new.inputs, new.labels, torch.ones(2)).item())
        assert trainer.history == [] and trainer.stages == 0, "counters are the night's own"
        trainer.run("train", trainer.epoch, constant, keep="last")
        start = Start(str(night), Scorer(model, now))
    assert losses[0] < 2 * np.log(2), "better than knowing nothing, on its first night"
    assert losses[-1] < losses[0]


def test_a_model_without_shared_parts_refuses_a_new_scenario_by_name(card, examples, settings):
    start = trained(card(2, kind="mmoe"), examples(scenarios=2), settings)
    now = card(3, kind="mmoe")
    with pytest.raises(TrainingError, match="version 3 can't be gone on from: scenario 'live' is"):
        start.adopted_by(build(now.architecture, 7), now, examples())


def _columns(card: Card, *columns: Column) -> Card:
    return replace(card, layout=replace(card.layout, columns=columns))


CHANGES = {
    "training.network.trunk was 16 and is 8": lambda card: replace(
        card, architecture=replace(card.architecture, trunk=(8,))
    ),
    "training.model was autoifs and is mmoe": lambda card: replace(
        card, architecture=replace(card.architecture, kind="mmoe")
    ),
    "column 'n_age' is gone": lambda card: _columns(
        card, *(one for one in card.layout.columns if one.name != "n_age")
    ),
    "column 'n_more' is new": lambda card: _columns(
        card, *card.layout.columns, Column(name="n_more", kind="number", source="more")
    ),
    "scale of column 'n_price' was log1p and is none": lambda card: _columns(
        card, *(replace(one, scale="none") for one in card.layout.columns)
    ),
    "column 'n_rate' stands at another place": lambda card: _columns(
        card, *card.layout.columns[:3], *card.layout.columns[:2:-1]
    ),
    "task 'buy' is gone": lambda card: replace(card, layout=replace(card.layout, tasks=("click",))),
    "scenario 'live' is gone": lambda card: replace(
        card, layout=replace(card.layout, scenarios=("feed", "search"))
    ),
    "the vocabulary of 'c_item' shrank from 7 to 6": lambda card: replace(
        card, architecture=replace(card.architecture, sizes=(6, 5, 6))
    ),
    "the vocabulary was built anew": lambda card: replace(card, vocabulary_id="w"),
}


@pytest.mark.parametrize("sentence", CHANGES)
def test_a_changed_schema_is_refused_with_the_fields_name(card, sentence):
    with pytest.raises(TrainingError, match=f"version 3 can't be gone on from: {sentence}"):
        check(card(), CHANGES[sentence](card()), "3")


def test_how_far_answers_moved_is_told(card, examples, settings, dataset):
    start = trained(card(), examples(), settings)
    assert start.moved(start.scorer, dataset()) == {"mean": 0.0, "most": 0.0, "correlation": 1.0}
    other = trained(card(), examples(seed=8), settings, seed=4)
    moved = start.moved(other.scorer, dataset())
    assert 0 < moved["mean"] < moved["most"] and -1 < moved["correlation"] < 1


def test_unknown_tokens_are_counted_for_each_scenario(examples, layout):
    rows = examples(500)
    rows.inputs.index[:, 0] = 3
    rows.inputs.index[rows.inputs.scenario == 1, 0] = 0
    found = unknown_shares(rows, layout)
    assert [found[name]["c_item"] for name in ("feed", "search", "live")] == [0, 1, 0]
    assert 0 < found["feed"]["c_place"] < 1
