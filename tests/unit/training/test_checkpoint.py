"""A training that was killed or told to end goes on to the same weights, to the bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from features.spec.policy import Embeddings, Search
from training.checkpoint import Checkpoints, Saved, Stopped, stopping
from training.search import Record, search_and_retrain
from training.trainer import Trainer, constant, linear_decay
from training.zoo import build

FORMS = {
    "coefficients": {},
    "official": {"form": "official"},
    "instance": {"gates": "instance"},
    "crossfit": {},
}
SPARSE = Embeddings(optimiser="adagrad")


@pytest.fixture
def trainer(architecture, examples, settings):
    """Return a trainer of a small model whose checkpoints, if any, lie in a folder."""

    def make(folder: Path | None = None, *, kind: str = "autoifs", every=0.0, form=None, **changed):
        gates = FORMS[form or "coefficients"]
        model = build(architecture(kind=kind, dropout=0.2, **gates), 1)
        held = None if folder is None else Checkpoints(folder, "this one", every=every)
        return Trainer(
            model,
            examples(400),
            examples(150, seed=1),
            settings(**changed),
            checkpoints=held,
        )

    return make


def search(form: str) -> Search:
    recipe = {"recipe": "boxed"} if form == "coefficients" else {}
    return Search(epochs=2, rewind=0.5, shrink=(0.0, 1.0), **recipe, **FORMS[form])


def same(one: Trainer, other: Trainer) -> bool:
    first, second = one.state(), other.state()
    return all(torch.equal(first[name], second[name]) for name in first)


def looks(trainer: Trainer) -> list[dict]:
    said = [one.to_json() for one in trainer.history]
    return [{key: value for key, value in one.items() if key != "seconds"} for one in said]


def stop_at(trainer: Trainer, count: int) -> None:
    """Let ``trainer`` be told to end in its ``count``-th step of all stages."""
    taken = 0
    due = trainer.checkpoints.due

    def told() -> bool:
        nonlocal taken
        taken += 1
        trainer.checkpoints.stop = taken >= count
        return due()

    trainer.checkpoints.due = told


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("at", [1, 9, 17, 23])
def test_a_search_that_was_stopped_anywhere_ends_with_the_same_weights(trainer, tmp_path, form, at):
    whole, record = trainer(form=form), Record()
    search_and_retrain(whole, search(form), 2, record)
    with pytest.raises(Stopped, match="the same command goes on from it"):
        stopped = trainer(tmp_path, form=form)
        stop_at(stopped, at)
        search_and_retrain(stopped, search(form), 2, Record())
    resumed, again = trainer(tmp_path, form=form), Record()
    search_and_retrain(resumed, search(form), 2, again)
    assert same(whole, resumed)
    assert looks(whole) == looks(resumed)
    assert again.stages == record.stages


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("m3oe", {}),
        ("shared_bottom", {"embeddings": SPARSE}),
        ("shared_bottom", {"precision": "float16"}),
        ("causalint", {"ema": 0.0}),
    ],
)
def test_so_does_a_training_with_rows_aside_sparse_tables_or_a_scaler(
    trainer, tmp_path, kind, changed
):
    whole = trainer(kind=kind, **changed)
    whole.run("train", 14, linear_decay)
    with pytest.raises(Stopped):
        stopped = trainer(tmp_path, kind=kind, **changed)
        stop_at(stopped, 10)
        stopped.run("train", 14, linear_decay)
    resumed = trainer(tmp_path, kind=kind, **changed)
    resumed.run("train", 14, linear_decay)
    assert same(whole, resumed)


def test_a_half_written_or_damaged_checkpoint_is_passed_over(trainer, tmp_path, caplog):
    whole = trainer()
    whole.run("train", 14, linear_decay)
    with pytest.raises(Stopped):
        stopped = trainer(tmp_path)
        stop_at(stopped, 10)
        stopped.run("train", 14, linear_decay)
    before, newest = sorted(tmp_path.glob("*-step-*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1000])
    (tmp_path / "stage-001-step-000000012.half").write_bytes(before.read_bytes()[:500])
    resumed = trainer(tmp_path)
    resumed.run("train", 14, linear_decay)
    assert same(whole, resumed)
    assert f"{newest.name} is damaged" in caplog.text


def test_another_trainings_checkpoint_is_passed_over(tmp_path):
    Checkpoints(tmp_path, "one").end(1, Saved({"w": torch.ones(2)}, {"look": 3}))
    assert Checkpoints(tmp_path, "another").ended(1) is None
    assert Checkpoints(tmp_path, "one").ended(1).said["look"] == 3


def test_a_checkpoint_is_of_safetensors_alone_and_gone_when_the_training_is_over(trainer, tmp_path):
    run = trainer(tmp_path / "held")
    run.run("train", 9, constant)
    (only,) = (tmp_path / "held").iterdir()
    assert only.name == "stage-001-end.safetensors"
    assert {f"model.{name}" for name in run.state()} <= load_file(only).keys()
    run.checkpoints.clear()
    assert not (tmp_path / "held").exists()


def test_time_says_when_a_checkpoint_is_due(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    held = Checkpoints(tmp_path, "it", every=60)
    assert not held.due()
    now[0] += 61
    assert held.due()
    held.keep(1, 5, Saved({}, {}))
    assert not held.due()


def test_sigterm_asks_for_the_end_and_is_given_back(tmp_path):
    held, before = Checkpoints(tmp_path, "it"), signal.getsignal(signal.SIGTERM)
    with stopping(held):
        os.kill(os.getpid(), signal.SIGTERM)
        assert held.stop and held.due()
    assert signal.getsignal(signal.SIGTERM) is before


CHILD = """
import sys
from pathlib import Path
from tests.unit.training.test_checkpoint import child
child(Path(sys.argv[1]))
"""


def child(folder: Path) -> None:
    """Search and retrain with a checkpoint a step, and save what comes out."""
    from tests.unit.training import conftest

    conftest.prepare_torch()
    made = (conftest.architecture, conftest.inputs, conftest.settings)
    architecture, inputs, settings = (one.__wrapped__() for one in made)
    examples = conftest.examples.__wrapped__(inputs)
    held = Checkpoints(folder / "held", "it", every=0.0)
    trainer = Trainer(
        build(architecture(dropout=0.2), 1),
        examples(400),
        examples(150, seed=1),
        settings(),
        checkpoints=held,
    )
    with stopping(held):
        search_and_retrain(trainer, search("coefficients"), 2, Record())
    save_file(trainer.state(), folder / "result.safetensors")


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], cwd=Path(__file__).parents[3]
    )


@pytest.mark.slow
def test_killed_at_random_and_started_again_it_ends_with_the_same_weights(trainer, tmp_path):
    deaths = 0
    for steps in np.random.default_rng().integers(1, 11, 2):
        process, before = start(tmp_path), taken(tmp_path)
        while process.poll() is None and taken(tmp_path) < before + steps:
            time.sleep(0.001)
        process.kill()
        deaths += process.wait() == -signal.SIGKILL
    assert deaths == 2 and not (tmp_path / "result.safetensors").exists()
    assert start(tmp_path).wait() == 0
    whole, found = trainer(), load_file(tmp_path / "result.safetensors")
    search_and_retrain(whole, search("coefficients"), 2, Record())
    assert all(torch.equal(value, found[name]) for name, value in whole.state().items())


def taken(folder: Path) -> int:
    """Return how many steps the checkpoints of ``folder`` stand for."""
    names = [path.stem.split("-") for path in (folder / "held").glob("stage-*.safetensors")]
    ended = max((int(name[1]) for name in names if name[2] == "end"), default=0)
    return 3 * ended + max((int(name[3]) for name in names if name[2] == "step"), default=0)
