"""The trainings of a benchmark, each kept as it ends, so that a killed run goes on."""

import hashlib
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from features.spec import Spec
from features.spec.policy import Training
from jobs.benchmark.protocol import BAR, Changes, Entry, Protocol
from jobs.benchmark.worlds import World
from jobs.provenance import training_code
from training import night
from training.artifact_files import read_json, write_json
from training.material import Material, pin, read, with_targets
from training.schedule import Decision

log = logging.getLogger(__name__)

DECISION = Decision(search=True, searched_on=None, previous=None, reason="benchmark")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A model that was trained."""

    entry: str
    seed: int
    trial: Changes
    """The settings it was trained with."""
    folder: str
    """Where its artifact lies."""
    validation: float
    """Pooled log loss on the validation day."""
    parameters: int
    seconds: float
    """Of one core, for the training."""
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """An entry's runs with the settings that its trials chose, one a seed."""

    entry: Entry
    trial: Changes
    tried: tuple[float, ...]
    """Validation log loss of each trial."""
    runs: tuple[Run, ...]


class Trainings:
    """Everything trained on one data set; the test day is not read here."""

    def __init__(self, world: World, protocol: Protocol, folder: Path) -> None:
        """Fix the data; nothing is read before a model is missing.

        Args:
            world: the data set.
            protocol: what is trained.
            folder: where runs are kept.
        """
        self.world, self.protocol, self.folder = world, protocol, folder
        self.pinned = pin(world.spec, world.lake, world.test)
        self._material: Material | None = None
        self._taught: dict[str, Material] = {}

    def all(self) -> Iterator[Chosen]:
        """Train what is missing of each entry, and yield its runs."""
        for entry in self._entries():
            first, *others = self.protocol.seeds
            trials = self.protocol.trials(entry)
            tried = [self._run(entry, trial, first) for trial in trials]
            best = min(range(len(tried)), key=lambda place: tried[place].validation)
            runs = [tried[best], *(self._run(entry, trials[best], seed) for seed in others)]
            yield Chosen(
                entry=entry,
                trial=trials[best],
                tried=tuple(one.validation for one in tried),
                runs=tuple(runs),
            )

    def _entries(self) -> Iterator[Entry]:
        """Yield the entries that this data set compares, each training once.

        Where the spec has no teacher, an entry without one is the model's own.
        """
        models, known = self.world.models, list[Training]()
        for entry in self.protocol.entries:
            training = entry.spec(self.world.spec, {}, self.protocol.seeds[0]).training
            if (not models or entry.model in models) and training not in known:
                known.append(training)
                yield entry

    def material(self) -> Material:
        """Return the training and validation rows with their labels."""
        if self._material is None:
            spec = Entry(name="", model="lightgbm").spec(self.world.spec, {}, 1)
            self._material = read(spec, self.world.lake, self.pinned)
        return self._material

    def _run(self, entry: Entry, trial: Changes, seed: int) -> Run:
        """Return a training, from the file of an earlier one that was the same."""
        spec = entry.spec(self.world.spec, trial, seed)
        fingerprint = self._fingerprint(spec)
        folder = self.folder / _slug(entry.name) / _slug(f"{words(trial)} seed {seed}")
        kept = folder / "run.json"
        if kept.is_file():
            said = read_json(kept)
            if said["fingerprint"] == fingerprint:
                return Run(**said)
        run = self._train(entry, spec, trial, folder, fingerprint)
        write_json(kept, asdict(run))
        log.info(
            "%s: %s, %s, seed %d: validation %.5f in %.0f s",
            *(self.world.name, entry.name, words(trial) or "as the spec says"),
            *(seed, run.validation, run.seconds),
        )
        return run

    def _train(
        self, entry: Entry, spec: Spec, trial: Changes, folder: Path, fingerprint: str
    ) -> Run:
        material = self._rows(spec.training)
        folder.mkdir(parents=True, exist_ok=True)
        started = time.process_time()
        fitted = night.fit(spec, material, entry.model, folder / "model")
        return Run(
            entry=entry.name,
            seed=spec.training.seed,
            trial=trial,
            folder=str(fitted.folder),
            validation=fitted.validation,
            parameters=fitted.parameters,
            seconds=round(time.process_time() - started, 2),
            fingerprint=fingerprint,
        )

    def _rows(self, training: Training) -> Material:
        """Return the rows, with the teacher's targets if asked for."""
        if training.teacher is None or training.model == BAR:
            return self.material()
        wanted = {"model": BAR, "seed": 1, "teacher": training.teacher, "trees": training.trees}
        base = self.world.spec
        spec = base.model_copy(update={"training": base.training.model_copy(update=wanted)})
        name = self._fingerprint(spec)
        if name not in self._taught:
            self._taught[name] = self._teach(spec, self.folder / f"taught-{name}.npy")
        return self._taught[name]

    def _fingerprint(self, spec: Spec) -> str:
        """Return a hash of all that decides a model, the code included."""
        said = night.fingerprint(spec, self.pinned, DECISION) + training_code()
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def _teach(self, spec: Spec, kept: Path) -> Material:
        """Return what the teacher makes of the labels: the same for all models, made once."""
        material = self.material()
        if not kept.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            taught = night.teach(spec, material)
            with kept.open("wb") as file:
                np.save(file, taught.held.labels.numpy(), allow_pickle=False)
        return with_targets(material, torch.from_numpy(np.load(kept, allow_pickle=False)))


def words(trial: Changes) -> str:
    """Return settings as a name such as ``learning_rate 0.001``."""
    return ", ".join(
        words(value) if isinstance(value, dict) else f"{name} {value}"
        for name, value in trial.items()
    )


def _slug(text: str) -> str:
    return "".join(one if one.isalnum() or one in "._" else "-" for one in text).strip("-")
