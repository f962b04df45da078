"""Three engines make the same samples of a day, so that their times can be compared."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from features.lake import Lake
from features.spec import load_spec
from jobs import samples
from jobs.bench.agree import Facts, facts_of, require_agreement
from jobs.home import Home
from jobs.simulator.run import simulate
from tests.conftest import cache

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

ROWS = 2_000
DAYS = (date(2026, 1, 1), date(2026, 1, 2))


def ours(raw: Path, root: Path) -> Facts:
    lake = Lake(str(root / "lake"), "bazaar")
    home = Home(root=root, cache=cache())
    for day in DAYS:
        samples.build(
            spec=load_spec("bazaar"),
            spec_file_name="bazaar.yaml",
            lake=lake,
            home=home,
            source=raw,
            day=day,
        )
    tables = {"samples": "staged", "counts": "counts", "quarantine": "quarantine"}
    last = str(DAYS[-1])
    return facts_of({name: lake.files(table, last, last) for name, table in tables.items()})


def test_three_engines_make_the_same_of_a_day(spark: "SparkSession", tmp_path: Path) -> None:
    pytest.importorskip("duckdb", reason="needs the group bench: uv sync --group bench")
    pytest.importorskip("polars", reason="needs the group bench: uv sync --group bench")
    from jobs.bench.child import reference

    raw = tmp_path / "raw"
    simulate(raw, days=len(DAYS), rows=ROWS, seed=3)
    found = {"autoifs": ours(raw, tmp_path / "ours")}
    for engine in ("duckdb", "polars"):
        found[engine] = reference(engine, raw, tmp_path / engine, DAYS, cores=2).facts
    assert found["autoifs"]["samples: rows"] == pytest.approx(ROWS, rel=0.05)
    require_agreement(ROWS, found)
