"""The registry on a real MLflow store in a SQLite file."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import requests

from features.errors import (
    ArtifactError,
    MlflowError,
    RegistryError,
    UnknownVersionError,
    VersionInUseError,
)
from training.artifact_files import checksum, scratch_beside, seal, write_json
from training.database import Unreadable, reading
from training.mlflow_store import Store
from training.registry import Registry
from training.versions import read, read_client

pytestmark = pytest.mark.slow


@pytest.fixture
def registry(home, store) -> Registry:
    return Registry(home.mlflow_uri, "shop", home.mlflow_artifacts)


@pytest.fixture
def part(tmp_path):
    """Return a folder like an artifact's."""

    def make(name: str, content: str = "weights") -> Path:
        scratch = scratch_beside(tmp_path / name)
        (scratch / "model.safetensors").write_text(content)
        write_json(scratch / "model.json", {"content": content})
        seal(scratch, tmp_path / name)
        return tmp_path / name

    return make


def register(registry: Registry, part, ds: str = "2026-03-08", **tags: str):
    folders = {name: part(name, f"{name} {ds}") for name in ("challenger", "baseline")}
    sums = {f"checksum_{name}": checksum(folder) for name, folder in folders.items()}
    return registry.register(
        parts=folders,
        params={"batch": 1024},
        metrics=[("validation", 0.5, 1), ("validation", 0.4, 2)],
        tags={"ds": ds, "checksum": sums["checksum_challenger"], **sums, **tags},
    )


def test_nothing_is_registered_before_the_first_version(registry, tmp_path):
    empty = Registry(f"sqlite:///{tmp_path}/none.db", "shop", tmp_path)
    for one in (empty, registry):
        held = one.held()
        assert (held.champion, one.challenger(), list(held.versions), held.trail) == (
            None,
            None,
            [],
            (),
        )
    assert not (tmp_path / "none.db").exists(), "looking makes no store"


def test_a_registered_night_is_the_challenger_with_its_tags_metrics_and_files(registry, part):
    made = register(registry, part, fingerprint="abc")
    assert made.version == "1" and made.aliases == ("challenger",)
    assert made.tags["fingerprint"] == "abc"
    assert registry.find(fingerprint="abc", ds="2026-03-08") == made
    assert registry.find(fingerprint="abd") is None
    with registry._mlflow() as client:
        run = client.get_run(made.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.params == {"batch": "1024"}
        history = client.get_metric_history(made.run_id, "validation")
        assert [(one.step, one.value) for one in history] == [(1, 0.5), (2, 0.4)]


def test_the_file_says_what_mlflow_says(registry, part):
    for ds in ("2026-03-08", "2026-03-09", "2026-03-10"):
        register(registry, part, ds)
    registry.promote("1", who="anna")
    registry.promote("2", who="anna", why="better")
    with registry._mlflow() as client:
        client.delete_model_version(registry.product, "3")
        asked = read_client(client, registry.product)
    with reading(registry.uri) as ask:
        read_off = read(ask, registry.product)
    assert asdict(read_off) == asdict(asked)
    assert read_off.numbers == ["2", "1"]
    assert read_off.earlier == ("1",)


def test_a_file_that_is_not_as_known_is_left_to_mlflow(tmp_path):
    (tmp_path / "other.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Unreadable), reading(f"sqlite:///{tmp_path}/other.db") as ask:
        read(ask, "shop")


def test_downloaded_files_are_checked_against_the_registered_checksum(registry, part, tmp_path):
    made = register(registry, part)
    for name in ("challenger", "baseline"):
        folder = registry.download("1", tmp_path / "fetched", name)
        assert (folder / "model.safetensors").read_text() == f"{name} 2026-03-08"
    Path(made.source, "model.safetensors").write_text("tampered")
    with pytest.raises(RegistryError, match=r"model\.safetensors of challenger of .* not as it"):
        registry.download("1", tmp_path / "again")
    other = part("other", "another model")
    for path in Path(made.source).iterdir():
        path.write_bytes((other / path.name).read_bytes())
    with pytest.raises(RegistryError, match=r"challenger of .* version 1 is not as it was"):
        registry.download("1", tmp_path / "again")


def test_a_version_whose_run_was_deleted_and_collected_is_one_sentence(registry, part, tmp_path):
    made = register(registry, part)
    with registry._mlflow() as client:
        client.delete_run(made.run_id)
    assert registry.download("1", tmp_path / "deleted").name == "challenger"
    shutil.rmtree(Path(made.source).parent)
    with pytest.raises(ArtifactError, match="the files of shop version 1 are gone") as told:
        registry.download("1", tmp_path / "collected")
    assert (told.value.exit_code, "\n" in str(told.value)) == (2, False)


def test_a_pickle_in_the_registry_is_refused_by_name_and_not_loaded(registry, tmp_path):
    class Deadly:
        def __reduce__(self):
            return (tmp_path / "loaded").touch, ()

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Deadly()))
    registry.register(parts={"challenger": folder}, params={}, metrics=[], tags={"checksum": "x"})
    with pytest.raises(
        ArtifactError, match=r"python_model\.pkl of challenger of shop version 1 is"
    ):
        registry.download("1", tmp_path / "fetched")
    assert not (tmp_path / "loaded").exists()


