"""How a model is trained, whatever the model: what the spec says, on this machine."""

import os
from dataclasses import dataclass, field
from typing import Literal

import torch

from features.errors import TrainingError
from features.spec.model import Spec
from features.spec.policy import Embeddings, Loss

THREADS_VARIABLE = "AUTOIFS_THREADS"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is trained, whatever the model."""

    batch: int
    """Rows a step."""
    learning_rate: float
    gate_learning_rate: float
    """Of gates, and of whatever a model learns from held-out rows."""
    ema: float
    """Decay of the weights' moving average a step; 0 turns it off."""
    seed: int
    device: torch.device
    task_weights: tuple[float, ...]
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the products inside the network while it trains."""
    compile: bool = False
    loss: Loss = field(default_factory=Loss)
    embeddings: Embeddings = field(default_factory=Embeddings)


def prepare_torch() -> None:
    """Set what must hold for the whole process: threads, denormals, repeatable kernels.

    Without flushing, training slows down several times once weights decay into denormals; one
    thread is steadier than two beside other work (``AUTOIFS_THREADS`` overrides it).
    """
    torch.set_num_threads(int(os.environ.get(THREADS_VARIABLE, "1")))
    torch.set_flush_denormal(True)


def choose_device(wanted: str) -> torch.device:
    """Return the device ``training.device`` asks for.

    Raises:
        TrainingError: when ``cuda`` is asked for and there is none.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise TrainingError(
            "training.device is cuda and this machine has no usable CUDA device; "
            "set it to auto or cpu, or train where there is a GPU"
        )
    return torch.device("cuda" if wanted != "cpu" and there else "cpu")


def settings_of(spec: Spec) -> Settings:
    """Return the settings that ``spec`` declares."""
    training = spec.training
    return Settings(
        batch=training.batch,
        learning_rate=training.learning_rate,
        gate_learning_rate=training.gate_learning_rate,
        ema=training.ema,
        seed=training.seed,
        device=choose_device(training.device),
        task_weights=tuple(task.weight for task in spec.tasks.values()),
        precision=training.precision,
        compile=training.compile,
        loss=training.loss,
        embeddings=training.embeddings,
    )
