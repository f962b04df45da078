"""The models by name."""

import torch

from training.aitm import AITM
from training.architecture import Architecture, Kind
from training.autoifs import AutoIFS
from training.causalint import CausalInt
from training.dffm import DFFM
from training.esmm import ESMM
from training.hinet import HiNet
from training.lightgbm import LightGBM
from training.m3oe import M3oE
from training.mlp_per_cell import MLPPerCell
from training.mlp_per_task import MLPPerTask
from training.mmoe import MMoE
from training.model import Model
from training.pepnet import PEPNet
from training.ple import PLE
from training.shared_bottom import SharedBottom
from training.star import STAR
from training.taml import TAML

MODELS: dict[Kind, type[Model]] = {
    "autoifs": AutoIFS,
    "shared_bottom": SharedBottom,
    "mlp_per_cell": MLPPerCell,
    "mlp_per_task": MLPPerTask,
    "mmoe": MMoE,
    "ple": PLE,
    "star": STAR,
    "pepnet": PEPNet,
    "esmm": ESMM,
    "aitm": AITM,
    "m3oe": M3oE,
    "hinet": HiNet,
    "causalint": CausalInt,
    "taml": TAML,
    "dffm": DFFM,
    "lightgbm": LightGBM,
}


def build(architecture: Architecture, seed: int) -> Model:
    """Return a model with the weights that ``seed`` gives, leaving torch's own generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[architecture.kind](architecture)
