"""How tables lie on disk, and their upkeep: merged files, deleted ones, and those models need."""

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake
from typer.testing import CliRunner

from features import tables as lake_tables
from features.lake import Lake
from features.spec.load import parse_spec
from features.spec.model import Spec
from jobs.cli import app
from jobs.home import Home
from jobs.tables import maintain, tables
from jobs.train import registry_of
from tests.conftest import cache
from tests.integration.jobs.conftest import TEXT

pytestmark = pytest.mark.slow

NOW = timedelta(0)


@pytest.fixture
def spec() -> Spec:
    return parse_spec(TEXT, "shop.yaml")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path, cache=cache())


@pytest.fixture
def lake(home: Home, spec: Spec) -> Lake:
    """Tables of which the vocabulary has grown by three small files."""
    made = home.lake(spec.product)
    lake_tables.ensure(made, spec)
    for index in (1, 2, 3):
        rows = {"feature": ["c_device"], "token": [f"t{index}"], "ds": ["2026-01-01"]}
        table = pa.table({**rows, "index": pa.array([index], pa.int32())})
        said = CommitProperties(custom_metadata={"userMetadata": '{"ds": "2026-01-01"}'})
        path = made.path("vocabulary")
        write_deltalake(
            path,
            table.select(["feature", "token", "index", "ds"]),
            mode="append",
            commit_properties=said,
        )
    return made


def of(table: str, found: dict[str, list[dict[str, object]]]) -> dict[str, object]:
    return next(entry for entry in found["tables"] if entry["table"] == table)


def tokens(lake: Lake, version: int | None = None) -> set[str]:
    opened = lake.open("vocabulary", version).to_pyarrow_table(columns=["token"])
    return set(opened["token"].to_pylist())


def test_tables_tells_of_rows_files_and_small_files(lake: Lake) -> None:
    found = of("vocabulary", tables(lake=lake))
    assert (found["rows"], found["files"], found["small"], found["partitions"]) == (3, 3, 3, 1)
    assert (of("samples", tables(lake=lake))["files"]) == 0


def test_small_files_are_merged_and_old_ones_deleted_without_losing_what_commits_said(
    lake: Lake, spec: Spec, home: Home
) -> None:
    planned = maintain(spec=spec, lake=lake, home=home, keep=NOW, dry_run=True)
    assert of("vocabulary", planned)["merged"] == 3
    assert of("vocabulary", tables(lake=lake))["files"] == 3, "a dry run changed something"

    done = maintain(spec=spec, lake=lake, home=home, keep=NOW)

    assert of("vocabulary", done)["deleted"] == 3
    assert of("vocabulary", tables(lake=lake))["files"] == 1
    assert tokens(lake) == {"t1", "t2", "t3"}
    said = lake.commit_of("vocabulary", date(2026, 1, 1))
    assert said is not None
    assert said["ds"] == "2026-01-01"
    again = maintain(spec=spec, lake=lake, home=home, keep=NOW)
    assert (of("vocabulary", again)["merged"], of("vocabulary", again)["deleted"]) == (0, 0)


def test_what_a_registered_model_was_trained_on_stays_readable(
    lake: Lake, spec: Spec, home: Home, tmp_path: Path
) -> None:
    trained_on = lake.open("vocabulary").version() - 1
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "model.json").write_text("{}")
    registry_of(spec, home).register(
        parts={"challenger": tmp_path / "part"},
        params={},
        metrics=[],
        tags={"ds": "2026-01-01", "vocabulary_version": str(trained_on)},
    )

    done = maintain(spec=spec, lake=lake, home=home, keep=NOW)

    assert of("vocabulary", done)["kept_versions"] == [trained_on]
    assert tokens(lake, trained_on) == {"t1", "t2"}
    assert of("vocabulary", tables(lake=lake))["files"] == 1


def test_files_that_a_reader_may_hold_are_not_deleted(lake: Lake, spec: Spec, home: Home) -> None:
    before = lake.open("vocabulary").version()
    maintain(spec=spec, lake=lake, home=home, keep=timedelta(days=30))
    assert tokens(lake, before) == {"t1", "t2", "t3"}
    words = ["maintain", "--keep", "1h", "--home", str(home.root)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "--keep 1h is less than a day" in done.stdout
