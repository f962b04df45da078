"""LightGBM: gradient-boosted trees on the same samples, the bar that a user would pick instead.

Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017,
https://lightgbm.readthedocs.io.
"""

import logging
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.errors import RegistryError, TrainingError
from features.spec.policy import Trees
from training.architecture import Architecture
from training.history import Checked, Progress
from training.model import Model
from training.prepare import Inputs
from training.rows import Examples
from training.scores import pooled_log_loss, predict

if TYPE_CHECKING:
    from lightgbm import Booster, Dataset
    from lightgbm.callback import CallbackEnv

Matrix = NDArray[np.float32]
Labels = NDArray[np.float32]

MOST = 64
"""Tokens up to which a column is split on. Trees learn the rows of rarer tokens by heart; what such
a column is worth is in the rates of its tokens."""
LOOK = 20
"""Rounds from one look at validation that is kept to the next."""
HELD_OUT = 10
"""One in so many training rows stops a task whose validation days have no label."""


class LightGBM(Model):
    """One forest a task over all scenarios, which are a category to it.

    It reads numbers as they are, null included (``NumberStats.untouched``), categories of at most
    ``MOST`` tokens as categories, and of multi-value columns of as few whether each token is there.
    No gradient trains it: :func:`grow` does.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Start without trees, at even odds."""
        super().__init__(architecture)
        self.forests: list[Booster] = []

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]: of each task the sum over its trees."""
        if not self.forests or not len(inputs):
            return torch.zeros(len(inputs), self.architecture.tasks)
        rows = matrix(inputs, self.architecture)
        logits = [raw_scores(forest, rows) for forest in self.forests]
        return torch.from_numpy(np.stack(logits, axis=1).astype(np.float32))

    def size(self) -> int:
        """Return how many leaves there are."""
        return sum(map(_leaves, self.forests))

    def write(self, folder: Path) -> None:
        """Write each forest as LightGBM's own text."""
        for task, forest in enumerate(self.forests):
            (folder / _file(task)).write_text(forest.model_to_string(), encoding="utf-8")

    def read(self, folder: Path) -> None:
        """Read what :meth:`write` wrote.

        Raises:
            RegistryError: when a file holds no forest, or one that reads other columns.
        """
        held = len(_is_category(self.architecture))
        self.forests = [_forest(folder / _file(task)) for task in range(self.architecture.tasks)]
        for task, forest in enumerate(self.forests):
            if forest.num_feature() != held:
                raise RegistryError(
                    f"{folder.name}/{_file(task)} does not fit: it reads {forest.num_feature()} "
                    f"columns and the model has {held}; train again"
                )


def grow(
    model: LightGBM,
    train: Examples,
    validate: Examples,
    trees: Trees,
    *,
    tasks: Sequence[str],
    seed: int,
    report: Callable[[Progress], None] | None = None,
) -> list[Checked]:
    """Grow every task's forest until its log loss on the validation rows no longer falls.

    Args:
        model: gets the forests.
        train: rows with numbers as they are.
        validate: the same, to stop on.
        trees: the settings.
        tasks: their names, for the history.
        seed: of the shares of rows and columns that a tree sees.
        report: told of progress.

    Returns:
        Looks at each task's validation, and in the end one at all of them.

    Raises:
        TrainingError: a task has no label.
    """
    a = model.architecture
    rows, others = matrix(train.inputs, a), matrix(validate.inputs, a)
    model.forests, looks = [], list[Checked]()
    for task, name in enumerate(tasks):
        labels, checks = train.labels[:, task].numpy(), validate.labels[:, task].numpy()
        known, stop = np.flatnonzero(~np.isnan(labels)), np.flatnonzero(~np.isnan(checks))
        if not len(known):
            raise TrainingError(
                f"task '{name}' has no label on the training days to grow trees from; "
                "build older days, or train a network"
            )
        data = binned(rows[known], labels[known], a)
        if len(stop):
            against = data.create_valid(others[stop], checks[stop])
        else:
            held = np.arange(len(known)) % HELD_OUT == 0
            data, against = part(data, ~held), part(data, held)
        watch = Watch(f"trees {name}", trees, report)
        model.forests.append(boost(data, against, trees, seed=seed, watch=watch))
        looks += watch.looks
    steps = sum(forest.num_trees() for forest in model.forests)
    final = Checked(
        stage="trees",
        step=steps,
        steps=steps,
        rate=trees.learning_rate,
        train_loss=pooled_log_loss(predict(model, train.inputs), train.labels),
        validation=pooled_log_loss(predict(model, validate.inputs), validate.labels),
        seconds=round(sum(look.seconds for look in looks), 3),
    )
    return [*looks, final]


def matrix(inputs: Inputs, architecture: Architecture) -> Matrix:
    """Return the columns that trees read, [n, W]: scenario, categories, tokens, numbers."""
    a = architecture
    index = inputs.index.numpy()
    singles = len(a.sizes) - a.bags
    parts = [inputs.scenario.numpy()[:, None]]
    parts += [index[:, place : place + 1] for place in range(singles) if a.sizes[place] <= MOST]
    start = singles
    for size, tokens in zip(a.sizes[singles:], inputs.widths, strict=True):
        if size <= MOST:
            bag = index[:, start : start + tokens]
            there = np.zeros((len(inputs), size + 1), dtype=np.float32)  # the last one: no token
            np.put_along_axis(there, np.where(bag < 0, size, bag), 1, axis=1)
            parts.append(there[:, :size])
        start += tokens
    return np.concatenate([*parts, inputs.numbers.numpy()], axis=1, dtype=np.float32)


