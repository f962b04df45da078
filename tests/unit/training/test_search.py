import math

import pytest
import torch

from features.spec.search import Search
from training.masks import Masks, flips, masks_of, prune
from training.search import (
    Record,
    freeze_and_retrain,
    search_and_retrain,
    train_without_flows,
)
from training.trainer import Trainer
from training.zoo import build

STAGES = [
    "initial",
    "warm-up",
    "prune 1",
    "choose",
    "rewind",
    "retrain",
]


@pytest.fixture
def trainer(architecture, examples, settings):
    def make(**changed):
        return Trainer(build(architecture(**changed), 1), examples(), examples(seed=1), settings())

    return make


def searched(trainer: Trainer, **changed) -> Record:
    record = Record()
    given = {"recipe": "boxed", "epochs": 4, "rewind": 0.25, "shrink": (0.0, 1.0), **changed}
    search_and_retrain(trainer, Search(**given), 2, record)
    return record


def test_the_record_shows_warm_up_search_choice_rewind_and_retrain_in_order(trainer):
    one = trainer()
    record = searched(one)
    assert [stage["stage"] for stage in record.stages] == STAGES
    looked = list(dict.fromkeys(look.stage for look in one.history))
    assert looked == ["warm-up", "search 0", "anneal 0", "search 1", "anneal 1", "retrain"]


def test_the_price_with_the_lowest_validation_loss_is_chosen_and_its_masks_are_retrained(trainer):
    one = trainer()
    record = searched(one)
    chosen = next(stage for stage in record.stages if stage["stage"] == "choose")
    losses = {tried["shrink"]: tried["validation"] for tried in chosen["candidates"]}
    assert losses[chosen["shrink"]] == min(losses.values())
    assert record.shrink == chosen["shrink"]
    kept = int((one.model.coefficients.strength > 0).sum())
    assert kept == chosen["kept"]


def test_a_price_shrinks_flows_and_prunes_the_weak_ones_for_good(trainer):
    one = trainer()
    searched(one, shrink=(2.7,))
    strength = one.model.coefficients.strength
    assert ((strength >= 0) & (strength <= 1)).all()
    assert (strength == 0).any(), "a price of 2.7 prunes something"
    assert (strength > 0).any(2).all(), "every cell keeps a flow"
    assert not strength.requires_grad, "retraining holds the flows still"


def test_masks_are_the_strengths_found_rounded_up_to_one(trainer):
    found = {}
    for recipe in ("boxed", "masks"):
        one = trainer()
        searched(one, shrink=(2.7,), recipe=recipe)
        found[recipe] = one.model.coefficients.strength
    assert torch.equal(found["masks"], (found["boxed"] > 0).float())
    assert found["boxed"].unique().numel() > 2


def test_without_a_price_every_flow_stays_whole(trainer):
    one = trainer()
    searched(one, shrink=(0.0,))
    assert (one.model.coefficients.strength == 1).all()


def test_cross_fitted_strengths_are_relative_to_the_largest_and_retrained_from_the_warm_up(trainer):
    one = trainer()
    record = searched(one, recipe="crossfit", shrink=(2.7,), epochs=8)
    names = ["initial", "warm-up", "prune 2.7", "retrain", "choose"]
    assert [stage["stage"] for stage in record.stages] == names
    strength = one.model.coefficients.strength
    assert strength.max() == 1 and (strength == 0).any() and not strength.requires_grad
    assert list(dict.fromkeys(look.stage for look in one.history)) == [
        "warm-up",
        "search 2.7",
        "retrain",
    ]


@pytest.mark.parametrize("form", ["additive", "official"])
def test_of_several_prices_the_one_that_validates_best_after_retraining_is_kept(trainer, form):
    one = trainer(form=form)
    record = searched(one, recipe="crossfit", shrink=(0.0, 1.5))
    chosen = record.stages[-1]
    losses = {tried["shrink"]: tried["validation"] for tried in chosen["candidates"]}
    assert set(losses) == {0.0, 1.5} and record.shrink == min(losses, key=losses.get)
    assert one.validation_loss() == pytest.approx(min(losses.values()))


@pytest.mark.parametrize("recipe", ["crossfit", "boxed", "official"])
@pytest.mark.parametrize(("scenarios", "tasks"), [(1, 1), (20, 5)])
def test_any_number_of_scenarios_and_tasks_is_searched_with_labels_missing(
    architecture, examples, settings, recipe, scenarios, tasks
):
    gates = "table" if recipe == "official" else "strength"
    rows = examples(300, scenarios, tasks)
    rows.labels[::3, tasks - 1] = torch.nan
    model = build(architecture(scenarios, tasks, gates=gates), 1)
    one = Trainer(model, rows, examples(100, scenarios, tasks, seed=1), settings(tasks))
    best = search_and_retrain(one, Search(recipe=recipe, epochs=1, shrink=(2.7,)), 1, Record())
    assert math.isfinite(best.validation)
    assert model.table().shape == (scenarios, tasks, 4) and (model.table() > 0).any(2).all()


