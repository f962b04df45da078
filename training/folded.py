"""AutoIFS with constant masks as plain layers: what a model costs once its flows are chosen."""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from training.autoifs import AutoIFS
from training.blocks import ScenarioLayer, TaskUnits
from training.model import Model
from training.prepare import Inputs


def fold(model: Model) -> Model:
    """Return a model that predicts the same from fewer multiplications, or ``model`` itself.

    Only AutoIFS folds, and only when its masks are the same for all rows of a cell.
    """
    if isinstance(model, AutoIFS) and model.table() is not None:
        return Folded(model)
    return model


class Folded(Model):
    """An :class:`AutoIFS` whose masks do not depend on the row, a scenario at a time.

    Each scenario has its own merged matrices ``W + A_k B_k``. Strengths and a task's shared and own
    vectors become one vector for each cell: ``a_0 w + a_2 v_m`` reads the shared part of the last
    scenario layer, ``a_3 w + a_1 v_m`` the specific one. A part that no cell reads is left out.
    """

    def __init__(self, model: AutoIFS) -> None:
        """Fold ``model``; its embeddings and trunk are shared with it, not copied."""
        super().__init__(model.architecture)
        self.embeddings, self.trunk = model.embeddings, model.trunk
        with torch.no_grad():
            parts = [_Scenario(model, k) for k in range(model.architecture.scenarios)]
        self.scenarios = nn.ModuleList(parts)
        self.eval().requires_grad_(False)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]."""
        h = self.trunk(torch.cat([self.embeddings(inputs), inputs.numbers], dim=1))
        count = torch.bincount(inputs.scenario, minlength=len(self.scenarios)).tolist()
        there = [k for k, rows in enumerate(count) if rows] or [0]
        if len(there) == 1:
            return cast(Tensor, self.scenarios[there[0]](h))
        order = inputs.scenario.argsort(stable=True)
        parts = h.index_select(0, order).split(count)
        said = torch.cat([self.scenarios[k](parts[k]) for k in there])
        return torch.empty_like(said).index_copy_(0, order, said)


class _Scenario(nn.Module):
    """What one scenario's rows go through after the trunk."""

    def __init__(self, model: AutoIFS, k: int) -> None:
        super().__init__()
        a = model.architecture
        *below, last = cast(list[ScenarioLayer], list(model.layers))
        merged = [part for layer in below for part in (_merged(layer, k), nn.ReLU())]
        self.below = nn.Sequential(*merged)
        exists = torch.tensor(a.cells[k], dtype=torch.float32)
        keep = cast(Tensor, model.table())[k].cpu() * exists[:, None]
        readers = _additive if a.form == "additive" else _official
        self.readers = nn.ModuleList(readers(model, last, k, keep))
        self.register_buffer("bias", _bias(model, k, keep), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        """Return the logits [n, M] of rows whose trunk says ``h``."""
        h = self.below(h)
        said = cast(Tensor, self.bias).expand(len(h), -1)
        for reader in self.readers:
            said = said + reader(h)
        return said


def _additive(model: AutoIFS, last: ScenarioLayer, k: int, keep: Tensor) -> Iterator[nn.Sequential]:
    """Yield what reads the activated shared part, and the specific one, where a cell does."""
    if keep[:, [0, 2]].any():
        yield nn.Sequential(last.shared, nn.ReLU(), _reader(model.units, keep[:, 0], keep[:, 2]))
    if keep[:, [1, 3]].any():
        reader = _reader(model.units, keep[:, 3], keep[:, 1])
        yield nn.Sequential(_specific(last, k), nn.ReLU(), reader)


def _official(model: AutoIFS, last: ScenarioLayer, k: int, keep: Tensor) -> Iterator[nn.Sequential]:
    """Yield the fused term, and what reads the parts that are subtracted from it."""
    one = torch.ones(model.architecture.tasks)
    joined = _Joined(model.units) if len(model.units.layers) else _reader(model.units, one, one)
    yield nn.Sequential(_merged(last, k), nn.ReLU(), joined)
    less = keep - 1
    if less[:, [0, 2]].any():
        yield nn.Sequential(last.shared, _reader(model.units, less[:, 0], less[:, 2]))
    if less[:, [1, 3]].any():
        yield nn.Sequential(_specific(last, k), _reader(model.units, less[:, 3], less[:, 1]))


def _bias(model: AutoIFS, k: int, keep: Tensor) -> Tensor:
    if model.architecture.form == "additive":
        return model.cell_bias[k].detach().clone()
    less = keep - 1
    common, own = 1 + less[:, 0] + less[:, 3], 1 + less[:, 1] + less[:, 2]
    return common * model.shared_bias + own * model.task_bias


def _merged(layer: ScenarioLayer, k: int) -> nn.Linear:
    """Return the sum of a scenario layer's parts as one plain layer."""
    down, up = (part.double() for part in layer.own(k))
    return _linear(
        layer.shared.weight.double() + (down @ up).t(), layer.shared.bias + layer.bias[k]
    )


def _specific(layer: ScenarioLayer, k: int) -> nn.Sequential:
    """Return a scenario's own part: two thin layers."""
    down, up = layer.own(k)
    return nn.Sequential(_linear(down.t()), _linear(up.t(), layer.bias[k]))


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Return a layer with that weight [out, in]."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.copy_(weight)
    if bias is not None:
        layer.bias.copy_(bias)
    return layer


def _reader(units: TaskUnits, common: Tensor, own: Tensor) -> nn.Module:
    """Return what both units say of one scenario part, times their strengths [M]."""
    common = common[:, None] * units.heads.shared
    own = own[:, None] * units.heads.specific
    return _Reader(units, common, own) if len(units.layers) else _linear(common + own)


class _Reader(nn.Module):
    """Hidden task layers; a unit that no task reads is left out."""

    def __init__(self, units: TaskUnits, common: Tensor, own: Tensor) -> None:
        super().__init__()
        self.units = units
        self.common = _linear(common) if common.any() else None
        self.own = nn.Parameter(own) if own.any() else None

    def forward(self, values: Tensor) -> Tensor:
        """Return what is added to the logits [n, M] for a scenario part's values [n, H]."""
        said = []
        if self.common is not None:
            said.append(self.common(self.units.common(values)))
        if self.own is not None:
            said.append((self.units.own(values) * self.own).sum(2))
        return cast(Tensor, sum(said))


class _Joined(nn.Module):
    """The official form's fused term, without its biases, when task layers are hidden."""

    def __init__(self, units: TaskUnits) -> None:
        super().__init__()
        self.units = units

    def forward(self, values: Tensor) -> Tensor:
        """Return the term, [n, M]."""
        return self.units.joined(values)
