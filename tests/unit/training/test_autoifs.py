from dataclasses import replace

import pytest
import torch

from training.autoifs import AutoIFS
from training.scores import predict
from training.shared_bottom import SharedBottom
from training.zoo import build

SHAPES = [(k, m) for k in (1, 2, 3, 20) for m in (1, 2, 3, 5)]
CONTEXT = (1, 4)
"""The second category, and the second number, which follows three embeddings."""
FORMS = [
    {"form": form, "gates": gates, "context": CONTEXT if gates == "context" else ()}
    for form in ("additive", "official")
    for gates in ("strength", "table", "instance", "context")
]
DEEP = [{}, {"scenario": (8, 6), "task": (7, 5), "rank": (2, 3, 1, 2)}]


def every(*choices):
    """Parametrise ``a`` with what an architecture may be: forms and gates, shallow and deep."""
    found = [{**form, **deep} for form in choices or FORMS for deep in DEEP]
    names = ["-".join(filter(None, map(str, one.values()))) for one in found]
    return pytest.mark.parametrize("a", found, ids=names)


def shaken(model):
    """Give every parameter a value of its own, so that nothing is hidden by a zero start."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for table in model.embeddings.tables:
            table.weight[0] = 0
        if isinstance(model, AutoIFS) and model.coefficients is not None:
            model.coefficients.strength.clamp_(0.1, 1)
    return model


@every()
@pytest.mark.parametrize(("scenarios", "tasks"), SHAPES)
def test_any_number_of_scenarios_and_tasks_gives_a_logit_each(
    architecture, inputs, scenarios, tasks, a
):
    model = build(architecture(scenarios, tasks, **a), 1)
    logits, flows, keep = model.parts(inputs(20, scenarios))
    assert logits.shape == (20, tasks)
    assert flows.shape == keep.shape == (20, tasks, 4)
    assert ((keep >= 0) & (keep <= 1)).all()


@pytest.mark.parametrize("deep", DEEP)
def test_the_additive_form_is_the_sum_of_the_flows_that_are_kept(architecture, inputs, deep):
    model, rows = shaken(build(architecture(**deep), 1)), inputs(15)
    logits, flows, keep = model.parts(rows)
    bias = model.cell_bias[rows.scenario]
    assert torch.allclose(logits, (keep * flows).sum(2) + bias, atol=1e-6)
    with torch.no_grad():
        model.coefficients.strength.zero_()
    assert torch.allclose(model(rows), bias, atol=1e-6)


@pytest.mark.parametrize("deep", DEEP)
def test_a_pruned_specific_flow_makes_the_scenarios_own_layer_irrelevant(
    architecture, inputs, deep
):
    model, rows = shaken(build(architecture(**deep), 1)), inputs(15)
    with torch.no_grad():
        model.coefficients.strength[..., [1, 3]] = 0
    before = model(rows)
    with torch.no_grad():
        model.layers[-1].up.add_(1.0)
        model.layers[-1].bias.add_(1.0)
    assert torch.equal(before, model(rows))


@pytest.mark.parametrize("deep", DEEP)
def test_a_pruned_task_flow_makes_the_tasks_own_layers_irrelevant(architecture, inputs, deep):
    model, rows = shaken(build(architecture(**deep), 1)), inputs(15)
    with torch.no_grad():
        model.coefficients.strength[..., [1, 2]] = 0
    before = model(rows)
    with torch.no_grad():
        model.units.heads.specific.add_(1.0)
        for layer in model.units.layers:
            layer.up.add_(1.0)
    assert torch.equal(before, model(rows))


@every()
def test_every_parameter_receives_gradient(architecture, inputs, a):
    model = shaken(build(architecture(**a), 1))
    (model(inputs(200)) * torch.randn(200, 2)).sum().backward()
    silent = [name for name, one in model.named_parameters() if not one.grad.abs().sum() > 0]
    assert silent == []


@every()
def test_the_scenarios_own_part_learns_from_the_first_step_or_from_the_second(
    architecture, examples, settings, a
):
    from training.trainer import Trainer, constant

    model = build(architecture(**a), 1)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    trainer = Trainer(model, examples(), examples(seed=1), settings())
    trainer.run("x", 4, constant, keep="last")
    still = [n for n, one in model.named_parameters() if torch.equal(one, before[n])]
    assert still == []


@every()
def test_a_rows_prediction_does_not_depend_on_the_rows_beside_it(architecture, inputs, a):
    model, rows = shaken(build(architecture(**a, dropout=0.5), 1)), inputs(30)
    together = predict(model, rows)
    alone = torch.cat([predict(model, rows.narrow(i, 1)) for i in range(30)])
    assert torch.allclose(together, alone, atol=1e-5)


@every(*(form for form in FORMS if form["gates"] in ("instance", "context")))
def test_nets_of_gates_look_at_the_embeddings_without_training_them(architecture, inputs, a):
    model = shaken(build(architecture(**a), 1))
    model.parts(inputs())[2].sum().backward()
    touched = {name for name, one in model.named_parameters() if one.grad is not None}
    assert touched == {name for name, _ in model.named_parameters() if name.startswith("gates.")}


def test_context_gates_read_their_columns_and_the_scenario_alone(architecture, inputs):
    model, rows = shaken(build(architecture(gates="context", context=CONTEXT), 1)), inputs(40)

    def kept(column: int | None = None, number: int | None = None) -> torch.Tensor:
        index, numbers = rows.index.clone(), rows.numbers.clone()
        if column is not None:
            index[:, column] = index[:, column].flip(0)
        if number is not None:
            numbers[:, number] += 1
        return model.parts(replace(rows, index=index, numbers=numbers))[2]

    assert torch.equal(kept(), kept(column=0)) and torch.equal(kept(), kept(number=0))
    assert not torch.equal(kept(), kept(column=1)) and not torch.equal(kept(), kept(number=1))


def test_the_shared_bottom_reads_the_head_of_the_rows_scenario(architecture, inputs):
    model, rows = build(architecture(kind="shared_bottom"), 1), inputs(30)
    assert isinstance(model, SharedBottom)
    before = model(rows)
    with torch.no_grad():
        model.heads.bias.view(3, 2)[1] += 1.0
    moved = (model(rows) - before)[:, 0]
    assert torch.allclose(moved, (rows.scenario == 1).float(), atol=1e-6)


def test_the_same_seed_builds_the_same_weights_and_leaves_torchs_generator_alone(architecture):
    torch.manual_seed(11)
    wanted = torch.rand(1)
    torch.manual_seed(11)
    first, second = build(architecture(), 4), build(architecture(), 4)
    assert torch.equal(torch.rand(1), wanted)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    other = build(architecture(), 5).state_dict()
    assert not torch.equal(other["units.heads.shared"], first.units.heads.shared)