def test_files_that_lie_elsewhere_are_fetched_by_mlflow(registry, part, tmp_path, monkeypatch):
    register(registry, part)
    monkeypatch.setattr("training.registry._on_this_machine", lambda source, part: None)
    assert registry.download("1", tmp_path / "far").name == "challenger"


def test_promotion_and_rollback_move_the_champion_and_leave_a_trail(registry, part):
    for ds in ("2026-03-08", "2026-03-09", "2026-03-10"):
        register(registry, part, ds)
    registry.promote("1", "none", who="anna")
    registry.promote("2", "1", who="anna", why="better in search")
    registry.promote("3", who="bob")
    assert registry.promote("3", who="bob") is None, "it is champion already"
    assert registry.rollback(who="carol").after == "2"
    assert registry.rollback("2", who="carol").after == "1"
    assert registry.champion().version == "1"
    with pytest.raises(RegistryError, match="no earlier champion to roll back to"):
        registry.rollback(who="carol")
    told = [(one.action, one.who, one.before, one.after) for one in registry.held().trail]
    assert told == [
        ("promote", "anna", None, "1"),
        ("promote", "anna", "1", "2"),
        ("promote", "bob", "2", "3"),
        ("rollback", "carol", "3", "2"),
        ("rollback", "carol", "2", "1"),
    ]
    assert registry.held().trail[1].why == "better in search"


def test_a_champion_that_changed_since_the_decision_is_not_overwritten(registry, part):
    for ds in ("2026-03-08", "2026-03-09"):
        register(registry, part, ds)
    registry.promote("1", "none", who="anna")
    with pytest.raises(RegistryError, match="is version 1 and not none"):
        registry.promote("2", "none", who="anna")
    assert (registry.champion().version, len(registry.held().trail)) == ("1", 1)


def test_an_alias_that_was_moved_in_mlflow_itself_is_told_and_can_be_rolled_back(registry, part):
    for ds in ("2026-03-08", "2026-03-09"):
        register(registry, part, ds)
    registry.promote("1", who="anna")
    with registry._mlflow() as client:
        client.set_registered_model_alias(registry.product, "champion", "2")
    registry.rollback(who="bob")
    told = [(one.action, one.before, one.after) for one in registry.held().trail]
    assert told == [("promote", None, "1"), ("observe", "1", "2"), ("rollback", "2", "1")]


def test_a_retired_version_and_its_run_are_gone_and_the_trail_says_by_whom(registry, part):
    for ds in ("2026-03-08", "2026-03-09", "2026-03-10", "2026-03-11"):
        register(registry, part, ds)
    registry.promote("2", who="anna")
    registry.promote("3", who="anna")
    registry.tag("1", pinned="the paper's")
    for number, reason in {
        "1": "pinned",
        "2": "rollback",
        "3": "champion",
        "4": "challenger",
    }.items():
        with pytest.raises(VersionInUseError, match=reason):
            registry.retire(number, who="bob")
    registry.untag("1", "pinned")
    gone = registry.retire("1", who="bob", why="too old")
    assert registry.held().numbers == ["4", "3", "2"]
    last = registry.held().trail[-1]
    assert (last.action, last.version, last.who, last.why, last.state) == (
        "retire",
        "1",
        "bob",
        "too old",
        "done",
    )
    with registry._mlflow() as client:
        assert client.get_run(gone.run_id).info.lifecycle_stage == "deleted"
    with pytest.raises(UnknownVersionError, match="registered: 4, 3, 2"):
        registry.retire("1", who="bob")


def test_a_store_that_does_not_answer_is_one_sentence_without_its_password(tmp_path):
    uri = f"sqlite:///{tmp_path}/sub.db"
    (tmp_path / "sub.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(RegistryError, match="MLflow at sqlite"):
        Registry(uri, "shop", tmp_path).list()


def test_looking_and_fetching_never_import_mlflow(registry, part, store, tmp_path):
    register(registry, part)
    code = (
        "import sys, json\n"
        "from pathlib import Path\n"
        "from training.registry import Registry\n"
        f"r = Registry({registry.uri!r}, {registry.product!r}, Path({str(tmp_path)!r}))\n"
        f"r.download(r.challenger().version, Path({str(tmp_path / 'fetched')!r}))\n"
        "print(json.dumps([m for m in ('mlflow', 'torch', 'pyspark') if m in sys.modules]))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert json.loads(said.stdout) == []


@pytest.mark.parametrize(("status", "kind"), [(403, RegistryError), (503, MlflowError)])
def test_a_server_that_will_not_hand_on_artifacts_is_told_in_one_sentence(status, kind):
    answer = requests.Response()
    answer.status_code, answer.reason = status, "Forbidden"
    with (
        pytest.raises(kind, match=f"MLflow at http://127.0.0.1:9 .*{status}") as told,
        Store("http://127.0.0.1:9", "shop").asking(),
    ):
        answer.raise_for_status()
    assert isinstance(told.value, MlflowError) == (status == 503), "a refusal is not tried again"
