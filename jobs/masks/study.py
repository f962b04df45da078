"""``autoifs masks planted``: what searches find on data whose flows are known.

Every model is trained by the stages that a night runs (``training/search.py``); only the rows are
drawn. A model is kept as it ends, so that a stopped run goes on.
"""

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.spec.search import Search
from jobs.masks import planted
from jobs.masks.planted import Planted, plant
from jobs.provenance import training_code
from training import search as stages
from training.architecture import Architecture
from training.artifact_files import read_json, write_json
from training.controls import even, shuffled, whole
from training.masks import Masks, mean_keep
from training.scores import predict
from training.search import Record, freeze_and_retrain, search_and_retrain
from training.settings import Settings
from training.trainer import Trainer
from training.zoo import build

log = logging.getLogger(__name__)

NONE, TRUTH, FOUND = "none pruned", "the truth", "crossfit"
RANDOM, EVEN = "crossfit's, in random places", "crossfit's mean for every flow"
BOXED = "boxed"
PAPERS, PAPERS_NONE = "official form and recipe", "official form, none pruned"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is drawn and trained."""

    train: int = 24_000
    validate: int = 6_000
    test: int = 20_000
    retrain: int = 12
    """Epochs of a retraining."""
    search: int = 8
    """Epochs of a search, of which one is the warm-up that every model gets."""
    prices: tuple[float, ...] = (0.0, 1.5, 3.0)


QUICK = Size(train=6_000, validate=1_500, test=4_000, retrain=3, search=3, prices=(0.0, 3.0))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One model, judged by the true probabilities of the test rows."""

    name: str
    auc: float
    """Mean over the cells, as all others."""
    logloss: float
    kept: float
    """Share of the flows, of rows where rows decide."""
    strength: float
    """Mean, 0 for what is pruned."""
    shrink: float | None
    table: list[list[list[float]]]
    """[K][M][4] mean strengths."""
    seconds: float
    """Of one core."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """All models of one data set and one seed."""

    data: int
    seed: int
    outcomes: Mapping[str, Outcome]


def study(data: Sequence[int], seeds: Sequence[int], size: Size, folder: Path) -> Iterator[Pair]:
    """Train and judge every kind of masks on each data set with each seed.

    Args:
        data: seeds of the data sets.
        seeds: of the models.
        size: how much.
        folder: where models' figures are kept.
    """
    for number in data:
        drawn = plant(number, train=size.train, validate=size.validate, test=size.test)
        for seed in seeds:
            kept = folder / f"data-{number}-seed-{seed}.json"
            outcomes = _Models(drawn, seed, size, kept).all()
            yield Pair(data=number, seed=seed, outcomes=outcomes)


class _Models:
    """The models of one data set and seed; a figure that is kept is not made again."""

    def __init__(self, drawn: Planted, seed: int, size: Size, kept: Path) -> None:
        self.drawn, self.seed, self.size, self.kept = drawn, seed, size, kept
        self.mark = hashlib.sha256(f"{size} {training_code()}".encode()).hexdigest()[:16]
        self.found: dict[str, Outcome] = {}
        if kept.is_file():
            said = read_json(kept)
            if said["mark"] == self.mark:
                self.found = {name: Outcome(**one) for name, one in said["outcomes"].items()}

    def all(self) -> dict[str, Outcome]:
        """Return every outcome, in the order of the names above."""
        cells, size = self.drawn.cells, self.size
        common = {"epochs": size.search, "rewind": 1 / size.search}
        official = Search(form="official", gates="instance", **common)
        self._given(NONE, whole(cells), Search(**common))
        self._given(TRUTH, self.drawn.truth, Search(**common))
        self._searched(FOUND, Search(recipe="crossfit", shrink=size.prices, **common))
        found = torch.tensor(self.found[FOUND].table)
        self._given(RANDOM, shuffled(found, cells, self.seed), Search(**common))
        self._given(EVEN, even(found, cells), Search(**common))
        self._searched(BOXED, Search(recipe="boxed", shrink=(0.0, 1.0, 2.7), **common))
        self._searched(PAPERS, official)
        self._given(PAPERS_NONE, whole(cells), Search(form="official", recipe="boxed", **common))
        return self.found

    def _given(self, name: str, strength: Tensor, search: Search) -> None:
        masks = Masks(strength=strength.tolist(), shrink=None)
        self._train(name, search, masks)

    def _searched(self, name: str, search: Search) -> None:
        self._train(name, search, None)

    def _train(self, name: str, search: Search, masks: Masks | None) -> None:
        if name in self.found:
            return
        started, record = time.process_time(), Record()
        trainer = Trainer(
            build(_architecture(self.drawn, search), self.seed),
            self.drawn.train,
            self.drawn.validate,
            _settings(self.seed),
        )
        if masks is None:
            search_and_retrain(trainer, search, self.size.retrain, record)
        else:
            freeze_and_retrain(trainer, search, masks, self.size.retrain, record)
        seconds = time.process_time() - started
        self.found[name] = judge(name, trainer, self.drawn, record.shrink, seconds)
        self.kept.parent.mkdir(parents=True, exist_ok=True)
        said: dict[str, Any] = {name: asdict(one) for name, one in self.found.items()}
        write_json(self.kept, {"mark": self.mark, "outcomes": said})
        log.info("%s, %s: AUC %.4f, %.1f s", self.kept.stem, name, self.found[name].auc, seconds)


def judge(
    name: str, trainer: Trainer, drawn: Planted, shrink: float | None, seconds: float
) -> Outcome:
    """Judge the trainer's model by the chances that the test rows' labels were drawn with."""
    model = stages.autoifs_of(trainer)
    said = predict(model, drawn.test.inputs).double()
    chances, scenario = drawn.chances.double(), drawn.test.inputs.scenario
    losses = torch.nn.functional.binary_cross_entropy_with_logits(said, chances, reduction="none")
    cells = [(scenario == k, m) for k in range(len(planted.SHARES)) for m in range(planted.TASKS)]
    areas = [expected_auc(said[k, m].numpy(), chances[k, m].numpy()) for k, m in cells]
    table = model.table()
    keep = torch.tensor(mean_keep(model, drawn.test.inputs)) if table is None else table
    return Outcome(
        name=name,
        auc=float(np.mean(areas)),
        logloss=float(np.mean([float(losses[k, m].mean()) for k, m in cells])),
        kept=float(keep.mean() if table is None else (keep > 0).float().mean()),
        strength=float(keep.mean()),
        shrink=shrink,
        table=keep.tolist(),
        seconds=round(seconds, 2),
    )


def expected_auc(scores: NDArray[np.float64], chances: NDArray[np.float64]) -> float:
    """Return the AUC that scores [n] have on average over labels drawn with ``chances`` [n].

    Pairs of a row with itself count half; rows of equal scores count in the order they come.
    """
    positive = chances[np.argsort(scores, kind="stable")]
    negative = 1 - positive
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def _architecture(drawn: Planted, search: Search) -> Architecture:
    return Architecture(
        kind="autoifs",
        cells=drawn.cells,
        sizes=(),
        dims=(),
        bags=0,
        numbers=planted.WIDTH,
        trunk=(64,),
        scenario=(32,),
        rank=(8,),
        dropout=0.0,
        form=search.form,
        gates="strength" if search.priced else search.gates,
    )


def _settings(seed: int) -> Settings:
    return Settings(
        batch=512,
        learning_rate=0.01,
        gate_learning_rate=0.005,  # of the official recipe; the others set their own
        ema=0.99,
        seed=seed,
        device=torch.device("cpu"),
        task_weights=(1.0,) * planted.TASKS,
    )
