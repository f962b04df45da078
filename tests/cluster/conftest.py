"""A whole cluster on this machine, shared by all tests in here, with a product's raw logs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from features.lake import Lake
from jobs.cluster.cluster import Cluster, profile
from jobs.home import Home
from jobs.process import members
from tests.conftest import cache

HISTORY = [f"2026-01-0{day}" for day in (1, 2, 3)]
NIGHTS = [f"2026-01-0{day}" for day in (4, 5)]
DISTURBED = "2026-01-06"
"""A third night, in which things break."""
ROWS = "2000"


@dataclass(frozen=True)
class Market:
    """A running cluster, and a home without one, with the same raw logs of ``bazaar``."""

    cluster: Cluster
    alone: Home

    @property
    def lake(self) -> Lake:
        """The cluster's tables."""
        return Lake(self.cluster.job_environment()["AUTOIFS_LAKE"], "bazaar")

    def run(self, *words: str, role: str = "reader") -> dict[str, Any]:
        """Run a command where the cluster's tables are, with the rights of a role."""
        place = {**self.cluster.job_environment(), **self.cluster.rights(role)}
        return command(self.cluster.home, place, *words)

    def attempt(self, *words: str, role: str) -> tuple[int, dict[str, Any], str]:
        """Run a command however it ends; return its status, its last line and what it told."""
        done = self.start(*words, role=role)
        out, errors = done.communicate(timeout=1800)
        return done.returncode, json.loads(out.splitlines()[-1]), errors

    def start(self, *words: str, role: str = "reader") -> "subprocess.Popen[str]":
        """Start a command that goes on while we do other things."""
        place = {**self.cluster.job_environment(), **self.cluster.rights(role)}
        return subprocess.Popen(
            [sys.executable, "-m", "jobs", *words],
            env=environment(self.cluster.home, place),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run_alone(self, *words: str) -> dict[str, Any]:
        """Run a command of the profile ``local`` in the other home."""
        return command(self.alone, profile("local", self.alone), *words)


def environment(home: Home, place: dict[str, str]) -> dict[str, str]:
    """Return the environment of a command in a home."""
    homes = {"AUTOIFS_HOME": str(home.root), "AUTOIFS_CACHE": str(home.cache)}
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AUTOIFS")}
    return {**ours, **place, **homes}


def command(home: Home, place: dict[str, str], *words: str) -> dict[str, Any]:
    """Run ``autoifs`` to its end and return its last line."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs", *words],
        env=environment(home, place),
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """Start everything once; afterwards nothing of it runs."""
    homes = [Home(root=tmp_path_factory.mktemp(name), cache=cache()) for name in ("many", "one")]
    for home in homes:
        raw = str(home.root / "raw/bazaar")
        command(home, {}, "simulate", "--days", "6", "--rows", ROWS, "--out", raw)
    cluster = Cluster(home=homes[0], queued=60)
    try:
        cluster.start()
        yield Market(cluster, homes[1])
    finally:
        leaders = [part.process.pid for server in cluster.servers for part in server.parts]
        cluster.stop()
        assert not members(leaders)


LOOPBACK = ("0100007F", "0" * 24 + "01000000", "0000000000000000FFFF00000100007F")
"""127.0.0.1, ::1 and 127.0.0.1 as IPv6, as the kernel writes them."""


def listening_elsewhere(leaders: Iterable[int]) -> list[str]:
    """Return the addresses, other than this machine's own, at which our processes listen."""
    sockets = {
        target.removeprefix("socket:[").rstrip("]")
        for pid in members(list(leaders))
        for target in links(Path(f"/proc/{pid}/fd"))
        if target.startswith("socket:[")
    }
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, state, inode = fields[1], fields[3], fields[9]
            if state == "0A" and inode in sockets and address.partition(":")[0] not in LOOPBACK:
                found.append(address)
    return found


def links(folder: Path) -> list[str]:
    """Return what a process's files are; nothing when it has ended."""
    try:
        return [os.readlink(entry) for entry in folder.iterdir()]
    except OSError:
        return []
