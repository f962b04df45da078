"""What the trainer, the artifact and the jobs ask of every model of the zoo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from features.errors import ArtifactError
from training.architecture import Architecture
from training.embeddings import Embeddings
from training.losses import masked_loss
from training.prepare import Inputs

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Begin:
    """Where a parameter has its scenarios' parts, and how a new one's begins."""

    dim: int
    """The dimension along which one scenario's part follows another's."""
    value: float | None = None
    """What a new part is filled with; None: the mean of the others."""
    fresh: bool = False
    """Whether a new part stays as it was drawn."""

    def joined(self, old: Tensor, drawn: Tensor, scenarios: Sequence[int | None]) -> Tensor:
        """Return the parts of ``old`` where they now belong, and new ones beside them."""
        known = 1 + max(place for place in scenarios if place is not None)
        parts, found = self._apart(old, known), self._apart(drawn, len(scenarios)).clone()
        for k, place in enumerate(scenarios):
            if place is not None:
                found.select(self.dim, k).copy_(parts.select(self.dim, place))
            elif self.value is not None:
                found.select(self.dim, k).fill_(self.value)
            elif not self.fresh:
                found.select(self.dim, k).copy_(parts.mean(self.dim))
        return found.flatten(self.dim, self.dim + 1)

    def _apart(self, whole: Tensor, parts: int) -> Tensor:
        shape = whole.shape
        return whole.reshape(*shape[: self.dim], parts, -1, *shape[self.dim + 1 :])


class Model(nn.Module):
    """A network for K scenarios and M tasks.

    Only ``forward`` must be written. A method that learns from more than its logits says so in
    ``loss`` or ``held_out``; the trainer knows no other difference between models. One that is no
    network says how it is written and read.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Remember what the model is built from."""
        super().__init__()
        self.architecture = architecture

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits [n, M] of ``P(label = 1)``; a row's do not depend on other rows.

        A cell that does not exist gets some finite number, which nobody reads.
        """
        raise NotImplementedError

    def loss(self, inputs: Inputs, labels: Tensor, weights: Tensor) -> Tensor:
        """Return what one training step makes smaller; by default the masked cross-entropy.

        Args:
            inputs: ``n`` rows, at least one.
            labels: [n, M], NaN where missing or where the cell does not exist.
            weights: [M], weight of one label of the task, or [n, M], of each label.
        """
        return masked_loss(self(inputs), labels, weights)

    def held_out(self) -> list[nn.Parameter]:
        """Return the parameters that learn from rows the other parameters never see.

        By default there are none. For those named, the trainer sets some of the training rows
        aside and, after each step of the others, takes a step on a batch of them.
        """
        return []

    def gate_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that have the gates' learning rate and no average; none here."""
        return []

    def new_scenario(self) -> Mapping[str, "Begin"]:
        """Return how a new scenario's part of each parameter begins, for a model with shared ones.

        By default nothing: a scenario can't be added to what was learned.
        """
        return {}

    @torch.no_grad()
    def adopt(self, earlier: "Model", scenarios: Sequence[int | None]) -> None:
        """Start from the weights of a model of the same schema, gates left out.

        Args:
            earlier: may know fewer tokens and scenarios.
            scenarios: the place that each scenario has in ``earlier``; None: it is new.
        """
        tables = {name: one for name, one in self.named_modules() if isinstance(one, Embeddings)}
        for name, table in tables.items():
            table.adopt(cast(Embeddings, earlier.get_submodule(name)))
        gates = {id(one) for one in self.gate_parameters()}
        before, begins = earlier.state_dict(), self.new_scenario()
        apart = tuple(f"{name}." for name in tables)
        for name, held in self.state_dict(keep_vars=True).items():
            if name in begins:
                held.copy_(begins[name].joined(before[name], held, scenarios))
            elif id(held) not in gates and not name.startswith(apart):
                held.copy_(before[name])

    def size(self) -> int:
        """Return how many trained numbers the model has."""
        return sum(parameter.numel() for parameter in self.parameters())

    def write(self, folder: Path) -> None:
        """Write what was learned to files in ``folder``, without pickle."""
        state = {name: one.detach().cpu().contiguous() for name, one in self.state_dict().items()}
        save_file(state, folder / WEIGHTS)

    def read(self, folder: Path) -> None:
        """Take over what :meth:`write` wrote.

        Raises:
            ArtifactError: when the files are not of a model of this shape.
        """
        try:
            self.load_state_dict(load_file(folder / WEIGHTS))
        except Exception as error:  # safetensors and torch raise kinds of their own
            reason = str(error).splitlines()[0]
            raise ArtifactError(
                f"{folder.name}/{WEIGHTS} does not fit: {reason}; train again"
            ) from None
