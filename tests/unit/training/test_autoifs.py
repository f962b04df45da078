import numpy as np
import pytest
import torch

from training.autoifs import AutoIFS
from training.scores import predict
from training.shared_bottom import SharedBottom
from training.zoo import build

SHAPES = [(k, m) for k in (1, 2, 3, 5) for m in (1, 2, 3)]
FORMS = [
    ("additive", "table"),
    ("additive", "instance"),
    ("official", "table"),
    ("official", "instance"),
]


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


@pytest.mark.parametrize(("form", "gates"), FORMS)
@pytest.mark.parametrize(("scenarios", "tasks"), SHAPES)
def test_any_number_of_scenarios_and_tasks_gives_a_logit_each(
    architecture, inputs, scenarios, tasks, form, gates
):
    model = build(architecture(scenarios, tasks, form=form, gates=gates), 1)
    logits, flows, keep = model.parts(inputs(20, scenarios))
    assert logits.shape == (20, tasks)
    assert flows.shape == keep.shape == (20, tasks, 4)
    assert ((keep >= 0) & (keep <= 1)).all()


@pytest.mark.parametrize(("scenarios", "tasks"), SHAPES)
def test_the_official_form_equals_its_formula_written_out_in_numpy(
    architecture, inputs, scenarios, tasks
):
    a = architecture(scenarios, tasks, form="official", gates="instance", scenario=(8,))
    model, rows = shaken(build(a, 1)), inputs(15, scenarios)
    model.gates.temperature = 3.0
    assert np.abs(predict(model, rows).numpy() - official(model, rows)).max() < 1e-5


def official(model: AutoIFS, rows) -> np.ndarray:
    """The forward pass of the paper's code, a row and a task at a time."""
    a, relu = model.architecture, lambda v: np.maximum(v, 0)
    w = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
    x0 = np.concatenate([model.embeddings(rows).detach().numpy(), rows.numbers.numpy()], 1)
    said = np.zeros((len(rows), a.tasks))
    for row, x in enumerate(x0.astype(np.float64)):
        k = int(rows.scenario[row])
        h = relu(w["trunk.0.weight"] @ x + w["trunk.0.bias"])
        s_sh = w["layers.0.shared.weight"] @ h + w["layers.0.shared.bias"]
        own = slice(k * a.rank, (k + 1) * a.rank)
        s_k = (h @ w["layers.0.down"][:, own]) @ w["layers.0.up"][own] + w["layers.0.bias"][k]
        s = relu(s_sh + s_k)
        seen = np.concatenate([x, np.eye(a.scenarios)[k]])
        g = relu(w["gates.net.0.weight"] @ seen + w["gates.net.0.bias"])
        g = (w["gates.net.2.weight"] @ g + w["gates.net.2.bias"]).reshape(a.tasks, 4)
        removed = 1 / (1 + np.exp(-3.0 * g))
        for m in range(a.tasks):

            def u_sh(v):
                return v @ w["heads.shared"] + w["shared_bias"][0]

            def u_m(v, m=m):
                return v @ w["heads.specific"][m] + w["task_bias"][m]

            f = [u_sh(s_sh), u_m(s_k), u_m(s_sh), u_sh(s_k)]
            said[row, m] = u_sh(s) + u_m(s) - sum(removed[m][j] * f[j] for j in range(4))
    return said


def test_the_additive_form_is_the_sum_of_the_flows_that_are_kept(architecture, inputs):
    model, rows = shaken(build(architecture(), 1)), inputs(15)
    logits, flows, keep = model.parts(rows)
    bias = model.cell_bias[rows.scenario]
    assert torch.allclose(logits, (keep * flows).sum(2) + bias, atol=1e-6)
    with torch.no_grad():
        model.coefficients.strength.zero_()
    assert torch.allclose(model(rows), bias, atol=1e-6)


def test_a_pruned_specific_flow_makes_the_scenarios_own_layer_irrelevant(architecture, inputs):
    model, rows = shaken(build(architecture(), 1)), inputs(15)
    with torch.no_grad():
        model.coefficients.strength[..., [1, 3]] = 0
    before = model(rows)
    with torch.no_grad():
        model.layers[-1].up.add_(1.0)
        model.layers[-1].bias.add_(1.0)
    assert torch.equal(before, model(rows))


@pytest.mark.parametrize(("form", "gates"), FORMS)
@pytest.mark.parametrize("scenario", [(8,), (8, 6)])
def test_every_parameter_receives_gradient(architecture, inputs, form, gates, scenario):
    model = shaken(build(architecture(form=form, gates=gates, scenario=scenario), 1))
    (model(inputs(200)) * torch.randn(200, 2)).sum().backward()
    silent = [name for name, one in model.named_parameters() if not one.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize(("form", "gates"), FORMS)
def test_the_scenarios_own_part_learns_from_the_first_step_or_from_the_second(
    architecture, examples, settings, form, gates
):
    from training.trainer import Trainer, constant

    model = build(architecture(form=form, gates=gates), 1)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    trainer = Trainer(model, examples(), examples(seed=1), settings())
    trainer.run("x", 4, constant, keep="last")
    still = [n for n, one in model.named_parameters() if torch.equal(one, before[n])]
    assert still == []


@pytest.mark.parametrize(("form", "gates"), FORMS)
def test_a_rows_prediction_does_not_depend_on_the_rows_beside_it(architecture, inputs, form, gates):
    model, rows = shaken(build(architecture(form=form, gates=gates, dropout=0.5), 1)), inputs(30)
    together = predict(model, rows)
    alone = torch.cat([predict(model, rows.narrow(i, 1)) for i in range(30)])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("form", ["additive", "official"])
def test_instance_gates_look_at_the_embeddings_without_training_them(architecture, inputs, form):
    model = shaken(build(architecture(form=form, gates="instance"), 1))
    model.parts(inputs())[2].sum().backward()
    touched = {name for name, one in model.named_parameters() if one.grad is not None}
    assert touched == {name for name, _ in model.named_parameters() if name.startswith("gates.")}


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
    assert not torch.equal(other["heads.shared"], first.heads.shared)
