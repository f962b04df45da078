"""What was measured, as tables: on the terminal, and in Markdown for a README."""

from collections.abc import Mapping
from typing import Any

from jobs.bench.goals import GIB, best
from jobs.console import Rows, Tables, show_tables, tables_in_markdown

Result = Mapping[str, Any]

_BUILD = ("impressions", "engine", "seconds", "÷ DuckDB", "peak GiB", "start, s")
GOALS = ("what", "figure", "goal", "met")
_NAMES = {"autoifs": "autoifs", "duckdb": "DuckDB", "polars": "Polars"}


def show(found: Result) -> None:
    """Print what was measured on stderr."""
    show_tables(_tables(found))


def markdown(found: Result) -> str:
    """Return what was measured as Markdown tables."""
    return tables_in_markdown(_tables(found))


def _tables(found: Result) -> Tables:
    builds = [row for build in found.get("build", []) for row in _build_rows(build)]
    goals = [goal_row(goal) for goal in found["goals"]]
    tables: Tables = [
        (f"one day of samples, {found['cores']} cores", _BUILD, builds),
        ("goals", GOALS, goals),
    ]
    return [table for table in tables if table[2]]


def _build_rows(build: Result) -> Rows:
    engines = build["engines"]
    return [
        [
            f"{build['rows']:,}",
            _NAMES[name],
            f"{best(one):.1f}",
            f"{best(one) / best(engines['duckdb']):.2f}",
            f"{one['peak_bytes'] / GIB:.1f}",
            f"{one['start']:.1f}",
        ]
        for name, one in engines.items()
    ]


def goal_row(goal: Result) -> list[str]:
    """Return a goal's name, figure, limit and whether it is met."""
    figure, limit = (f"{goal[name]:.2f}{goal['unit']}" for name in ("figure", "limit"))
    sign = "≥" if goal.get("least") else "≤"
    return [goal["what"], figure, f"{sign} {limit}", "yes" if goal["met"] else "no"]
