"""The models by name."""

import torch
from torch import nn

from training.architecture import Architecture
from training.autoifs import AutoIFS
from training.shared_bottom import SharedBottom

Model = AutoIFS | SharedBottom
MODELS: dict[str, type[AutoIFS] | type[SharedBottom]] = {
    "autoifs": AutoIFS,
    "shared_bottom": SharedBottom,
}


def build(architecture: Architecture, seed: int) -> Model:
    """Return a model with the weights that ``seed`` gives, leaving torch's own generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[architecture.kind](architecture)


def parameters_of(model: nn.Module) -> int:
    """Return how many trained numbers ``model`` has."""
    return sum(parameter.numel() for parameter in model.parameters())
