"""A night after two months of history costs what one after ten days does.

Run with: bash infra/run test -m benchmark
"""

import time
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from features.spec import load_spec
from jobs import samples
from jobs.home import Home
from jobs.simulator import simulate
from tests.conftest import cache

pytestmark = [pytest.mark.spark, pytest.mark.benchmark]

START = date(2026, 1, 1)
EARLY, LATE = START + timedelta(days=9), START + timedelta(days=59)
ROWS = 3_000
LIMIT = 1.15
TIMES = 5


def places(root: Path) -> dict[str, Any]:
    home = Home(root=root, cache=cache())
    return {
        "spec": load_spec("bazaar"),
        "spec_file_name": "bazaar.yaml",
        "lake": home.lake("bazaar"),
        "home": home,
        "source": root / "raw",
    }


def seconds(shop: dict[str, Any], day: date) -> float:
    """Build one day again, as its night did."""
    started = time.perf_counter()
    samples.run(**shop, first=day, last=day, force=True)
    return time.perf_counter() - started


def test_night_60_costs_what_night_10_does(spark: object, tmp_path: Path) -> None:
    shop = places(tmp_path)
    simulate(shop["source"], days=60, rows=ROWS, seed=7, start=START)
    samples.run(**shop, first=START, last=LATE)
    seconds(shop, LATE)
    seconds(shop, EARLY)
    # In turns: the machine's speed changes from minute to minute.
    early, late = zip(
        *((seconds(shop, EARLY), seconds(shop, LATE)) for _ in range(TIMES)), strict=True
    )
    ratio = median(late) / median(early)
    print(f"night 10: {median(early):.1f} s, night 60: {median(late):.1f} s, {ratio:.2f} ×")  # noqa: T201
    assert ratio <= LIMIT
