"""The pure parts of ``autoifs bench samples``: goals, tables, agreement, memory, refusals."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from features.errors import UserError
from features.spec import layout_of, load_spec
from jobs.bench import measure
from jobs.bench.agree import require_agreement
from jobs.bench.cluster import counted, spent
from jobs.bench.goals import GIB, goals_of
from jobs.bench.memory import tree_bytes
from jobs.bench.request import Request
from jobs.bench.shop import ENTITIES, PLACES, PRIOR, RATED, TASKS, rate_columns
from jobs.bench.table import markdown
from jobs.home import Home


def engine(seconds: list[float], gib: float = 1.0) -> dict[str, Any]:
    return {"seconds": seconds, "peak_bytes": gib * GIB, "start": 0.5}


def build(rows: int, ours: float, duckdb: float, gib: float = 1.0) -> dict[str, Any]:
    engines = {"autoifs": engine([ours + 9, ours], gib), "duckdb": engine([duckdb])}
    return {"rows": rows, "engines": engines}


def test_a_build_is_held_to_four_times_duckdb_and_six_gibibytes_at_ten_million_rows() -> None:
    ratio, memory = goals_of({"build": [build(10_000_000, 41.0, 10.0, 5.9)]})
    assert (ratio["figure"], ratio["limit"], ratio["met"]) == (4.1, 4.0, False)
    assert (memory["figure"], memory["limit"], memory["met"]) == (5.9, 6.0, True)
    assert goals_of({"build": [build(100_000, 41.0, 10.0)]}) == []


def test_ten_times_the_rows_may_take_eleven_times_as_long() -> None:
    found = [build(1_000_000, 2.0, 1.0), build(10_000_000, 22.5, 10.0)]
    linear = goals_of({"build": found})[-1]
    assert (linear["figure"], linear["limit"], linear["met"]) == (11.25, 11.0, False)


def test_nights_audits_and_backfills_are_held_to_their_ratios() -> None:
    found = {
        "night": {"early": 10.0, "late": 11.0},
        "audit": {"audit": 3.0, "pass": 1.0},
        "backfill": {"together": 40.0, "single": 100.0},
    }
    told = [(goal["figure"], goal["limit"], goal["met"]) for goal in goals_of(found)]
    assert told == [(1.1, 1.15, True), (3.0, 2.0, False), (0.4, 0.5, True)]


def test_markdown_says_each_engine_beside_duckdb() -> None:
    found = {"cores": 2, "build": [build(1_000_000, 8.0, 4.0)], "goals": []}
    row = next(line for line in markdown(found).splitlines() if "autoifs" in line)
    assert row.split()[1::2] == ["1,000,000", "autoifs", "8.0", "2.00", "1.0", "0.5"]


def test_engines_that_differ_are_told_by_what_they_differ_in() -> None:
    same = {"samples: rows": 5.0, "samples: n_price": 1.0, "samples: known": None}
    require_agreement(5, {"autoifs": same, "duckdb": {**same, "samples: n_price": 1.0000000001}})
    with pytest.raises(UserError, match=r"autoifs and polars disagree on samples: rows: 5.0 .*4"):
        require_agreement(5, {"autoifs": same, "polars": {**same, "samples: rows": 4.0}})
    with pytest.raises(UserError, match="known"):
        require_agreement(5, {"autoifs": same, "polars": {**same, "samples: known": 0.0}})


def test_the_memory_of_a_process_counts_what_it_started(tmp_path: Path) -> None:
    for pid, parent, pages in ((1, 0, 100), (20, 1, 7), (21, 20, 5), (3, 1, 50)):
        (tmp_path / str(pid)).mkdir()
        zeros = " ".join(["0"] * 19)
        text = f"{pid} (a (java) b) S {parent} {zeros} {pages} 0"
        (tmp_path / str(pid) / "stat").write_text(text)
    (tmp_path / "999").mkdir()  # ended between two looks
    assert tree_bytes(20, tmp_path) == 12 * os.sysconf("SC_PAGE_SIZE")


def test_a_request_survives_the_way_to_its_process(tmp_path: Path) -> None:
    request = Request(
        work="autoifs", raw=tmp_path, out=tmp_path, cache=tmp_path, days=(), cores=2, repeats=3
    )
    assert Request.of(request.text()) == request


def test_the_references_know_the_shop_as_its_spec_declares_it() -> None:
    spec = load_spec("bazaar")
    assert (spec.scenarios.names, tuple(spec.tasks)) == (PLACES, TASKS)
    assert [len(entity) for entity in spec.entities] == [len(entity) for entity in ENTITIES]
    assert {rates.prior for rates in spec.features.rates} == {PRIOR}
    named = set()
    for entity, window in RATED:
        count, rates = rate_columns(entity, window)
        named |= {count, *rates.values()}
    derived = {c.name for c in layout_of(spec).columns if c.source.startswith(("rate", "count"))}
    assert named == derived


@pytest.mark.parametrize(
    ("parts", "sizes", "message"),
    [
        (["night", "tea"], [1000], "--only tea: no such part; name some of build, night"),
        (["build"], [10], "--sizes: a day of fewer than 1000"),
        (["build"], [], "--sizes"),
    ],
)
def test_a_wrong_part_or_size_is_refused(
    parts: list[str], sizes: list[int], message: str, tmp_path: Path
) -> None:
    home = Home(root=tmp_path, cache=tmp_path)
    with pytest.raises(UserError, match=message):
        measure.bench(home=home, parts=parts, sizes=sizes, cores=1, repeats=1)
    assert not list(tmp_path.iterdir())


def test_without_the_other_engines_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "find_spec", lambda name: None if name == "polars" else name)
    home = Home(root=tmp_path, cache=tmp_path)
    with pytest.raises(UserError, match="polars not installed; run: uv sync --group bench"):
        measure.bench(home=home, parts=["build"], sizes=[1000], cores=1, repeats=1)


def test_requests_are_counted_by_what_a_store_charges_for() -> None:
    said = ("GetObject", "HeadObject", "PutObject", "ListObjectsV2", "DeleteObject", "UploadPart")
    lines = [f"root b [t] 127.0.0.1 root ID s3_{name} key /b/key 200" for name in said]
    found = counted(["log starts today", *lines])
    assert (found["read"], found["write"]) == (2, 3)
    assert found["dollars"] == pytest.approx((2 * 0.0004 + 3 * 0.005) / 1000)


def test_what_tasks_took_is_read_from_spark_s_own_logs(tmp_path: Path) -> None:
    metrics = {
        "Executor CPU Time": 1_500_000_000,
        "Disk Bytes Spilled": 7,
        "Shuffle Write Metrics": {"Shuffle Bytes Written": 100},
    }
    events = [
        {"Event": "SparkListenerTaskEnd", "Task Metrics": metrics},
        {"Event": "SparkListenerTaskEnd"},
        {"Event": "SparkListenerJobEnd"},
    ]
    (tmp_path / "app").mkdir()
    log = tmp_path / "app" / "events_1"
    log.write_text("\n".join(json.dumps(event) for event in [*events, events[0]]))
    assert spent(tmp_path) == {"cpu_seconds": 3.0, "shuffle_bytes": 200, "spilled_bytes": 14}
