"""Builders that are killed with -9, or race each other: the next run ends where it should."""

import json
import signal
import subprocess
import sys
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
import features.tables as tables
when, target, *words = sys.argv[1:]
write = tables.write_deltalake

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def watch(path):
    before = set(Path(path).rglob("*.parquet"))
    while set(Path(path).rglob("*.parquet")) == before:
        pass
    die()

def deadly(path, *args, **kwargs):
    mine = str(path).endswith("/" + target)
    if mine and when == "before the commit":
        die()
    if mine and when == "while writing files":
        threading.Thread(target=watch, args=[path], daemon=True).start()
    write(path, *args, **kwargs)
    if mine:
        time.sleep(2 if when == "while writing files" else 0)
        die()

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


def content(shop: Shop) -> dict[str, list[str]]:
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
        for table in TABLES
    }


def said(shop: Shop) -> list[dict[str, Any]]:
    lake = Lake(str(shop.home / "lake"), "shop")
    found = [lake.commit_of("samples", date.fromisoformat(ds)) or {} for ds in (ONE, TWO)]
    return [{key: one.get(key) for key in ("content_hash", "fingerprint")} for one in found]


def killed(shop: Shop, command: list[str], when: str, table: str) -> int:
    """Run the command in a process that ends itself with -9; return its status."""
    shop.folder.mkdir(exist_ok=True)
    script = shop.folder / "deadly.py"
    script.write_text(DEADLY)
    return subprocess.run(
        [sys.executable, str(script), when, table, *command],
        env=shop.environment,
        cwd=Path.cwd(),
        capture_output=True,
        timeout=600,
    ).returncode


def completes(two_days: Shop, quiet: Shop, when: str, table: str) -> None:
    """Kill a run, run again, and compare with the run that nothing happened to."""
    hit = in_home(two_days, f"{when} {table}")
    assert killed(hit, words(two_days), when, table) == -signal.SIGKILL
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
