"""``autoifs bench samples``: the four measurements, each beside the goal it is held to."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from features.errors import ServiceError, UserError
from jobs.bench.agree import require_agreement
from jobs.bench.goals import check_parts, goals_of
from jobs.bench.memory import watched
from jobs.bench.request import Request
from jobs.bench.table import markdown, show
from jobs.home import Home
from jobs.simulator.run import START

Result = dict[str, Any]

PARTS = ("build", "night", "audit", "backfill")
ENGINES = ("autoifs", "duckdb", "polars")
AUDITED = 1_000_000
"""Impressions of the day whose audit is timed, or the largest asked for."""
EARLY, LATE, NIGHT_ROWS = 10, 60, 3_000
BACKFILLED, BACKFILL_ROWS = 8, 6_000
SEED = 7

log = logging.getLogger(__name__)


def bench(
    *, home: Home, parts: Collection[str], sizes: Sequence[int], cores: int, repeats: int
) -> Result:
    """Measure the sample factory on simulated days, which are gone afterwards.

    Args:
        home: its scratch space holds raw files and tables meanwhile.
        parts: which of ``PARTS`` to measure.
        sizes: impressions a day at which engines are compared.
        cores: how many each engine may use.
        repeats: how often what is timed is done; of builds the quickest counts, as the machine
            may have other work, of all else the median.

    Returns:
        A key for each part, ``goals`` and the same as ``markdown``.

    Raises:
        UserError: for an unknown part or size, without the other engines, or when engines disagree.
    """
    _check(parts, sizes)
    found: Result = {"cores": cores}
    with home.scratch() as folder:
        desk = Desk(folder, home.cache, cores, repeats)
        audited = min(AUDITED, max(sizes)) if "audit" in parts else None
        if "build" in parts:
            found["build"] = [desk.engines(rows, audited=rows == audited) for rows in sorted(sizes)]
        if audited:
            found["audit"] = _audit(desk, found.get("build", []), audited)
        if "night" in parts:
            found["night"] = desk.nights()
        if "backfill" in parts:
            found["backfill"] = desk.backfill()
    found["goals"] = goals_of(found)
    show(found)
    return {**found, "markdown": markdown(found)}


def _check(parts: Collection[str], sizes: Sequence[int]) -> None:
    check_parts(parts, PARTS)
    if not sizes or min(sizes) < 1000:
        raise UserError("--sizes: a day of fewer than 1000 impressions tells nothing; ask for more")
    missing = [name for name in ("duckdb", "polars") if find_spec(name) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)} not installed; run: uv sync --group bench")


def _audit(desk: "Desk", builds: Sequence[Result], rows: int) -> Result:
    """Return the audit's seconds beside an aggregate pass's, of a day of ``rows`` impressions."""
    built = {build["rows"]: build for build in builds}
    day = built.get(rows) or desk.engines(rows, only=("autoifs",), audited=True)
    ours = day["engines"]["autoifs"]
    return {"rows": rows, "audit": ours["audit"], "pass": ours["pass"]}


class Desk:
    """Runs measurements one after another, each in a process of its own."""

    def __init__(self, folder: Path, cache: Path, cores: int, repeats: int) -> None:
        self.folder, self.cache, self.cores, self.repeats = folder, cache, cores, repeats

    def engines(self, rows: int, only: Sequence[str] = ENGINES, *, audited: bool = False) -> Result:
        """Time engines on one day of ``rows`` impressions, with the day before it as history.

        Args:
            rows: impressions of each of the two days.
            only: the engines.
            audited: whether the audit of our day is timed too.

        Raises:
            UserError: when they disagree about what the day holds.
        """
        raw = self._simulated(days=2, rows=rows)
        days = (START, START + timedelta(days=1))
        found = {}
        for engine in only:
            log.info("%s: a day of %d impressions", engine, rows)
            audits = self.repeats if audited and engine == "autoifs" else 0
            out = self.folder / f"{engine}-{rows}"
            found[engine] = self._measured(engine, raw, days, out, audits)
            _delete(out)
        _delete(raw)
        require_agreement(rows, {engine: one.pop("facts") for engine, one in found.items()})
        return {"rows": rows, "engines": found}

    def nights(self) -> Result:
        """Time night ``EARLY`` of a history against night ``LATE``."""
        raw = self._simulated(days=LATE, rows=NIGHT_ROWS)
        log.info("night %d of a history against night %d", LATE, EARLY)
        days = (START, *(START + timedelta(days=number - 1) for number in (EARLY, LATE)))
        found = self._measured("nights", raw, days, self.folder / "nights")
        return {**found, "nights": [EARLY, LATE], "rows": NIGHT_ROWS}

    def backfill(self) -> Result:
        """Time a command that builds days against a command a day."""
        raw = self._simulated(days=BACKFILLED, rows=BACKFILL_ROWS)
        days = [START + timedelta(days=number) for number in range(BACKFILLED)]
        log.info("%d days in one command, and in %d", BACKFILLED, BACKFILLED)
        together = self._command("together", raw, days[0], days[-1])
        single = [self._command("single", raw, day, day) for day in days]
        return {
            "days": BACKFILLED, "rows": BACKFILL_ROWS, "together": together, "single": sum(single)
        }  # fmt: skip

    def _simulated(self, *, days: int, rows: int) -> Path:
        """Make raw files in a process of their own: a large day takes gigabytes."""
        out = self.folder / f"raw-{rows}"
        log.info("simulating %d days of %d impressions", days, rows)
        wanted = {"--days": days, "--rows": rows, "--seed": SEED, "--out": out}
        self._run(["jobs", "simulate", *(str(word) for pair in wanted.items() for word in pair)])
        return out

    def _measured(
        self, work: str, raw: Path, days: tuple[date, ...], out: Path, audits: int = 0
    ) -> Result:
        out.mkdir(parents=True, exist_ok=True)
        request = Request(
            work=work,
            raw=raw,
            out=out,
            cache=self.cache,
            days=days,
            cores=self.cores,
            repeats=self.repeats,
            audits=audits,
        )
        return self._run(["jobs.bench.child", request.text()])

    def _command(self, name: str, raw: Path, first: date, last: date) -> float:
        """Run ``samples run`` over days in a home of that name; return its seconds."""
        words = ["--home", self.folder / name, "--source", raw, "--from", first, "--to", last]
        started = time.perf_counter()
        self._run(["jobs", "samples", "run", *map(str, words)])
        return time.perf_counter() - started

    def _run(self, words: Sequence[str], place: Mapping[str, str] | None = None) -> Result:
        """Run a module; return what it prints last, and the peak of its memory.

        Args:
            words: the module and its arguments.
            place: more of its environment; it wins over ours.

        Raises:
            ServiceError: when it fails; its log stays in the message.
        """
        environment = {
            **os.environ,
            "AUTOIFS_CACHE": str(self.cache),
            "AUTOIFS_SPARK_MASTER": f"local[{self.cores}]",
            "POLARS_MAX_THREADS": str(self.cores),
            **(place or {}),
        }
        errors = self.folder / "errors.log"
        with (
            errors.open("w+") as said,
            subprocess.Popen(  # noqa: S603 (this Python, modules of ours)
                [sys.executable, "-m", *words],
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=environment,
            ) as process,
            watched(process.pid) as peak,
        ):
            answer, _ = process.communicate()
        if process.returncode:
            raise ServiceError(f"{words[0]} {words[1]} failed: {_last_line(errors)}")
        return {**json.loads(answer.splitlines()[-1]), "peak_bytes": peak.bytes}


def _last_line(file: Path) -> str:
    lines = [line for line in file.read_text().splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _delete(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
