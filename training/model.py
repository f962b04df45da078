"""What the trainer, the artifact and the jobs ask of every model of the zoo."""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from features.errors import ArtifactError
from training.architecture import Architecture
from training.losses import masked_loss
from training.prepare import Inputs

WEIGHTS = "model.safetensors"


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