@pytest.mark.parametrize(("form", "gates"), [("additive", "strength"), ("official", "instance")])
def test_retraining_starts_from_the_weights_of_the_warm_up_and_the_gates_of_the_search(
    trainer, monkeypatch, form, gates
):
    one = trainer(form=form, gates=gates)
    run, states = one.run, {}

    def watched(stage, *given, **named):
        states[f"before {stage}"] = one.state()
        looked = run(stage, *given, **named)
        states[f"after {stage}"] = one.state()
        return looked

    monkeypatch.setattr(one, "run", watched)
    searched(one, shrink=(2.7,))
    warm, start = states["after warm-up"], states["before retrain"]
    names = [name for name in warm if not name.startswith("gates.")]
    assert all(torch.equal(warm[name], start[name]) for name in names)
    found = states["after search" if form == "official" else "after anneal 2.7"]
    gate_names = [name for name in warm if name.startswith("gates.")]
    assert all(torch.equal(found[name], start[name]) for name in gate_names)
    assert any(not torch.equal(warm[name], start[name]) for name in gate_names)


@pytest.mark.parametrize(
    ("form", "gates"),
    [
        ("official", "table"),
        ("official", "instance"),
        ("additive", "table"),
        ("additive", "context"),
    ],
)
def test_the_official_recipe_hardens_its_gates_rewinds_and_keeps_them_still(trainer, form, gates):
    one = trainer(form=form, gates=gates)
    record = searched(one)
    names = [stage["stage"] for stage in record.stages]
    assert names == ["initial", "warm-up", "search", "rewind", "retrain"]
    assert record.stages[2]["temperature"] == pytest.approx(100)
    assert one.model.gates.hard
    keep = one.model.eval().parts(one.validate.inputs)[2]
    assert set(keep.unique().tolist()) <= {0.0, 1.0}
    assert record.stages[2]["keep"] is not None


def test_the_gates_found_survive_the_rewind(trainer):
    one = trainer(form="official", gates="table")
    record = searched(one)
    keep = record.stages[2]["keep"]
    assert torch.allclose(torch.tensor(keep), one.model.table())
    assert record.stages[4]["keep"] == keep


def test_a_flow_below_the_floor_is_pruned_and_the_largest_of_a_cell_stays(trainer):
    model = trainer().model
    with torch.no_grad():
        model.units.heads.specific.mul_(1e-3)
        model.coefficients.strength[1, 1] = 0.0
    rows = trainer().train.inputs
    found = prune(model, rows, floor=0.08)
    strength = model.coefficients.strength
    assert (strength[..., [1, 2]] == 0).all(), "flows through a tiny vector carry nothing"
    assert (strength[0, :, [0, 3]] > 0).all()
    assert (strength[1, 1] > 0).sum() == 1, "a cell never loses every flow"
    assert found["kept"] + found["pruned"] == 24


def test_a_scenario_with_too_few_rows_to_judge_keeps_every_flow(trainer):
    one = trainer()
    rows = one.train.inputs
    few = torch.cat([torch.where(rows.scenario != 2)[0], torch.where(rows.scenario == 2)[0][:9]])
    with torch.no_grad():
        one.model.coefficients.strength.fill_(0.5)
    prune(one.model, rows.take(few), floor=0.9)
    assert (one.model.coefficients.strength[2] == 1).all()


def test_frozen_masks_are_trained_with_and_nothing_is_searched(trainer):
    strength = torch.ones(3, 2, 4)
    strength[0, 0, 1:] = 0
    strength[1, 1, 2] = 0.25
    one, record = trainer(), Record()
    freeze_and_retrain(one, Search(), Masks(strength=strength.tolist(), shrink=1.0), 2, record)
    assert [stage["stage"] for stage in record.stages] == ["freeze", "warm-up", "retrain"]
    assert torch.equal(one.model.coefficients.strength, strength)
    assert {look.stage for look in one.history} == {"warm-up", "retrain"}


def test_frozen_nights_and_the_baseline_train_as_many_steps_as_a_night_that_searches(trainer):
    def final_steps(one: Trainer) -> int:
        stages = ("warm-up", "retrain", "train")
        last = {look.stage: look.steps for look in one.history if look.stage in stages}
        return sum(last.values())

    searching, frozen, baseline = trainer(), trainer(), trainer(kind="shared_bottom")
    search, whole = Search(shrink=(1.5,)), torch.ones(3, 2, 4).tolist()
    search_and_retrain(searching, search, 2, Record())
    freeze_and_retrain(frozen, search, Masks(strength=whole, shrink=None), 2, Record())
    train_without_flows(baseline, search, 2, Record())
    assert final_steps(searching) == final_steps(frozen) == final_steps(baseline) > 0


@pytest.mark.parametrize("recipe", ["boxed", "crossfit"])
def test_the_search_is_the_same_to_the_bit_under_the_same_seed(trainer, recipe):
    states = []
    for _ in range(2):
        one = trainer(dropout=0.2)
        searched(one, shrink=(0.0, 2.7), recipe=recipe)
        states.append(one.state())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_flips_count_changed_flows_of_cells_that_exist():
    before = torch.ones(2, 2, 4)
    after = before.clone()
    after[0, 0, 1] = 0
    after[1, 1] = 0
    masks = [Masks(strength=one.tolist(), shrink=None) for one in (before, after)]
    assert flips(*masks, cells=((True, True), (True, True))) == 5
    assert flips(*masks, cells=((True, True), (True, False))) == 1
    assert flips(masks[0], Masks(strength=None, shrink=None), ((True,),)) is None


def test_masks_of_removal_gates_are_their_hard_table(trainer):
    model = trainer(form="official", gates="table").model
    with torch.no_grad():
        model.gates.table[0, 0, 2] = 0.5
    strength = torch.tensor(masks_of(model).strength)
    assert strength[0, 0].tolist() == [1, 1, 0, 1]
    assert masks_of(trainer(gates="instance").model).strength is None
