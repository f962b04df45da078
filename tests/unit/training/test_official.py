"""The paper's equations written out in NumPy, a row at a time, and what is held to them."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from jobs.bench.literal_autoifs import LiteralAutoIFS, LiteralSteps, Published
from training.autoifs import AutoIFS
from training.prepare import Inputs
from training.scores import predict
from training.zoo import build


@dataclass
class Unit:
    """One layer of a scenario or a task unit: what all share and what each part owns."""

    kernel: np.ndarray
    """[in, out]"""
    bias: np.ndarray
    """[out]"""
    own: list[np.ndarray]
    """For each part A B, or a full matrix: [in, out]."""
    own_bias: list[np.ndarray]
    """For each part [out]."""

    def shared(self, v: np.ndarray) -> np.ndarray:
        return v @ self.kernel + self.bias

    def specific(self, v: np.ndarray, part: int) -> np.ndarray:
        return v @ self.own[part] + self.own_bias[part]


def relu(v: np.ndarray) -> np.ndarray:
    return np.maximum(v, 0)


def official(
    h: np.ndarray, k: int, scenario: list[Unit], task: list[Unit], gates: np.ndarray
) -> np.ndarray:
    """Return one row's logits [M] from the trunk's output and its gates [M, 4].

    arXiv 2512.13396, equations of the forward pass, for any number of layers: all but the last
    layer of a unit activate the sum of both parts; a flow goes through the same part of every
    layer of the task unit, with the activation in between.
    """
    for layer in scenario[:-1]:
        h = relu(layer.shared(h) + layer.specific(h, k))
    s_sh, s_k = scenario[-1].shared(h), scenario[-1].specific(h, k)
    logits = []
    for m, gate in enumerate(gates):
        fused = relu(s_sh + s_k)
        for layer in task[:-1]:
            fused = relu(layer.shared(fused) + layer.specific(fused, m))
        fused = task[-1].shared(fused) + task[-1].specific(fused, m)

        def u_sh(v: np.ndarray) -> np.ndarray:
            for layer in task[:-1]:
                v = relu(layer.shared(v))
            return task[-1].shared(v)

        def u_m(v: np.ndarray, m: int = m) -> np.ndarray:
            for layer in task[:-1]:
                v = relu(layer.specific(v, m))
            return task[-1].specific(v, m)

        flows = [u_sh(s_sh), u_m(s_k), u_m(s_sh), u_sh(s_k)]
        logits.append(fused - sum(g * f for g, f in zip(gate, flows, strict=True)))
    return np.concatenate(logits)


@pytest.mark.parametrize(("scenarios", "tasks"), [(1, 1), (3, 2), (2, 5), (20, 3)])
@pytest.mark.parametrize("ticket", [False, True])
def test_the_literal_network_equals_the_equations(scenarios, tasks, ticket):
    torch.manual_seed(scenarios)
    model = LiteralAutoIFS(
        rows=30, fields=4, dim=3, trunk=(9, 8), scenario=6, scenarios=scenarios, tasks=tasks, rank=2
    )
    with torch.no_grad():
        for one in model.parameters():
            one.add_(0.3 * torch.randn_like(one))
    model.temperature = 3.0
    if ticket:
        model.harden()
        with torch.no_grad():
            model.embedding.weight.add_(0.1)
    index = torch.randint(0, 30, (12, 4))
    scenario = torch.randint(0, scenarios, (12,))
    said = model(index, scenario).detach().numpy()
    assert np.abs(said - transcribed(model, index.numpy(), scenario.numpy())).max() < 1e-5


def transcribed(model: LiteralAutoIFS, index: np.ndarray, scenario: np.ndarray) -> np.ndarray:
    """The literal network's logits by the equations, gates included."""
    w = {name: one.detach().double().numpy() for name, one in model.state_dict().items()}

    def mlp(name: str, v: np.ndarray) -> np.ndarray:
        for place in (0, 2):
            v = relu(w[f"{name}.{place}.weight"] @ v + w[f"{name}.{place}.bias"])
        return v

    def unit(name: str) -> Unit:
        own = [a @ b for a, b in zip(w[f"{name}_a"], w[f"{name}_b"], strict=True)]
        return Unit(w[f"{name}_kernel"], w[f"{name}_bias"], own, list(w[f"{name}_own"]))

    said = []
    for tokens, k in zip(index, scenario, strict=True):
        x = w["embedding.weight"][tokens].ravel()
        seen = w["gate_embedding.weight"][tokens].ravel() if model.ticket else x
        h = mlp("gate_hypernet", seen)
        raw = [
            w[f"gate_heads.{m}.weight"] @ h + w[f"gate_heads.{m}.bias"] for m in range(model.tasks)
        ]
        gates = np.array(raw) > 0 if model.ticket else 1 / (1 + np.exp(-3.0 * np.array(raw)))
        said.append(official(mlp("share_mlp", x), k, [unit("d")], [unit("t")], gates))
    return np.array(said)


