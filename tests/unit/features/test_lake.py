"""Tables written and read without a JVM."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from features.errors import LakeError
from features.lake import Lake


@pytest.fixture
def lake(any_lake: Lake) -> Lake:
    """Every test here holds on a disk and on an object store."""
    return any_lake


def rows(ds: str, step: str, value: float) -> pa.Table:
    return pa.table({"ds": [ds], "step": [step], "value": [value]})


def test_a_replacement_touches_its_own_rows_only(lake: Lake) -> None:
    for ds, step, value in [("2026-01-01", "a", 1.0), ("2026-01-01", "b", 2.0)]:
        lake.replace("runs", {"ds": ds, "step": step}, rows(ds, step, value))
    lake.replace("runs", {"ds": "2026-01-02", "step": "a"}, rows("2026-01-02", "a", 3.0))

    lake.replace("runs", {"ds": "2026-01-01", "step": "a"}, rows("2026-01-01", "a", 9.0))

    found = (
        lake.open("runs").to_pyarrow_table().sort_by([("ds", "ascending"), ("step", "ascending")])
    )
    assert found["value"].to_pylist() == [9.0, 2.0, 3.0]
    assert lake.days("runs") == ["2026-01-01", "2026-01-02"]


def test_a_replacement_may_bring_a_new_column(lake: Lake) -> None:
    lake.replace("runs", {"ds": "2026-01-01"}, rows("2026-01-01", "a", 1.0))

    more = rows("2026-01-02", "a", 2.0).append_column("note", pa.array(["new"]))
    lake.replace("runs", {"ds": "2026-01-02"}, more)

    found = lake.open("runs").to_pyarrow_table().sort_by("ds")
    assert found["note"].to_pylist() == [None, "new"]


def test_a_table_that_is_not_there_is_named_with_the_way_to_get_it(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"table shop/samples does not exist in .*autoifs backfill"):
        lake.open("samples")
    assert lake.days("samples") == []


def test_files_are_found_in_a_folder_whose_name_has_a_space(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "my lake"), "shop")
    lake.replace("runs", {"ds": "2026-01-01"}, pa.table({"ds": ["2026-01-01"], "step": ["a"]}))
    (file,) = lake.files("runs", "2026-01-01", "2026-01-01")
    assert Path(file).exists()
    assert lake.files("runs", "2026-01-02", "2026-01-03") == []


def test_a_table_that_cannot_be_written_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("in the way")
    rows = pa.table({"ds": ["2026-01-01"], "step": ["train"]})
    with pytest.raises(LakeError, match=r"can't write .*shop/runs \(.*\); free space or"):
        Lake(str(tmp_path), "shop").replace("runs", {"ds": "2026-01-01"}, rows)


def test_what_commits_say_is_read_on_and_a_new_table_in_the_old_one_s_place_starts_anew(
    tmp_path: Path,
) -> None:
    lake = Lake(str(tmp_path), "shop")

    def commit(ds: str, note: str) -> None:
        said = {"userMetadata": json.dumps({"ds": ds, "note": note})}
        write_deltalake(
            lake.path("samples"),
            pa.table({"ds": [ds]}),
            mode="append",
            commit_properties=CommitProperties(custom_metadata=said),
        )

    def notes() -> dict[str, tuple[str, int]]:
        return {ds: (said["note"], said["version"]) for ds, said in lake.commits("samples").items()}

    commit("2026-01-01", "first")
    commit("2026-01-02", "other")
    assert notes() == {"2026-01-01": ("first", 0), "2026-01-02": ("other", 1)}
    commit("2026-01-01", "again")
    commit("2026-01-01", "and again")
    assert notes() == {"2026-01-01": ("and again", 3), "2026-01-02": ("other", 1)}
    shutil.rmtree(lake.path("samples"))
    commit("2026-01-03", "new")
    assert notes() == {"2026-01-03": ("new", 0)}
