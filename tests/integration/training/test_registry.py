"""The registry on a real MLflow store in a SQLite file."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from features.errors import RegistryError
from training.artifact_files import checksum, scratch_beside, seal, write_json
from training.registry import Registry
from training.versions import Held, read_client, read_file

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
        assert (one.champion(), one.challenger(), list(one.list()), one.history()) == (
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


def test_the_file_says_what_mlflow_says(registry, part, store):
    for ds in ("2026-03-08", "2026-03-09", "2026-03-10"):
        register(registry, part, ds)
    registry.promote("1")
    registry.promote("2")
    with registry._mlflow() as client:
        client.delete_model_version(registry.product, "3")
        asked = read_client(client, registry.product)
    read = read_file(store, registry.product)
    assert isinstance(read, Held)
    assert asdict(read) == asdict(asked)
    assert [one.version for one in read.versions] == ["2", "1"]
    assert read.history == ("1",)


def test_a_file_that_is_not_as_known_is_left_to_mlflow(tmp_path):
    (tmp_path / "other.db").write_bytes(b"no database at all" * 100)
    assert read_file(tmp_path / "other.db", "shop") is None


def test_downloaded_files_are_checked_against_the_registered_checksum(registry, part, tmp_path):
    made = register(registry, part)
    for name in ("challenger", "baseline"):
        folder = registry.download("1", tmp_path / "fetched", name)
        assert (folder / "model.safetensors").read_text() == f"{name} 2026-03-08"
    Path(made.source, "model.safetensors").write_text("tampered")
    with pytest.raises(RegistryError, match=r"model\.safetensors of the model in .* not as it"):
        registry.download("1", tmp_path / "again")
    other = part("other", "another model")
    for path in Path(made.source).iterdir():
        path.write_bytes((other / path.name).read_bytes())
    with pytest.raises(RegistryError, match=r"challenger of .* version 1 is not as it was"):
        registry.download("1", tmp_path / "again")


def test_files_that_lie_elsewhere_are_fetched_by_mlflow(registry, part, tmp_path, monkeypatch):
    register(registry, part)
    monkeypatch.setattr("training.registry._on_this_machine", lambda source, part: None)
    assert registry.download("1", tmp_path / "far").name == "challenger"


def test_promotion_and_rollback_move_the_champion_and_remember_the_one_before(registry, part):
    for ds in ("2026-03-08", "2026-03-09", "2026-03-10"):
        register(registry, part, ds)
    assert registry.promote("1") is None
    assert registry.promote("2", expect="1").version == "1"
    assert registry.promote("3").version == "2"
    assert registry.champion().version == "3"
    assert registry.history() == ("1", "2")
    now, before = registry.rollback()
    assert (now.version, before.version) == ("2", "3")
    assert registry.rollback()[0].version == "1"
    assert registry.champion().version == "1"
    with pytest.raises(RegistryError, match="no earlier champion to roll back to"):
        registry.rollback()


def test_promoting_the_champion_again_changes_nothing(registry, part):
    register(registry, part)
    registry.promote("1")
    registry.promote("1")
    assert registry.history() == ()


def test_a_champion_that_changed_since_the_decision_is_not_overwritten(registry, part):
    for ds in ("2026-03-08", "2026-03-09"):
        register(registry, part, ds)
    registry.promote("1", expect="none")
    with pytest.raises(RegistryError, match="is version 1 and not none"):
        registry.promote("2", expect="none")
    with pytest.raises(RegistryError, match="is version 1 and not 2"):
        registry.promote("2", expect="2")
    assert registry.champion().version == "1"


def test_another_process_that_promotes_at_the_same_time_is_noticed(registry, part, monkeypatch):
    for ds in ("2026-03-08", "2026-03-09"):
        register(registry, part, ds)
    client = registry._opened()
    real = client.set_registered_model_alias

    def both(name: str, alias: str, version: str) -> None:
        real(name, alias, version)
        real(name, alias, "1")

    monkeypatch.setattr(client, "set_registered_model_alias", both)
    with pytest.raises(RegistryError, match="another process made it version 1 at the same time"):
        registry.promote("2")


@pytest.mark.parametrize("version", ["9", "latest", "-1", ""])
def test_an_unknown_version_is_answered_with_those_there_are(registry, part, version):
    register(registry, part)
    for ask in (registry.get, registry.promote):
        with pytest.raises(RegistryError, match="registered: 1 "):
            ask(version)


def test_a_champion_before_that_was_deleted_cannot_come_back(registry, part):
    for ds in ("2026-03-08", "2026-03-09"):
        register(registry, part, ds)
    registry.promote("1")
    registry.promote("2")
    with registry._mlflow() as client:
        client.delete_model_version(registry.product, "1")
    with pytest.raises(RegistryError, match="no model version 1; registered: 2"):
        registry.rollback()
    assert registry.champion().version == "2"


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