LAYERS = [((8,), (), 2), ((8, 6), (5,), 2), ((7,), (6, 4), (2, 3, 1)), ((8, 7, 6), (), (1, 2, 4))]
"""Widths of the scenario layers, of the hidden task layers, and ranks."""


@pytest.mark.parametrize(("scenario", "task", "rank"), LAYERS)
@pytest.mark.parametrize(("scenarios", "tasks"), [(1, 1), (3, 2), (2, 5), (20, 3)])
@pytest.mark.parametrize("hard", [False, True])
def test_the_official_form_equals_the_equations(
    architecture, inputs, scenarios, tasks, scenario, task, rank, hard
):
    shape = {"scenario": scenario, "task": task, "rank": rank}
    a = architecture(scenarios, tasks, form="official", gates="instance", **shape)
    model, rows = build(a, 1), inputs(15, scenarios)
    torch.manual_seed(3)
    with torch.no_grad():
        for one in model.parameters():
            one.add_(0.3 * torch.randn_like(one))
        model.gates.net[2].bias.add_(1.0)
    model.gates.temperature, model.gates.hard = 3.0, hard
    said = predict(model, rows).numpy()
    assert np.abs(said - written_out(model, rows, hard)).max() < 1e-5


def written_out(model: AutoIFS, rows: Inputs, hard: bool) -> np.ndarray:
    """Our network's logits by the equations; its heads' full vectors stand in for A B."""
    a = model.architecture
    w = {name: one.detach().double().numpy() for name, one in model.state_dict().items()}
    scenario = []
    for place, out in enumerate(a.scenario):
        down, up = w[f"layers.{place}.down"], w[f"layers.{place}.up"]
        parts = [slice(k * a.rank[place], (k + 1) * a.rank[place]) for k in range(a.scenarios)]
        own = [down[:, part] @ up[part] for part in parts]
        kernel = w[f"layers.{place}.shared.weight"].T
        bias, own_bias = w[f"layers.{place}.shared.bias"], list(w[f"layers.{place}.bias"])
        assert kernel.shape[1] == out
        scenario.append(Unit(kernel, bias, own, own_bias))
    task = []
    for place in range(len(a.task)):
        name = f"units.layers.{place}"
        own = [d @ u for d, u in zip(w[f"{name}.down"], w[f"{name}.up"], strict=True)]
        kernel, bias = w[f"{name}.shared.weight"].T, w[f"{name}.shared.bias"]
        task.append(Unit(kernel, bias, own, list(w[f"{name}.bias"])))
    vectors = [vector[:, None] for vector in w["units.heads.specific"]]
    task.append(
        Unit(
            w["units.heads.shared"][:, None],
            w["shared_bias"],
            vectors,
            list(w["task_bias"][:, None]),
        )
    )
    x0 = np.concatenate([model.embeddings(rows).detach().numpy(), rows.numbers.numpy()], 1)
    said = []
    for x, k in zip(x0.astype(np.float64), rows.scenario.tolist(), strict=True):
        h = relu(w["trunk.0.weight"] @ x + w["trunk.0.bias"])
        seen = np.concatenate([x, np.eye(a.scenarios)[k]])
        g = relu(w["gates.net.0.weight"] @ seen + w["gates.net.0.bias"])
        raw = (w["gates.net.2.weight"] @ g + w["gates.net.2.bias"]).reshape(a.tasks, 4)
        said.append(official(h, k, scenario, task, raw > 0 if hard else 1 / (1 + np.exp(-3 * raw))))
    return np.array(said)


def test_a_literal_search_step_trains_all_but_the_second_table_and_retraining_all_but_the_gates():
    torch.manual_seed(0)
    model = LiteralAutoIFS(
        rows=30, fields=4, dim=3, trunk=(9, 8), scenario=6, scenarios=3, tasks=2, rank=2
    )
    rows = (torch.randint(0, 30, (64, 4)), torch.randint(0, 3, (64,)), torch.rand(64, 2).round())

    def moved(steps: LiteralSteps) -> set[str]:
        before = {name: one.detach().clone() for name, one in model.named_parameters()}
        for _ in range(2):
            steps.step(*rows)
        return {n for n, one in model.named_parameters() if not torch.equal(one, before[n])}

    names = {name for name, _ in model.named_parameters()}
    searched = moved(LiteralSteps(model, Published()))
    assert searched == names - {"gate_embedding.weight"}
    model.harden()
    retrained = moved(LiteralSteps(model, Published()))
    assert retrained == {name for name in names if "gate" not in name}
