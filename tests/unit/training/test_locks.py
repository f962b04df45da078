"""The lock that keeps two promotions apart where MLflow's database can't be reached."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from features.errors import PromotionBusyError
from training import locks
from training.locks import PLACE, in_folder, lock_of

CHECKOUT = Path(__file__).resolve().parents[3]


def client(location: str) -> SimpleNamespace:
    """Return what answers as MLflow does about where artifacts lie."""
    experiment = SimpleNamespace(artifact_location=location)
    return SimpleNamespace(get_experiment_by_name=lambda name: experiment)


def test_a_lock_is_held_by_one_and_then_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.2)
    with in_folder(tmp_path, "shop"):
        with (
            pytest.raises(PromotionBusyError, match=r"champion of shop .*\.shop\.promotion"),
            in_folder(tmp_path, "shop"),
        ):
            pytest.fail("two hold it")
        with in_folder(tmp_path, "other"):
            pass
    with in_folder(tmp_path, "shop") as still_held:
        still_held()


def test_a_killed_holder_holds_nothing(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from training.locks import in_folder\n"
        "with in_folder(Path(sys.argv[1]), 'shop'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=CHECKOUT, check=False)
    assert (tmp_path / ".shop.promotion").exists()
    with in_folder(tmp_path, "shop"):
        pass


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_lock_lies_beside_the_artifacts_or_where_it_is_told(tmp_path, monkeypatch, scheme):
    monkeypatch.delenv(PLACE, raising=False)
    with lock_of(client(f"{scheme}{tmp_path}/1"), "shop"):
        assert (tmp_path / "1" / ".shop.promotion").exists()
    monkeypatch.setenv(PLACE, str(tmp_path / "shared"))
    with lock_of(client("mlflow-artifacts:/1"), "shop"):
        assert (tmp_path / "shared" / ".shop.promotion").exists()


def test_artifacts_that_only_the_server_reaches_are_answered_with_what_to_set(monkeypatch):
    monkeypatch.delenv(PLACE, raising=False)
    with pytest.raises(PromotionBusyError, match=f"{PLACE}, or MLflow's database in AUTOIFS_MLFL"):
        lock_of(client("mlflow-artifacts:/1"), "shop")
