"""Builders that are killed with -9, or race each other: the next run ends where it should."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from features.lake import Lake
from tests.faults.conftest import Shop, shop_in, write_day

pytestmark = [pytest.mark.spark, pytest.mark.slow]

ONE, TWO = "2026-01-01", "2026-01-02"
TABLES = ("samples", "quarantine", "counts", "vocabulary", "encoded")
# A token's day is the run that first met it: of two runs beside each other, whichever was first.
WHO_AND_WHEN = {"vocabulary": {"run_id", "ds"}}

DEADLY = """
import os, signal, sys, threading, time
from pathlib import Path
from urllib.parse import unquote
import features.tables as tables
when, target, size, *words = sys.argv[1:]
write, replace_days = tables.write_deltalake, tables.replace_days

def die():
    from pyspark import SparkContext
    own = getattr(SparkContext._gateway, "proc", None)
    if size == "large" and own:
        os.kill(own.pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

def watch(path, files):
    before = set(Path(path).rglob(files))
    while set(Path(path).rglob(files)) == before:
        pass
    die()

def wait_for(path, files):
    threading.Thread(target=watch, args=[path, files], daemon=True).start()

def deadly(table, *args, **kwargs):
    path = unquote(table.table_uri).removeprefix("file://").rstrip("/")
    mine = path.endswith("/" + target)
    if mine and when == "before the commit":
        die()
    if mine and when == "while writing files":
        wait_for(path, "*.parquet")
    write(table, *args, **kwargs)
    if mine:
        time.sleep(2 if when == "while writing files" else 0)
        die()

def deadly_days(frame, lake, table, *args, **kwargs):
    if table == target:
        files = {"while writing files": "*.parquet", "after the commit": "*.json"}
        wait_for(lake.path(table), files[when])
    replace_days(frame, lake, table, *args, **kwargs)
    time.sleep(2 if table == target else 0)

if size == "large":
    from jobs import partition
    partition.BULK = 0
    tables.replace_days = deadly_days
else:
    tables.write_deltalake = deadly
from jobs.cli import main
sys.argv = ["autoifs", *words]
main()
"""


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory, kept_spark: dict[str, str]) -> Shop:
    shop = shop_in(tmp_path_factory.mktemp("shop"), kept_spark)
    write_day(shop.raw(TWO), TWO)
    return shop


@pytest.fixture(scope="module")
def quiet(two_days: Shop) -> Shop:
    """The same shop, built in another home by a run that nothing happened to."""
    made = in_home(two_days, "quiet")
    made.folder.mkdir()
    done = made.run_bare(*words(two_days))
    assert done.code == 0, done.stderr
    return made


def in_home(shop: Shop, name: str) -> Shop:
    """Return the shop with a home of its own."""
    folder = shop.folder / name
    return replace(
        shop, folder=folder, environment={**shop.environment, "AUTOIFS_HOME": str(folder / "home")}
    )


def words(shop: Shop) -> list[str]:
    source = ["--source", str(shop.folder / "raw"), "--spec", str(shop.spec)]
    return ["samples", "run", "--from", ONE, "--to", TWO, *source]


def content(shop: Shop, names: Iterable[str] = TABLES) -> dict[str, list[str]]:
    """Return the rows of every table, without what says who wrote them and when."""
    lake = Lake(str(shop.home / "lake"), "shop")
    return {
        table: sorted(
            json.dumps(
                {k: v for k, v in row.items() if k not in WHO_AND_WHEN.get(table, {"run_id"})},
                default=str,
            )
            for row in lake.open(table).to_pyarrow_table().to_pylist()
        )
        for table in names
    }


def said(shop: Shop) -> list[dict[str, Any]]:
    lake = Lake(str(shop.home / "lake"), "shop")
    found = [lake.commit_of("samples", date.fromisoformat(ds)) or {} for ds in (ONE, TWO)]
    return [{key: one.get(key) for key in ("content_hash", "fingerprint")} for one in found]


def killed(shop: Shop, command: list[str], when: str, table: str, size: str) -> int:
    """Run the command in a process that ends itself with -9; return its status."""
    shop.folder.mkdir(exist_ok=True)
    script = shop.folder / "deadly.py"
    script.write_text(DEADLY)
    return subprocess.run(
        [sys.executable, str(script), when, table, size, *command],
        env=shop.environment,
        cwd=Path.cwd(),
        capture_output=True,
        timeout=600,
    ).returncode


def completes(two_days: Shop, quiet: Shop, when: str, table: str) -> None:
    """Kill a run, run again, and compare with the run that nothing happened to."""
    hit = in_home(two_days, f"{when} {table}")
    assert killed(hit, words(two_days), when, table, "small") == -signal.SIGKILL
    done = hit.run_bare(*words(two_days))
    assert done.code == 0, done.stderr
    assert content(hit) == content(quiet)
    assert said(hit) == said(quiet)


@pytest.mark.parametrize(
    ("when", "table"), [("while writing files", "samples"), ("after the commit", "samples")]
)
def test_what_a_killed_run_leaves_the_next_one_completes_to_the_same_content(
    two_days: Shop, quiet: Shop, when: str, table: str
) -> None:
    completes(two_days, quiet, when, table)


@pytest.mark.long
@pytest.mark.parametrize("when", ["before the commit", "while writing files", "after the commit"])
@pytest.mark.parametrize(
    "table", ["staged", "quarantine", "counts", "samples", "vocabulary", "encoded"]
)
def test_at_whatever_commit_a_run_is_killed_the_next_one_completes_it(
    two_days: Shop, quiet: Shop, when: str, table: str
) -> None:
    completes(two_days, quiet, when, table)


@pytest.mark.long
@pytest.mark.parametrize("when", ["while writing files", "after the commit"])
@pytest.mark.parametrize("table", ["staged", "samples"])
def test_when_spark_is_killed_in_a_large_day_the_next_run_completes_it(
    two_days: Shop, quiet: Shop, when: str, table: str
) -> None:
    hit = in_home(two_days, f"large {when} {table}")
    alone = {k: v for k, v in hit.environment.items() if not k.startswith("PYSPARK_GATEWAY")}
    with_own_jvm = replace(hit, environment=alone)
    assert killed(with_own_jvm, words(two_days), when, table, "large") == -signal.SIGKILL
    assert hit.run_bare(*words(two_days)).code == 0
    # Each of the days was encoded by itself: their tokens may have got other indices.
    same = ("samples", "quarantine", "counts")
    assert content(hit, same) == content(quiet, same)
    assert said(hit) == said(quiet)


def test_two_builders_of_one_day_lose_and_double_nothing(two_days: Shop, quiet: Shop) -> None:
    raced = in_home(two_days, "raced")
    raced.folder.mkdir()
    with ThreadPoolExecutor(2) as pool:
        racing = [pool.submit(raced.run_bare, *words(two_days)) for _ in range(2)]
        ended = [one.result() for one in racing]
    assert 0 in [one.code for one in ended], [one.stderr for one in ended]
    for one in ended:
        assert one.code == 0 or "another run is writing" in one.result["message"], one.stderr
    assert raced.run_bare(*words(two_days)).code == 0
    assert content(raced) == content(quiet)
    assert said(raced) == said(quiet)


def test_a_backfill_beside_a_night_loses_and_doubles_nothing(two_days: Shop, quiet: Shop) -> None:
    beside = in_home(two_days, "beside")
    beside.folder.mkdir()
    where = words(two_days)[6:]
    commands = (
        ["samples", "run", "--from", ONE, "--to", ONE, *where],
        ["samples", "night", "--ds", TWO, *where],
    )
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda command: beside.run_bare(*command), commands))
    for one in ended:
        assert one.code == 0 or "another run is writing" in one.result["message"], one.stderr
    # Whichever came first: the second day's features look back on the first once both are there.
    assert beside.run_bare(*words(two_days)).code == 0
    assert content(beside) == content(quiet)
    assert said(beside) == said(quiet)
