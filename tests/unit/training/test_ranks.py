"""Ranks that train together do what one process does with the same global batches."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from features.spec.policy import Embeddings, Loss, Search
from training.checkpoint import Checkpoints
from training.prepare import Inputs
from training.ranks import ALONE, joined, local_device
from training.scores import predict
from training.search import Record, search_and_retrain, train_without_flows
from training.sharded import is_sharded, join
from training.trainer import Trainer
from training.zoo import build

pytestmark = pytest.mark.slow
CASES: dict[str, dict[str, Any]] = {
    "autoifs": {"kind": "autoifs"},
    "official": {"kind": "autoifs", "form": "official"},
    "sparse": {"kind": "shared_bottom", "embeddings": Embeddings(optimiser="adagrad")},
    "aside": {"kind": "m3oe"},
    "uncertain": {"kind": "mmoe", "loss": Loss(tasks="uncertainty", balance=0.5)},
    "sharded": {
        "kind": "autoifs",
        "embeddings": Embeddings(optimiser="adagrad", sharded=True),
    },
}
ROWS = 403
"""Not a multiple of anything: batches are uneven, and so are the ranks' shares of them."""


def trained(name: str, ranks: Any, **more: Any) -> Trainer:
    """Train a case from start to end, in this process as one of ``ranks``."""
    from tests.unit.training import conftest

    case = dict(CASES[name])
    parts = (conftest.architecture, conftest.inputs, conftest.settings)
    architecture, inputs, settings = (one.__wrapped__() for one in parts)
    examples = conftest.examples.__wrapped__(inputs)
    network = {key: case.pop(key) for key in ("kind", "form") if key in case}
    trainer = Trainer(
        build(architecture(**network), 1),
        examples(ROWS),
        examples(151, seed=1),
        settings(**case),
        ranks=ranks,
        **more,
    )
    form = {"form": network["form"]} if "form" in network else {}
    search = Search(epochs=2, rewind=0.5, shrink=(0.0, 1.0), **form)
    if network["kind"] == "autoifs":
        search_and_retrain(trainer, search, 2, Record())
    else:
        train_without_flows(trainer, search, 2, Record())
    return trainer


def run(folder: Path) -> None:
    """Train every case as one of torchrun's ranks; the first writes what came out."""
    from training.settings import prepare_torch

    prepare_torch()
    with joined(local_device(torch.device("cpu"))) as ranks:
        alone = Checkpoints(folder / "alone", "it", ranks=ranks)
        read = trained("sharded", ranks, checkpoints=alone)
        said = predict(read.model, rows_to_answer())
        for name in CASES:
            more: dict[str, Any] = {}
            if name == "sharded":
                more["checkpoints"] = Checkpoints(folder / "parted", "it", every=0, ranks=ranks)
            trainer = trained(name, ranks, **more)
            assert is_sharded(trainer.model) == (name == "sharded")
            join(trainer.model)
            if ranks.first:
                save_file({"said": said}, folder / "read.safetensors")
                save_file(trainer.state(), folder / f"{name}.safetensors")
                looks = [[one.train_loss, one.validation, one.seconds] for one in trainer.history]
                (folder / f"{name}.json").write_text(json.dumps(looks))


def rows_to_answer() -> Inputs:
    from tests.unit.training import conftest

    return conftest.inputs.__wrapped__()(90, seed=3)


def torchrun(code: str, folder: Path, *more: str, **environment: str) -> subprocess.Popen:
    module = f"import sys; from pathlib import Path; {code}(Path(sys.argv[1]))"
    script = folder / "script.py"
    script.write_text(f"from tests.unit.training.test_ranks import {code}\n{module}\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.Popen(
        [*command, "--nproc-per-node", "2", *more, str(script), str(folder)],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])} | environment,
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks made of every case."""
    folder = tmp_path_factory.mktemp("together")
    trained("sharded", ALONE, checkpoints=Checkpoints(folder / "alone", "it"))
    assert torchrun("run", folder).wait(300) == 0
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_come_to_the_loss_and_the_weights_of_one(together, name):
    alone = trained(name, ALONE)
    looks = json.loads((together / f"{name}.json").read_text())
    wanted = [[one.train_loss, one.validation] for one in alone.history]
    found = [one[:2] for one in looks]
    assert torch.allclose(torch.tensor(found), torch.tensor(wanted), atol=1e-5)
    found = load_file(together / f"{name}.safetensors")
    for key, value in alone.state().items():
        assert torch.allclose(found[key], value, atol=2e-4), key


def test_what_one_process_wrote_two_ranks_read_each_its_rows(together):
    alone = trained("sharded", ALONE, checkpoints=Checkpoints(together / "alone", "it"))
    found = load_file(together / "read.safetensors")["said"]
    assert torch.allclose(found, predict(alone.model, rows_to_answer()), atol=1e-6)


def test_what_two_ranks_wrote_one_process_reads(together):
    parted = Checkpoints(together / "parted", "it")
    assert sorted(one.name for one in (together / "parted").iterdir())[0].startswith(
        "stage-001-end"
    )
    read = trained("sharded", ALONE, checkpoints=parted)
    assert read.history[0].seconds == json.loads((together / "sharded.json").read_text())[0][2]
    joined_there = load_file(together / "sharded.safetensors")
    for key, value in read.state().items():
        assert torch.equal(joined_there[key], value), key


def run_checked(folder: Path) -> None:
    """Train one case with a checkpoint a step; the second rank dies in the step it is told to."""
    from training.checkpoint import Checkpoints, stopping
    from training.settings import prepare_torch

    prepare_torch()
    with joined(torch.device("cpu")) as ranks:
        held = Checkpoints(folder / "held", "it", every=0.0, ranks=ranks)
        dies = int(os.environ.get("DIES_AT", "0"))
        first_life = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        due, taken = held.due, 0

        def counted() -> bool:
            nonlocal taken
            taken += 1
            if first_life and ranks.rank == 1 and taken == dies:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(float(os.environ.get("SLOWLY", "0")))
            return due()

        held.due = counted  # type: ignore[method-assign]
        with stopping(held):
            trainer = trained("autoifs", ranks, checkpoints=held)
        if ranks.first:
            save_file(trainer.state(), folder / "result.safetensors")


def test_a_rank_that_is_killed_and_a_run_told_to_end_change_nothing(together, tmp_path):
    dies = str(np.random.default_rng().integers(1, 12))
    process = torchrun("run_checked", tmp_path, "--max-restarts", "1", DIES_AT=dies, SLOWLY="0.2")
    second_stage = tmp_path / "held" / "stage-002-end.safetensors"
    while not second_stage.exists():
        assert process.poll() is None, "torchrun starts the ranks again when one dies"
        time.sleep(0.05)
    process.terminate()
    told = time.monotonic()
    assert process.wait(60) != 0
    assert time.monotonic() - told < 30
    assert not (tmp_path / "result.safetensors").exists()
    assert torchrun("run_checked", tmp_path).wait(300) == 0
    wanted, found = (
        load_file(one)
        for one in (together / "autoifs.safetensors", tmp_path / "result.safetensors")
    )
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())
