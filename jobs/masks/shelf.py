"""Models under given masks, trained with several seeds and kept, so that a stopped run goes on."""

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from features.errors import RegistryError
from features.spec import Spec
from training import night
from training.artifact import Scorer, load
from training.masks import Masks
from training.material import Material

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Where one product's trainings on one split of days are kept."""

    spec: Spec
    material: Material
    folder: Path

    def train(self, name: str, seed: int, strength: Tensor | None) -> Scorer:
        """Return the model of a name and seed, trained unless it was before.

        Args:
            name: of the masks, for the folder.
            seed: of the training.
            strength: [K, M, 4] to train with; None: they are searched.
        """
        folder = self.folder / name.replace(" ", "-").replace(",", "") / f"seed-{seed}"
        try:
            return load(folder)
        except RegistryError:
            log.info("training with masks: %s, seed %d", name, seed)
        training = self.spec.training.model_copy(update={"seed": seed})
        frozen = None if strength is None else Masks(strength=strength.tolist(), shrink=None)
        night.fit(
            self.spec.model_copy(update={"training": training}),
            self.material,
            "autoifs",
            folder,
            frozen=frozen,
        )
        return load(folder)
