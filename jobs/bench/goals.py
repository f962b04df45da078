"""What the sample factory is held to, and how far it is from it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from features.errors import UserError

Result = Mapping[str, Any]

LARGE = 10_000_000
"""Impressions of a day whose time and memory are limited."""
LINEAR_FROM = 1_000_000
"""Impressions from which time is to grow no faster than rows."""
GIB = 2**30


@dataclass(frozen=True)
class Goal:
    """A figure with its limit."""

    what: str
    figure: float
    limit: float
    unit: str = "×"
    least: bool = False
    """Whether the limit is the least that the figure may be, instead of the most."""

    @property
    def met(self) -> bool:
        """Whether the figure is within its limit."""
        return self.figure >= self.limit if self.least else self.figure <= self.limit


def goals_of(found: Result) -> list[dict[str, Any]]:
    """Return the goals that what was measured speaks to.

    Args:
        found: what ``jobs.bench.measure.bench`` found, part by part.
    """
    goals = [
        *_of_builds(found.get("build", [])),
        *_of("night", found, "night 60 ÷ night 10", "late", "early", 1.15),
        *_of("audit", found, "audit ÷ one aggregate pass", "audit", "pass", 2.0),
        *_of("backfill", found, "days in one command ÷ a command a day", "together", "single", 0.5),
    ]
    return told(goals)


def told(goals: Iterable[Goal]) -> list[dict[str, Any]]:
    """Return goals for a command's result."""
    return [{**asdict(goal), "met": goal.met} for goal in goals]


def check_parts(asked: Iterable[str], known: Sequence[str]) -> None:
    """Refuse parts to measure that a benchmark has not.

    Raises:
        UserError: naming one of them.
    """
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise UserError(f"--only {unknown[0]}: no such part; name some of {', '.join(known)}")


def best(engine: Result) -> float:
    """Return the seconds of an engine's quickest build."""
    return float(min(engine["seconds"]))


def _of_builds(builds: Sequence[Result]) -> Iterator[Goal]:
    for build in builds:
        if build["rows"] == LARGE:
            engines = build["engines"]
            ours, theirs = best(engines["autoifs"]), best(engines["duckdb"])
            yield Goal(f"build ÷ DuckDB's, {LARGE:,} rows", ours / theirs, 4.0)
            memory = engines["autoifs"]["peak_bytes"] / GIB
            yield Goal(f"peak memory, {LARGE:,} rows", memory, 6.0, " GiB")
    steady = [build for build in builds if build["rows"] >= LINEAR_FROM]
    for one, other in pairwise(steady):
        times = best(other["engines"]["autoifs"]) / best(one["engines"]["autoifs"])
        rows = other["rows"] / one["rows"]
        yield Goal(f"build, {other['rows']:,} ÷ {one['rows']:,} rows", times, 1.1 * rows)


def _of(
    part: str, found: Result, what: str, above: str, below: str, limit: float
) -> Iterator[Goal]:
    if part in found:
        yield Goal(what, found[part][above] / found[part][below], limit)
