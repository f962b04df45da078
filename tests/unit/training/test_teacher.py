"""What a network is taught by trees: probabilities of rows whose users they never saw."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from features.spec.policy import Teacher, Training, Trees
from training.rows import Examples
from training.teacher import softened

TREES = Trees(min_data_in_leaf=5, rounds=40, learning_rate=0.2, feature_fraction=1)


@pytest.fixture
def taught(architecture):
    def teach(rows: Examples, users: np.ndarray, **changed) -> torch.Tensor:
        teacher = Teacher(**{"weight": 1.0, **changed})
        a = architecture(kind="lightgbm")
        return softened(rows, users, teacher, TREES, a, tasks=["click", "buy"], seed=1)

    return teach


def test_a_target_is_the_teachers_share_of_its_probability_and_the_rest_of_the_label(
    taught, examples
):
    rows, users = examples(400), np.arange(400) % 80
    rows.labels[::3, 1] = math.nan
    p = taught(rows, users)
    soft = taught(rows, users, weight=0.8)
    known = ~rows.labels.isnan()
    assert torch.equal(soft.isnan(), ~known) and torch.equal(p.isnan(), ~known)
    assert torch.allclose(soft[known], 0.2 * rows.labels[known] + 0.8 * p[known])
    assert 0 < p[known].min() < 0.3 and 0.7 < p[known].max() < 1
    assert (rows.labels[known] * 2 % 2 == 0).all(), "the labels themselves are left alone"


def test_a_teacher_says_of_a_users_rows_what_others_rows_taught_it(taught, examples):
    users = np.arange(600) % 40
    rows = examples(600)
    of_user = torch.rand(40, 2, generator=torch.Generator().manual_seed(7)).round()
    rows.inputs.numbers[:, 0] = torch.from_numpy(users).float()  # by which a row knows its user
    rows.inputs.numbers[:, 1:] = 0
    rows = replace(rows, labels=of_user[torch.from_numpy(users)])
    p = taught(rows, users)
    # Trees that saw the user's other rows would be sure of every label.
    right = torch.where(rows.labels == 1, p, 1 - p)
    assert right.mean() < 0.7


def test_rows_of_the_only_user_keep_their_labels(taught, examples):
    rows = examples(50)
    assert torch.equal(taught(rows, np.zeros(50, dtype=np.int64)), rows.labels)


def test_the_spec_names_a_teacher_in_one_word():
    assert Training().teacher is None
    assert Training(teacher="lightgbm").teacher == Teacher(model="lightgbm", weight=0.8, folds=4)
    assert Training(teacher={"folds": 8}).teacher.folds == 8