def binned(rows: Matrix, labels: Labels, architecture: Architecture) -> "Dataset":
    """Return rows of :func:`matrix` with their labels, values sorted into bins."""
    places = [place for place, is_one in enumerate(_is_category(architecture)) if is_one]
    data = _library().Dataset(
        rows,
        labels,
        categorical_feature=places,
        params={
            "verbose": -1,
            "num_threads": torch.get_num_threads(),
            "feature_pre_filter": False,  # or columns would be left out by another leaf size
        },
        free_raw_data=False,
    )
    said: Dataset = data.construct()
    return said


def part(data: "Dataset", rows: NDArray[np.bool_]) -> "Dataset":
    """Return some rows of ``data``, [n] whether each."""
    return data.subset(np.flatnonzero(rows).tolist())


def boost(
    data: "Dataset", against: "Dataset", trees: Trees, *, seed: int, watch: "Watch | None" = None
) -> "Booster":
    """Return a forest grown on ``data`` and cut where its log loss on ``against`` was lowest."""
    library = _library()
    parameters = {
        "objective": "binary",
        "metric": "binary_logloss",
        "seed": seed,
        "num_leaves": trees.num_leaves,
        "min_data_in_leaf": trees.min_data_in_leaf,
        "learning_rate": trees.learning_rate,
        "feature_fraction": trees.feature_fraction,
        "bagging_fraction": trees.bagging_fraction,
        "bagging_freq": 1,
        "lambda_l2": trees.lambda_l2,
        "num_threads": torch.get_num_threads(),
        "deterministic": True,
        "force_row_wise": True,  # or the choice is timed, and a run need not be like another
        "verbose": -1,
    }
    grown: Booster = library.train(
        parameters,
        data,
        trees.rounds,
        valid_sets=[data, against],
        valid_names=["training", "validation"],
        callbacks=[
            library.early_stopping(trees.patience, verbose=False),
            *([watch] if watch else []),
        ],
    )
    # Read back, so that it holds neither the rows nor the trees after the best.
    kept: Booster = library.Booster(model_str=grown.model_to_string())
    return kept


def raw_scores(forest: "Booster", rows: Matrix) -> NDArray[np.float64]:
    """Return the logits [n] of rows of :func:`matrix`."""
    said = forest.predict(rows, raw_score=True, num_threads=torch.get_num_threads())
    return np.asarray(said)


class Watch:
    """LightGBM's callback: keeps a look now and then, and tells of progress."""

    def __init__(self, stage: str, trees: Trees, report: Callable[[Progress], None] | None) -> None:
        """Start the clock."""
        self.stage, self.trees, self.report = stage, trees, report
        self.looks: list[Checked] = []
        self.since = time.perf_counter()

    def __call__(self, round_: "CallbackEnv") -> None:
        """Note a round."""
        step, found = round_.iteration + 1, round_.evaluation_result_list or []
        if step % LOOK or len(found) < 2:
            return
        loss, validation = (float(one[2]) for one in found[:2])
        now = time.perf_counter()
        self.looks.append(
            Checked(
                stage=self.stage,
                step=step,
                steps=self.trees.rounds,
                rate=self.trees.learning_rate,
                train_loss=loss,
                validation=validation,
                seconds=round(now - self.since, 3),
            )
        )
        self.since = now
        if self.report:
            self.report(Progress(stage=self.stage, step=step, steps=self.trees.rounds, loss=loss))


def _is_category(a: Architecture) -> list[bool]:
    """Return of each column of :func:`matrix` whether it is a category."""
    singles = len(a.sizes) - a.bags
    few = [size for size in a.sizes[:singles] if size <= MOST]
    tokens = sum(size for size in a.sizes[singles:] if size <= MOST)
    return [True] * (1 + len(few)) + [False] * (tokens + a.numbers)


def _file(task: int) -> str:
    return f"trees-{task}.txt"


def _forest(path: Path) -> "Booster":
    library = _library()
    try:
        said: Booster = library.Booster(model_str=path.read_text(encoding="utf-8"))
    except (OSError, ValueError, library.basic.LightGBMError) as error:
        reason = str(error).splitlines()[0]
        raise RegistryError(f"{path.name} does not fit: {reason}; train again") from None
    return said


def _leaves(forest: "Booster") -> int:
    lines = forest.model_to_string().splitlines()
    return sum(int(line.split("=")[1]) for line in lines if line.startswith("num_leaves="))


@cache
def _library() -> ModuleType:
    """Return LightGBM, which takes seconds to import and else would write to stdout."""
    import lightgbm

    log = logging.getLogger("lightgbm")
    log.setLevel(logging.ERROR)  # it warns of every part that is made of binned rows
    lightgbm.register_logger(log)
    return lightgbm
