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
from tests.faults.conftest import Shop, write_day

pytestmark = [pytest.mark.spark, pytest.mark.slow]

ONE, TWO = "2026-01-01", "2026-01-02"
TABLES = ("samples", "quarantine", "counts", "vocabulary", "encoded")

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


@pytest.fixture
def two_days(shop: Shop) -> Shop:
    write_day(shop.raw(TWO), TWO)
    return shop


def words(shop: Shop) -> list[str]:
    source = ["--source", str(shop.folder / "raw"), "--spec", str(shop.spec)]
    return ["samples", "run", "--from", ONE, "--to", TWO, *source]


def content(shop: Shop) -> dict[str, list[str]]:
    """Return the rows of every table, without what says who wrote them and when."""
    lake = Lake(str(shop.home / "lake"), "shop")
    return {
        table: sorted(
            json.dumps({k: v for k, v in row.items() if k != "run_id"}, default=str)
            for row in lake.open(table).to_pyarrow_table().to_pylist()
        )
        for table in TABLES
    }


def said(shop: Shop) -> list[dict[str, Any]]:
    lake = Lake(str(shop.home / "lake"), "shop")
    found = [lake.commit_of("samples", date.fromisoformat(ds)) or {} for ds in (ONE, TWO)]
    return [{key: one.get(key) for key in ("content_hash", "fingerprint")} for one in found]


def killed(shop: Shop, when: str, table: str) -> int:
    """Run the command in a process that ends itself with -9; return its status."""
    script = shop.folder / "deadly.py"
    script.write_text(DEADLY)
    command = [sys.executable, str(script), when, table, *words(shop)]
    return subprocess.run(
        command, env=shop.environment, cwd=Path.cwd(), capture_output=True, timeout=600
    ).returncode


def undisturbed(shop: Shop) -> Shop:
    """Return the same shop, built in another home by a run that nothing happened to."""
    quiet = replace(
        shop, environment={**shop.environment, "AUTOIFS_HOME": str(shop.folder / "quiet" / "home")}
    )
    done = quiet.run_bare(*words(shop))
    assert done.code == 0, done.stderr
    return replace(quiet, folder=shop.folder / "quiet")


def test_a_killed_run_leaves_what_the_next_one_completes_to_the_same_content(
    two_days: Shop,
) -> None:
    quiet = undisturbed(two_days)
    moments = [
        ("while writing files", "samples"),
        ("before the commit", "samples"),
        ("after the commit", "samples"),
        ("after the commit", "vocabulary"),
    ]
    for place, (when, table) in enumerate(moments):
        home = two_days.folder / f"home{place}" / "home"
        there = {**two_days.environment, "AUTOIFS_HOME": str(home)}
        hit = replace(two_days, environment=there)
        assert killed(hit, when, table) == -signal.SIGKILL, (when, table)
        done = hit.run_bare(*words(two_days))
        assert done.code == 0, (when, table, done.stderr)
        found = replace(hit, folder=home.parent)
        assert content(found) == content(quiet), (when, table)
        assert said(found) == said(quiet), (when, table)


def test_two_builders_of_one_day_lose_and_double_nothing(two_days: Shop) -> None:
    quiet = undisturbed(two_days)
    with ThreadPoolExecutor(2) as pool:
        racing = [pool.submit(two_days.run_bare, *words(two_days)) for _ in range(2)]
        ended = [one.result() for one in racing]
    assert 0 in [one.code for one in ended], [one.stderr for one in ended]
    for one in ended:
        assert one.code == 0 or "another run is writing" in one.result["message"], one.stderr
    assert two_days.run_bare(*words(two_days)).code == 0
    assert content(two_days) == content(quiet)
    assert said(two_days) == said(quiet)
