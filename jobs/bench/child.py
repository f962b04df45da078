"""One measurement in a process of its own: ``python -m jobs.bench.child '{"work": …}'``."""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

from jobs.bench.agree import Facts, facts_of
from jobs.bench.request import Request

Result = dict[str, Any]


def measure(request: Request) -> Result:
    """Do what is asked for and return its figures."""
    return WORK[request.work](request)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a reference engine took, in seconds, and what its files hold."""

    start: float
    seconds: list[float]
    facts: Facts


def reference(
    engine: str, raw: Path, out: Path, days: Sequence[date], *, cores: int, repeats: int = 1
) -> Reference:
    """Time an engine: earlier days untimed, the last as often as asked for."""
    started = time.perf_counter()
    module = import_module(f"jobs.bench.{engine}_day")
    start = time.perf_counter() - started
    *before, day = days
    for earlier in before:
        module.build_day(raw, out, earlier, cores)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        module.build_day(raw, out, day, cores)
        seconds.append(time.perf_counter() - started)
    return Reference(start=start, seconds=seconds, facts=facts_of(_files(out, day)))


def _reference(asked: Request) -> Result:
    return asdict(
        reference(
            asked.work, asked.raw, asked.out, asked.days, cores=asked.cores, repeats=asked.repeats
        )
    )


def _files(out: Path, day: date) -> dict[str, list[str]]:
    names = {"samples": "samples", "quarantine": "quarantine", "counts": f"counts/{day}"}
    return {table: [str(out / f"{name}.parquet")] for table, name in names.items()}


def _ours(request: Request) -> Result:
    from jobs.bench.factory import build_days

    return build_days(request)


def _on_cluster(request: Request) -> Result:
    from jobs.bench.factory import build_on_cluster

    return build_on_cluster(request)


def _nights(request: Request) -> Result:
    from jobs.bench.factory import nights

    return nights(request)


WORK: dict[str, Callable[[Request], Result]] = {
    "duckdb": _reference,
    "polars": _reference,
    "autoifs": _ours,
    "nights": _nights,
    "cluster": _on_cluster,
}


def main() -> None:
    """Read the request from the command line; print the figures as the last line on stdout."""
    result = measure(Request.of(sys.argv[1]))
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    os._exit(0)  # as ``autoifs`` ends: Python's own shutdown may meet Arrow's threads


if __name__ == "__main__":
    main()
