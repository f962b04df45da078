"""Distillation: a network learns what trees foretell of a row that they never saw, and its label.

The trees are LightGBM's. With the labels alone a network ties them, taught by them it wins: their
out-of-fold probabilities say which labels were luck.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.spec.policy import Teacher, Trees
from training.architecture import Architecture
from training.history import Progress
from training.lightgbm import Watch, binned, boost, matrix, part, raw_scores
from training.rows import Examples


def softened(
    examples: Examples,
    users: NDArray[np.int64],
    teacher: Teacher,
    trees: Trees,
    architecture: Architecture,
    *,
    tasks: Sequence[str],
    seed: int,
    report: Callable[[Progress], None] | None = None,
) -> Tensor:
    """Return the targets [n, M] that a network learns: ``(1 - w) y + w p``, NaN without a label.

    The users are cut into folds. ``p`` is what trees say that were grown on the other folds' users;
    the own fold's labels only say when to stop. A row for which there are no such trees keeps its
    label.

    Args:
        examples: the training rows, numbers as they are.
        users: [n] hash of the person.
        teacher: the weight w and the number of folds.
        trees: how trees are grown.
        architecture: which columns there are.
        tasks: their names, for the progress.
        seed: of the trees.
        report: told of progress.
    """
    rows, targets = matrix(examples.inputs, architecture), examples.labels.clone()
    for task, name in enumerate(tasks):
        labels = examples.labels[:, task].numpy()
        known = np.flatnonzero(~np.isnan(labels))
        fold = users[known] % teacher.folds
        data = binned(rows[known], labels[known], architecture)
        for number in range(teacher.folds):
            mine = fold == number
            if mine.all() or not mine.any():
                continue
            watch = Watch(f"teacher {name}, fold {number + 1} of {teacher.folds}", trees, report)
            own, others = part(data, mine), part(data, ~mine)
            forest = boost(others, own, trees, seed=seed, watch=watch)
            taught = known[mine]
            said = torch.sigmoid(torch.from_numpy(raw_scores(forest, rows[taught])))
            hard = torch.from_numpy(labels[taught])
            soft = (1 - teacher.weight) * hard + teacher.weight * said.float()
            targets[torch.from_numpy(taught), task] = soft
    return targets
