"""What every model of the zoo must hold to, and the equations of those whose papers say all."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch.nn import functional

from features.spec.layout import layout_of
from features.spec.load import parse_spec, specs_folder
from features.spec.policy import ModelName, Training
from training.aitm import CALIBRATION
from training.architecture import Architecture, architecture_of
from training.artifact import Card, load, masks_json, save, verify
from training.cascade import mean_logits, product_logits
from training.embeddings import Embeddings
from training.losses import masked_loss
from training.model import Model
from training.prepare import Inputs, measure_numbers
from training.rows import Examples, Held
from training.scores import predict
from training.trainer import Trainer, constant, linear_decay
from training.zoo import MODELS, build

KINDS = sorted(set(MODELS) - {"lightgbm"})
"""The networks; what holds for trees is in ``test_lightgbm.py``."""
SHAPES = list(itertools.product((1, 2, 3, 20), (1, 2, 3, 5)))
ALL_IN = {"ids": (0,), "histories": (2,), "listed": (0,)}
"""An id and a sequence that lists it, so that every part of every model is built."""


@pytest.fixture
def zoo(architecture: Callable[..., Architecture]) -> Callable[..., Model]:
    """Return a model of the zoo by name, for K scenarios and M tasks."""

    def make(kind: str, scenarios: int = 3, tasks: int = 2, seed: int = 1, **changed: Any) -> Model:
        a = architecture(scenarios, tasks, kind=kind, **{**ALL_IN, **changed})
        return build(a, seed)

    return make


def shaken(model: Model) -> Model:
    """Give every parameter and moment a value of its own, so that no zero or one hides anything."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith(("mean", "variance")):
                buffer.add_(torch.rand_like(buffer))
        for part in model.modules():
            for table in part.tables if isinstance(part, Embeddings) else ():
                table.weight[0] = 0
    return model


