"""A tiny product with one published day, and the real command to run against it."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import cache, kept_jvm

SPEC = """
product: shop
sources:
  views: {path: "views/{ds}.csv.gz", time: {column: at}}
impression: {source: views, key: view_id, user: user_id}
scenarios: {column: place, values: {home: home, search: search}}
tasks:
  click: {label: clicked = 1}
features:
  categories: [device]
  numbers: [{column: price, scale: log1p}]
  rates:
    - {of: click, by: [user_id], days: all}
"""

HEADER = "view_id,user_id,place,device,price,at,clicked"
MIDNIGHT = {"2026-01-01": 1767225600000, "2026-01-02": 1767312000000}


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    result: dict[str, Any]
    stderr: str


@dataclass(frozen=True)
class Shop:
    """A product in a folder of its own: spec, raw logs, home."""

    folder: Path
    environment: dict[str, str]

    @property
    def spec(self) -> Path:
        return self.folder / "shop.yaml"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def raw(self, ds: str) -> Path:
        return self.folder / "raw" / "views" / f"{ds}.csv.gz"

    def run(self, *words: str, **environment: str) -> Outcome:
        """Run ``autoifs`` on this product and return how it ended."""
        return self.run_bare(*words, "--spec", str(self.spec), **environment)

    def run_bare(self, *words: str, **environment: str) -> Outcome:
        """Run ``autoifs`` as it is and return how it ended."""
        done = subprocess.run(
            [sys.executable, "-m", "jobs", *words],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=900,
            cwd=self.folder,
        )
        lines = done.stdout.splitlines()
        return Outcome(done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr)

    def build(self, ds: str, **environment: str) -> Outcome:
        """Make the samples of one day."""
        source = ("--source", str(self.folder / "raw"))
        return self.run("samples", "run", "--from", ds, "--to", ds, *source, **environment)

    def without_java(self) -> "Shop":
        """Return this shop with no Java to be found."""
        kept = {k: v for k, v in self.environment.items() if k not in ("JAVA_HOME", "PATH")}
        return replace(self, environment={**kept, "PATH": "/nowhere"})


def write_day(path: Path, ds: str, header: str = HEADER, rows: int = 40, **fields: str) -> None:
    """Write a day of views; ``fields`` set a column to one value in every row."""
    names = header.split(",")
    lines = [header]
    for i in range(rows):
        row = {
            "view_id": f"{ds}-{i}",
            "user_id": f"u{i % 7}",
            "place": ("home", "search")[i % 2],
            "device": ("phone", "tablet")[i % 3 == 0],
            "price": str(1 + i),
            "at": str(MIDNIGHT[ds] + i * 60_000),
            "clicked": str(int(i % 3 == 0)),
            **fields,
        }
        lines.append(",".join(row.get(name, "") for name in names))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), mtime=0))


@pytest.fixture(scope="session")
def kept_spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that names a JVM which all commands use, as those of a DAG do."""
    with kept_jvm(tmp_path_factory.mktemp("jvm")) as named:
        yield named


@pytest.fixture
def shop(tmp_path: Path, kept_spark: dict[str, str]) -> Shop:
    """A shop with raw logs of 2026-01-01 and nothing built."""
    return shop_in(tmp_path, kept_spark)


def shop_in(folder: Path, kept_spark: dict[str, str]) -> Shop:
    """Return a shop with raw logs of 2026-01-01 and nothing built."""
    place = {
        **os.environ,
        **kept_spark,
        "AUTOIFS_HOME": str(folder / "home"),
        "AUTOIFS_CACHE": str(cache()),
    }
    made = Shop(folder=folder, environment=place)
    made.spec.write_text(SPEC)
    write_day(made.raw("2026-01-01"), "2026-01-01")
    return made


def files_of(folder: Path) -> dict[str, bytes]:
    """Return every file below ``folder`` with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
