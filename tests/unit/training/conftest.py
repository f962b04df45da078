"""Small architectures, inputs and labels that every test of the room can make."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from features.spec import Column, Layout
from training.architecture import Architecture
from training.data import Dataset
from training.prepare import Inputs
from training.rows import Examples
from training.settings import Settings, prepare_torch

SIZES = (7, 5, 6)
"""Rows of two categories' embeddings and of one bag's."""
NUMBERS = 3


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Train as jobs do: one thread, denormals flushed."""
    prepare_torch()


@pytest.fixture
def architecture() -> Callable[..., Architecture]:
    """Return a small architecture for K scenarios and M tasks; any field can be given."""

    def make(scenarios: int = 3, tasks: int = 2, **changed: Any) -> Architecture:
        fields: dict[str, Any] = {
            "kind": "autoifs",
            "cells": ((True,) * tasks,) * scenarios,
            "sizes": SIZES,
            "dims": (4, 4, 4),
            "bags": 1,
            "numbers": NUMBERS,
            "trunk": (16,),
            "scenario": (8,),
            "task": (),
            "rank": 2,
            "dropout": 0.0,
        }
        said = {**fields, **changed}
        if isinstance(said["rank"], int):
            said["rank"] = (said["rank"],) * (len(said["scenario"]) + len(said["task"]))
        return Architecture(**said)

    return make


@pytest.fixture
def inputs() -> Callable[..., Inputs]:
    """Return inputs of n rows; a bag holds none to three tokens."""

    def make(n: int = 40, scenarios: int = 3, seed: int = 0) -> Inputs:
        random = torch.Generator().manual_seed(seed)
        columns = [torch.randint(0, size, (n,), generator=random) for size in SIZES[:2]]
        bag = torch.randint(1, SIZES[2], (n, 3), generator=random)
        length = torch.randint(0, 4, (n, 1), generator=random)
        bag = torch.where(torch.arange(3) < length, bag, -1)
        return Inputs(
            scenario=torch.randint(0, scenarios, (n,), generator=random),
            index=torch.cat([torch.stack(columns, 1), bag], 1).int(),
            numbers=torch.randn(n, NUMBERS, generator=random),
            widths=(3,),
        )

    return make


@pytest.fixture
def examples(inputs: Callable[..., Inputs]) -> Callable[..., Examples]:
    """Return labelled rows whose labels follow the numbers, each task another one."""

    def make(n: int = 600, scenarios: int = 3, tasks: int = 2, seed: int = 0) -> Examples:
        rows = inputs(n, scenarios, seed)
        random = torch.Generator().manual_seed(seed + 99)
        columns = [rows.numbers[:, m % NUMBERS] for m in range(tasks)]
        logits = 2 * torch.stack(columns, 1) + rows.scenario[:, None] * 0.5
        labels = (torch.rand(n, tasks, generator=random) < torch.sigmoid(logits)).float()
        return Examples(rows, labels)

    return make


@pytest.fixture
def settings() -> Callable[..., Settings]:
    """Return settings for M tasks; any field can be given."""

    def make(tasks: int = 2, **changed: Any) -> Settings:
        fields: dict[str, Any] = {
            "batch": 64,
            "learning_rate": 0.01,
            "gate_learning_rate": 0.01,
            "ema": 0.9,
            "seed": 5,
            "device": torch.device("cpu"),
            "task_weights": (1.0,) * tasks,
        }
        return Settings(**{**fields, **changed})

    return make


@pytest.fixture
def layout() -> Layout:
    """The layout of the architecture with 3 scenarios and 2 tasks."""
    return Layout(
        scenarios=("feed", "search", "live"),
        tasks=("click", "buy"),
        columns=(
            Column(name="c_item", kind="category", source="item", dim=4),
            Column(name="c_place", kind="category", source="place", dim=4),
            Column(name="m_tags", kind="multi", source="tags", dim=4),
            Column(name="n_price", kind="number", source="price", scale="log1p"),
            Column(name="n_age", kind="number", source="age"),
            Column(name="n_rate", kind="number", source="rate"),
        ),
    )


@pytest.fixture
def dataset(layout: Layout) -> Callable[..., Dataset]:
    """Return n rows of the layout."""

    def make(n: int = 50, seed: int = 0) -> Dataset:
        random = np.random.default_rng(seed)
        return Dataset(
            layout=layout,
            ds=np.full(n, "2026-03-01", dtype="datetime64[D]"),
            sample_id=np.array([f"s{i}" for i in range(n)], dtype=object),
            user=random.integers(0, 9, n),
            scenario=random.integers(0, 3, n),
            categories=np.stack([random.integers(0, size, n) for size in SIZES[:2]], 1).astype(
                np.int32
            ),
            multi=(random.integers(-1, SIZES[2], (n, 2)).astype(np.int32),),
            numbers=random.normal(size=(n, NUMBERS)).astype(np.float32),
            labels=random.integers(0, 2, (n, 2)).astype(np.float32),
        )

    return make