def rows_of(inputs, scenarios: int, tasks: int, n: int = 60) -> tuple[Inputs, torch.Tensor]:
    """Return rows of every scenario with labels of both classes in every cell."""
    rows = replace(inputs(n, scenarios), scenario=torch.arange(n) % scenarios)
    labels = ((torch.arange(n)[:, None] // scenarios + torch.arange(tasks)) % 2).float()
    return rows, labels


def evenly(tasks: int) -> torch.Tensor:
    return torch.full((tasks,), 1 / tasks)


def test_one_line_of_the_spec_names_every_model_of_the_zoo():
    assert get_args(ModelName) == tuple(MODELS)
    assert [Training(model=kind).model for kind in MODELS] == list(MODELS)
    assert Training().model == "autoifs"


def test_the_architecture_says_which_columns_are_ids_and_which_list_the_values_of_another():
    ids = "ids: [user_id, item_id]"
    said = (specs_folder() / "bazaar.yaml").read_text(encoding="utf-8")
    said = said.replace(ids, f"{ids}\n  sequences: [{{of: item_id, by: user_id, last: 5}}]")
    layout = layout_of(spec := parse_spec(said, "bazaar.yaml"))
    names = [column.name for column in (*layout.of("category"), *layout.of("multi"))]
    a = architecture_of(spec, layout, dict.fromkeys(names, 9), "dffm")
    assert [names[place] for place in a.ids] == ["c_user_id", "c_item_id"]
    assert [names[place] for place in a.histories] == ["m_last_5_item_id_user_id"]
    assert [names[place] for place in a.listed] == ["c_item_id"]


@pytest.mark.parametrize(("scenarios", "tasks"), SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_scenarios_and_tasks_gives_logits_and_every_parameter_a_gradient(
    zoo, inputs, kind, scenarios, tasks
):
    model = shaken(zoo(kind, scenarios, tasks))
    rows, labels = rows_of(inputs, scenarios, tasks, 120)
    labels[torch.rand(labels.shape, generator=torch.Generator().manual_seed(0)) < 0.3] = math.nan
    with torch.no_grad():
        logits = model(rows)
    assert logits.shape == (120, tasks) and logits.isfinite().all()
    loss = model.loss(rows, labels, evenly(tasks))
    assert loss.shape == () and math.isfinite(loss.item())
    loss.backward()
    silent = [
        name
        for name, one in model.named_parameters()
        if one.grad is None or not one.grad.abs().sum() > 0 or not one.grad.isfinite().all()
    ]
    assert silent == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_rows_score_does_not_depend_on_the_rows_beside_it(zoo, inputs, kind):
    model, rows = shaken(zoo(kind, dropout=0.5)), inputs(24)
    together = predict(model, rows)
    alone = torch.cat([predict(model, rows.narrow(i, 1)) for i in range(24)])
    halves = torch.cat([predict(model, rows.narrow(i, 12)) for i in (0, 12)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together, halves, atol=1e-5)
    assert together.std() > 0.01, "a constant would depend on nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_are_scored_and_one_row_is_trained_on(zoo, inputs, kind):
    model = zoo(kind)
    assert predict(model, inputs(0)).shape == (0, 2)
    model.train()
    assert math.isfinite(model.loss(inputs(1), torch.ones(1, 2), evenly(2)).item())


@pytest.mark.parametrize("kind", KINDS)
def test_a_scenario_without_rows_missing_labels_and_one_class_are_no_trouble(
    zoo, inputs, settings, kind
):
    rows = replace(inputs(64), scenario=torch.ones(64, dtype=torch.int64))
    labels = torch.ones(64, 2)
    labels[::2, 1] = math.nan
    trainer = Trainer(zoo(kind), Examples(rows, labels), Examples(rows, labels), settings(batch=16))
    assert math.isfinite(trainer.run("train", 4, constant).validation)
    assert predict(trainer.model, inputs(30)).isfinite().all(), "the other scenarios are scored too"


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_a_scenario_lacks_neither_trains_nor_breaks_anything(
    zoo, inputs, settings, kind
):
    cells = ((True, True, True), (False, True, True), (True, False, True))
    rows, labels = rows_of(inputs, 3, 3)
    labels[~torch.tensor(cells)[rows.scenario]] = math.nan
    model = zoo(kind, 3, 3, cells=cells)
    model.loss(rows, labels, evenly(3)).backward()
    grads = [one.grad for one in model.parameters() if one.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)
    trainer = Trainer(model, Examples(rows, labels), Examples(rows, labels), settings(3, batch=20))
    assert math.isfinite(trainer.run("train", 4, constant).validation)
    assert predict(model, rows).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changed",
    [
        {"trunk": (), "scenario": (6,)},
        {"trunk": (12, 10, 8), "scenario": (8, 6)},
        {"dims": (4, 2, 3), "listed": (-1,)},
        {"sizes": (), "dims": (), "bags": 0, "ids": (), "histories": (), "listed": ()},
        {"ids": (), "histories": (), "listed": ()},
    ],
    ids=["no trunk", "deep", "unequal embeddings", "numbers alone", "no ids or sequences"],
)
def test_any_widths_and_columns_will_do(zoo, inputs, kind, changed):
    model, (rows, labels) = zoo(kind, **changed), rows_of(inputs, 3, 2)
    if not model.architecture.sizes:
        rows = replace(rows, index=torch.zeros(60, 0, dtype=torch.int32), widths=())
    model.loss(rows, labels, evenly(2)).backward()
    assert predict(model, rows).isfinite().all()


def auc(scores: torch.Tensor, labels: torch.Tensor) -> float:
    positive, negative = scores[labels == 1], scores[labels == 0]
    return (positive[:, None] > negative).float().mean().item()


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_set_is_learned_by_heart(zoo, inputs, settings, kind):
    rows = inputs(48)
    draw = torch.rand(48, 2, generator=torch.Generator().manual_seed(4))
    first = (draw[:, 0] < 0.6).float()
    nested = torch.stack([first, first * (draw[:, 1] < 0.5)], dim=1)  # a cascade, for ESMM and AITM
    every = Examples(rows, nested)
    model = zoo(kind, trunk=(32,), scenario=(16,))
    given = settings(batch=48, learning_rate=0.02, ema=0.0)
    repeated = every.take(torch.arange(480) % 48)  # ten steps from one look at them to the next
    trainer = Trainer(model, repeated, every, given)
    trainer.run("train", 100, linear_decay, keep="last")
    learned = trainer.train
    scores = predict(model, learned.inputs)
    assert min(auc(scores[:, m], learned.labels[:, m]) for m in range(2)) > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_trains_the_same_weights_to_the_bit(zoo, examples, settings, kind):
    def train(seed: int) -> dict[str, torch.Tensor]:
        model = zoo(kind, seed=seed, dropout=0.2)
        trainer = Trainer(model, examples(200), examples(60, seed=1), settings(seed=seed))
        trainer.run("train", 4, linear_decay)
        return trainer.state()

    first = train(1)
    torch.rand(7)  # whoever draws in between changes nothing
    second, other = train(1), train(2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_scores_the_same_when_loaded(zoo, dataset, layout, tmp_path, kind):
    rows, model = dataset(40), shaken(zoo(kind))
    if kind == "autoifs":
        model.coefficients.shrink(0.0)
        model.harden()
    card = Card(
        architecture=model.architecture,
        layout=layout,
        stats=measure_numbers(rows),
        vocabulary_version=7,
        spec_hash="abc",
    )
    masks = masks_json(model, layout, None, None)
    save(tmp_path / "model", model, card, masks=masks, history={}, probe=rows)
    verify(tmp_path / "model")
    scorer = load(tmp_path / "model")
    assert scorer.card == card
    again = scorer.score(rows)
    inputs, _ = scorer._inputs(rows)
    assert np.abs(again - torch.sigmoid(predict(model, inputs)).numpy()).max() < 1e-6
    assert (scorer.flows(rows) is None) == (masks["strength"] is None) == (kind != "autoifs")


# --- the published equations, a row and a task at a time -------------------------------------


class Weights(dict):
    """A model's state in double precision; ``linear(name, x, g)`` is layer g of a bank."""

    def __init__(self, model: Model) -> None:
        super().__init__(
            {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
        )

    def bank(self, name: str, x: np.ndarray, group: int) -> np.ndarray:
        return x @ self[f"{name}.weight"][group] + self[f"{name}.bias"][group, 0]

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return self[f"{name}.weight"] @ x + self[f"{name}.bias"]

    def mlp(self, name: str, x: np.ndarray, group: int) -> np.ndarray:
        for layer in range(sum(key.startswith(f"{name}.layers.") for key in self) // 2):
            x = relu(self.bank(f"{name}.layers.{layer}", x, group))
        return x

    def head(self, name: str, x: np.ndarray, k: int, m: int) -> float:
        return float(self.bank(f"{name}.heads", x, m)[k])

    def tower(self, x: np.ndarray, k: int, m: int) -> float:
        return self.head("towers.heads", self.mlp("towers.towers", x, m), k, m)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


def mmoe(w: Weights, x: np.ndarray, k: int, a: Architecture) -> list[float]:
    experts = np.stack([w.mlp("experts", x, n) for n in range(4)])
    return [
        w.tower(softmax(w.bank(f"gates.each.{k}.layer", x, m)) @ experts, k, m)
        for m in range(a.tasks)
    ]


def ple(w: Weights, x: np.ndarray, k: int, a: Architecture) -> list[float]:
    x = np.concatenate([x, np.eye(a.scenarios)[k]])
    own, common = [x] * a.tasks, x
    levels = len(a.trunk)
    for level in (f"levels.{place}" for place in range(levels)):
        shared = [w.mlp(f"{level}.common", common, s) for s in range(2)]
        mine = [w.mlp(f"{level}.own", own[m], m) for m in range(a.tasks)]
        mixed = [
            softmax(w.bank(f"{level}.gates.layer", own[m], m)) @ np.stack([mine[m], *shared])
            for m in range(a.tasks)
        ]
        if level != f"levels.{levels - 1}":
            share = softmax(w.bank(f"{level}.common_gate.layer", common, 0))
            common = share @ np.stack([*mine, *shared])
        own = mixed
    return [w.tower(own[m], k, m) for m in range(a.tasks)]


def star(w: Weights, x: np.ndarray, k: int, a: Architecture) -> list[float]:
    centred = (x - w["norm.mean"][k]) / np.sqrt(w["norm.variance"][k] + 1e-3)
    h = w["norm.scale"] * w["norm.own_scale"][k] * centred
    h = h + w["norm.shift"] + w["norm.own_shift"][k]
    last = len(a.trunk) + len(a.scenario)
    for place in range(last + 1):
        layer = f"layers.{place}"
        weight = w[f"{layer}.shared.weight"] * w[f"{layer}.weight"][k]
        h = weight @ h + w[f"{layer}.shared.bias"] + w[f"{layer}.bias"][k]
        h = h if place == last else relu(h)
    aside = np.concatenate([w["scenario.weight"][k], x])
    return list(h + w.linear("auxiliary.2", relu(w.linear("auxiliary.0", aside))))


def pepnet(w: Weights, x: np.ndarray, k: int, a: Architecture) -> list[float]:
    def gate(name: str, known: np.ndarray, group: int) -> np.ndarray:
        hidden = relu(w.bank(f"{name}.first", known, group))
        return 2 * sigmoid(w.bank(f"{name}.second", hidden, group))

    prior = x[: a.dims[0]]  # the id is the first column
    gated = gate("embedding_gate", np.concatenate([w["scenario.weight"][k], x]), 0) * x
    said = []
    for m in range(a.tasks):
        h = gated
        for layer in range(len(a.trunk) + len(a.scenario)):
            delta = gate(f"gates.{layer}", np.concatenate([prior, gated]), m)
            h = relu(w.bank(f"layers.{layer}", h, m)) * delta
        said.append(float(w.bank("heads", h, m)[0]))
    return said


def esmm(w: Weights, x: np.ndarray, k: int, a: Architecture) -> list[float]:
    p, said = 1.0, []
    for m in range(a.tasks):
        p *= sigmoid(w.head("heads", w.mlp("networks", x, m), k, m))
        said.append(float(np.log(p / (1 - p))))
    return said


def aitm(w: Weights, x: np.ndarray, k: int, a: Architecture) -> list[float]:
    z, said = w.mlp("networks", x, 0), []
    for m in range(a.tasks):
        if m:
            name = f"transfers.{m - 1}"
            two = [relu(w.linear(f"{name}.hand_on", z)), w.mlp("networks", x, m)]
            fit = [w.linear(f"{name}.key", u) @ w.linear(f"{name}.query", u) for u in two]
            share = softmax(np.array(fit) / np.sqrt(len(z)))
            z = sum(s * w.linear(f"{name}.value", u) for s, u in zip(share, two, strict=True))
        said.append(w.head("heads", z, k, m))
    return said


def m3oe(w: Weights, x: np.ndarray, k: int, a: Architecture) -> list[float]:
    def normed(name: str, v: np.ndarray, group: int) -> np.ndarray:
        raw = w.bank(f"{name}.layer", v, group)
        raw = (raw - raw.mean()) / np.sqrt(raw.var() + 1e-5)
        return relu(raw * w[f"{name}.scale"][group] + w[f"{name}.shift"][group])

    def viewed(each: list[np.ndarray], own: int, name: str) -> np.ndarray:
        if len(each) == 1:
            return each[0]
        share = sigmoid(w[f"balance.own {name}"])
        others = [one for place, one in enumerate(each) if place != own]
        return share * each[own] + (1 - share) / len(others) * sum(others)

    v = (w["star.shared.weight"] * w["star.weight"][k]) @ x + w["star.shared.bias"]
    v = v + w["star.bias"][k]
    for layer in range(max(len(a.trunk) - 1, 1)):
        v = normed(f"mlp.{layer}", v, 0)
    v = v + w.linear("skip", x)
    shared = np.stack([normed("shared", v, n) for n in range(4)])
    scenarios = [normed("scenarios", v, j) for j in range(a.scenarios)]
    tasks = [normed("tasks", v, j) for j in range(a.tasks)]
    said = []
    for m in range(a.tasks):
        f = softmax(w.bank(f"gates.each.{k}.layer", v, m)) @ shared
        f = f + sigmoid(w["balance.scenario"]) * viewed(scenarios, k, "scenario")
        f = f + sigmoid(w["balance.task"]) * viewed(tasks, m, "task")
        said.append(w.tower(f, k, m))
    return said


@pytest.mark.parametrize(("scenarios", "tasks"), [(1, 1), (3, 2), (4, 3)])
@pytest.mark.parametrize("equations", [mmoe, ple, star, pepnet, esmm, aitm, m3oe])
def test_a_model_equals_its_papers_equations_written_out(zoo, inputs, equations, scenarios, tasks):
    model = shaken(zoo(equations.__name__, scenarios, tasks, trunk=(12, 10), scenario=(6,)))
    rows, w = inputs(12, scenarios), Weights(model)
    with torch.no_grad():
        embedded = model.reader.embeddings(rows)
    x = torch.cat([embedded, rows.numbers], 1).double().numpy()
    a = model.architecture
    wanted = [equations(w, x[i], int(k), a) for i, k in enumerate(rows.scenario)]
    assert np.abs(predict(model, rows).numpy() - np.array(wanted)).max() < 1e-5


# --- what only one model does ------------------------------------------------------------------


def test_the_probability_of_a_cascade_is_the_product_over_the_tasks_a_scenario_has():
    logits, cells = torch.tensor([[0.3, -1.0, 2.0]] * 2), ((True,) * 3, (True, False, True))
    p = torch.sigmoid(logits[0])
    said = torch.sigmoid(product_logits(logits, torch.tensor([0, 1]), cells))
    assert torch.allclose(said[0], torch.stack([p[0], p[0] * p[1], p.prod()]))
    assert torch.allclose(said[1, 2], p[0] * p[2])


@pytest.mark.parametrize("size", [30.0, 500.0])
def test_the_logits_of_products_and_means_stay_finite_at_the_ends(size):
    logits = torch.tensor([[size, size], [-size, size], [size, -size]], requires_grad=True)
    cascade = product_logits(logits, torch.zeros(3, dtype=torch.int64), ((True, True),))
    mean = mean_logits(logits[:, None])
    (masked_loss(cascade, torch.ones(3, 2), torch.ones(2)) + mean.sum()).backward()
    assert cascade.isfinite().all() and mean.isfinite().all() and logits.grad.isfinite().all()
    assert cascade[1, 1].item() == pytest.approx(-size, rel=0.05)


def test_aitm_charges_a_later_step_that_is_likelier_than_the_nearest_one_before_it(zoo, inputs):
    cells = ((True, True, True), (True, False, True))
    model, (rows, labels) = shaken(zoo("aitm", 2, 3, cells=cells)), rows_of(inputs, 2, 3)
    p = torch.sigmoid(model(rows))
    charge = torch.zeros(len(rows))
    for row, k in enumerate(rows.scenario.tolist()):
        steps = [(0, 1), (1, 2)] if k == 0 else [(0, 2)]
        charge[row] = sum((p[row, b] - p[row, a]).clamp(min=0) for a, b in steps)
    wanted = masked_loss(model(rows), labels, evenly(3)) + CALIBRATION * charge.mean() / 3
    assert charge.sum() > 0
    assert model.loss(rows, labels, evenly(3)).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_star_remembers_the_moments_of_each_scenario_and_leaves_absent_ones_alone(zoo, inputs):
    model = zoo("star").train()
    rows = replace(inputs(200), scenario=torch.arange(200) % 2)
    model(rows)
    x = model.reader(rows).detach()
    for k in range(2):
        assert torch.allclose(model.norm.mean[k], x[rows.scenario == k].mean(0), atol=1e-6)
    assert (model.norm.mean[2] == 0).all() and (model.norm.variance[2] == 1).all()


def test_every_scenario_of_star_starts_as_the_shared_network(zoo, inputs):
    model, rows = zoo("star"), inputs(20)
    with torch.no_grad():
        model.scenario.weight[:] = 0.5
    other = replace(rows, scenario=(rows.scenario + 1) % 3)
    assert torch.allclose(predict(model, rows), predict(model, other), atol=1e-6)


def test_m3oe_learns_its_four_weights_from_rows_that_its_experts_never_see(zoo, examples, settings):
    model, rows = zoo("m3oe"), examples(300)
    trainer = Trainer(model, rows, examples(seed=1), settings())
    assert {id(one) for one in model.held_out()} == {id(one) for one in model.balance.values()}
    assert len(model.held_out()) == 4
    kept, aside = Held(rows).set_aside(settings().seed)
    assert (len(kept), len(aside)) == (len(trainer.train), len(trainer.aside)) == (270, 30)
    numbers = torch.cat([kept.inputs.numbers, aside.inputs.numbers])
    assert torch.equal(numbers.sort(0).values, rows.inputs.numbers.sort(0).values)

    trainer.aside.labels[:] = math.nan
    before = trainer.state()
    trainer.run("train", 3, constant, keep="last")
    moved = {
        name for name, value in trainer.state().items() if not torch.equal(value, before[name])
    }
    assert not any(name.startswith("balance") for name in moved), "training rows moved a weight"
    assert "star.shared.weight" in moved

    trainer.train.labels[:], trainer.aside.labels[:] = math.nan, 1.0
    before = trainer.state()
    trainer.run("train", 3, constant, keep="last")
    moved = {
        name for name, value in trainer.state().items() if not torch.equal(value, before[name])
    }
    assert {name for name in moved if name.startswith("balance")} == {
        "balance.scenario",
        "balance.task",
        "balance.own scenario",
        "balance.own task",
    }


def test_a_model_that_holds_nothing_out_trains_on_every_row(zoo, examples, settings):
    trainer = Trainer(zoo("mmoe"), examples(300), examples(seed=1), settings())
    assert (len(trainer.train), trainer.aside) == (300, None)


def test_m3oes_gates_do_not_train_what_they_look_at(zoo, inputs):
    model, rows = shaken(zoo("m3oe")), inputs(20)
    with torch.no_grad():  # what is left of a logit is the shared experts', in shares of the gates
        for expert in (model.shared, model.scenarios, model.tasks):
            expert.scale.zero_()
        model.shared.shift.copy_(torch.arange(1.0, 5)[:, None].expand_as(model.shared.shift))
    model(rows).sum().backward()
    assert (model.gates.each[0].layer.weight.grad != 0).any()
    assert (model.star.shared.weight.grad == 0).all()


def test_causalints_inner_step_shows_no_row_its_own_label(zoo, inputs):
    model, (rows, labels) = shaken(zoo("causalint")), rows_of(inputs, 3, 2, 10)
    other = labels.clone()
    other[4] = 1 - other[4]

    def stepped(said: torch.Tensor) -> torch.Tensor:
        invariant = model.invariant(model.reader(rows))
        return model._stepped(invariant, model.invariant_heads(invariant), said, evenly(2))

    moved = (stepped(labels) - stepped(other)).abs().sum((1, 2)) > 0
    assert moved.tolist() == [False, True] * 5


def test_causalint_trains_a_transfer_net_with_its_own_scenarios_rows_alone(zoo, inputs):
    model = shaken(zoo("causalint"))
    rows = replace(inputs(20), scenario=torch.ones(20, dtype=torch.int64))
    model(rows).sum().backward()
    touched = model.imagine.weight.grad.abs().sum((1, 2)) > 0
    assert touched.tolist() == [False, True, False]


def test_causalint_charges_scenarios_whose_gradients_overlap(zoo):
    model = zoo("causalint")
    at = torch.zeros(3, 4, requires_grad=True)
    scenario = torch.tensor([0, 1, 2])

    def charge(*gradients: list[float]) -> float:
        return model._conflict((at * torch.tensor(gradients)).sum(), at, scenario).item()

    assert charge([1.0, 0, 0, 0], [0.0, 2, 0, 0], [0.0, 0, 3, 0]) == 0
    assert charge([1.0, 0, 0, 0], [3.0, 2, 0, 0], [0.0, 0, 3, 0]) == pytest.approx(4.5)
    assert charge([1.0, 0, 0, 0], [0.0, 0, 0, 0], [2.0, 0, 3, 0]) == pytest.approx(2)


def test_tamls_score_is_the_mean_of_its_learners_who_are_drawn_to_it(zoo, inputs):
    model, (rows, labels) = shaken(zoo("taml")), rows_of(inputs, 3, 2)
    each = torch.sigmoid(model.learners(rows))
    mean = each.mean(2)
    assert torch.allclose(torch.sigmoid(model(rows)), mean, atol=1e-6)
    apart = functional.binary_cross_entropy(each, labels[:, :, None].expand_as(each))
    drawn = mean[:, :, None] * (mean[:, :, None] / each).log()
    drawn = drawn + (1 - mean[:, :, None]) * ((1 - mean[:, :, None]) / (1 - each)).log()
    wanted = functional.binary_cross_entropy(mean, labels) + apart + 0.5 * drawn.mean()
    assert model.loss(rows, labels, evenly(2)).item() == pytest.approx(wanted.item(), rel=1e-4)


def test_hinet_looks_at_every_scenario_but_the_rows_own(zoo):
    share = shaken(zoo("hinet", 4)).attention(torch.arange(4)).squeeze(1)
    assert torch.allclose(share.sum(1), torch.ones(4))
    assert (share.diagonal() == 0).all() and (share > 0).sum() == 12


def test_the_small_network_of_dffm_is_the_scenarios_own(zoo):
    domain, fields = shaken(zoo("dffm")).domain, torch.randn(3, 5, 8)
    said = domain(fields, torch.tensor([2, 0, 2]))
    for row, k in enumerate((2, 0, 2)):
        h = fields[row]
        for layer in domain.embedding[k].view(2, 9, 8):
            h = h + torch.tanh(h @ layer[:8] + layer[8])
        assert torch.allclose(said[row], h, atol=1e-6)


def test_dffm_attends_to_the_tokens_of_a_history_and_finds_nothing_in_an_empty_one(zoo, inputs):
    model, rows = shaken(zoo("dffm")), inputs(40)
    (history,) = model.histories
    x, known = model.reader(rows), model.domain.weights(rows.scenario)
    found = history(model.reader.embeddings, rows, x, known)
    empty = rows.index[:, 2] < 0
    assert empty.any() and (found[empty] == 0).all() and (found[~empty] != 0).any(1).all()
    table = model.reader.embeddings.tables[0].weight
    for row in torch.where(~empty)[0].tolist():
        tokens = table[1 + rows.index[row, 2:][rows.index[row, 2:] >= 0].long()]
        asked = torch.cat([table[1 + rows.index[row, 0].long()], known[row]])
        share = torch.softmax(history.key(tokens) @ history.query(asked) / 8**0.5, 0)
        assert torch.allclose(found[row], share @ history.value(tokens), atol=1e-5)


def test_pepnet_takes_every_column_of_one_value_for_the_prior_where_the_spec_names_no_id(zoo):
    assert zoo("pepnet").prior == (0,)
    assert zoo("pepnet", ids=()).prior == (0, 1)
