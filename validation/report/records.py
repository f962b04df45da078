"""What the tables hold of a product's nights, and what it says of days, findings and time."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from features.spec import Spec
from validation.report.data import Data, Day, Finding, Link, Step, Use
from validation.report.words import short_day

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One row of the table ``runs``."""

    ds: str
    step: str
    ended: str
    """ISO time, UTC."""
    seconds: float
    result: Row


@dataclass(frozen=True, kw_only=True)
class Records:
    """What the tables of a product hold about its nights."""

    runs: Sequence[Run] = ()
    """Of the night and of days before it."""
    published: Mapping[str, Row] = field(default_factory=dict)
    """Day → what the commit that published it says: ``rows``, ``as_of``, ``measures`` …"""
    metrics: Sequence[Row] = ()
    """Rows of the table ``metrics``: all of the night, and the challengers' of nights before it."""
    drift: Sequence[Row] = ()
    """The night's rows of the table ``drift``."""
    trail: Sequence[Row] = ()
    """Every change of the champion, oldest first: ``at``, ``who``, ``action``, ``from``, ``to``,
    ``version``, ``why``."""
    docs_link: str | None = None
    links: Sequence[Link] = ()


def results(runs: Iterable[Run], ds: str) -> dict[str, Row]:
    """Return step → result of a day."""
    return {run.step: run.result for run in runs if run.ds == ds}


def first_of(*places: Row, key: str) -> Any:
    """Return the first value under ``key`` that is not None."""
    return next((place[key] for place in places if place.get(key) is not None), None)


def finite(value: Any) -> float | None:
    """Return a number, or None for what is none (JSON's NaN and infinities included)."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def data_of(spec: Spec, ds: str, split: Row, records: Records) -> Data:
    """Return the days of the training window up to ``ds``, and what their audits found.

    Args:
        spec: the product.
        ds: the night.
        split: the training's days: ``train``, ``validate`` (lists), ``judge`` (task → day).
        records: what the tables hold.
    """
    made = {run.ds: run.result for run in records.runs if run.step == "samples"}
    known = {*made, *records.published, *_split_days(split)}
    return Data(
        days=tuple(
            _day(spec, at, made.get(at, {}), records.published.get(at, {}), split)
            for at in _window(spec, ds, known)
        ),
        findings=_findings(ds, records.runs),
        docs_link=records.docs_link,
    )


def _window(spec: Spec, ds: str, known: set[str]) -> list[str]:
    """Return every day from the first known one in the training window to the night's own."""
    last = date.fromisoformat(ds)
    earliest = (last - spec.training.window).isoformat()
    first = min((day for day in known if earliest < day <= ds), default=None)
    if first is None:
        return []
    length = (last - date.fromisoformat(first)).days
    return [(last - timedelta(days=back)).isoformat() for back in range(length, -1, -1)]


def _split_days(split: Row) -> set[str]:
    listed = [*(split.get("train") or ()), *(split.get("validate") or ())]
    return {str(day) for day in (*listed, *(split.get("judge") or {}).values())}


def _day(spec: Spec, ds: str, made: Row, published: Row, split: Row) -> Day:
    judged = tuple(task for task, day in (split.get("judge") or {}).items() if str(day) == ds)
    uses: list[Use] = []
    if ds in map(str, split.get("train") or ()):
        uses.append("train")
    if ds in map(str, split.get("validate") or ()):
        uses.append("validate")
    if judged:
        uses.append("judge")
    as_of = first_of(published, made, key="as_of")
    return Day(
        ds=ds,
        uses=tuple(uses),
        judged=judged,
        rows=first_of(published, made, key="rows"),
        scenarios=(published.get("measures") or {}).get("scenarios") or {},
        labels=_rates(spec, (published.get("measures") or {}).get("cells") or {}),
        quarantined=first_of(made, published, key="quarantined") or {},
        as_of=None if as_of is None else str(as_of),
        version=published.get("version"),
    )


def _rates(spec: Spec, cells: Row) -> dict[str, float | None]:
    """Return task → share of positives among the known labels of all scenarios.

    Args:
        spec: names the tasks.
        cells: ``scenario/task`` → ``known`` labels and ``positives``, as the audit measured them.
    """
    rates: dict[str, float | None] = {}
    for task in spec.tasks:
        counted = [cell for name, cell in cells.items() if name.partition("/")[2] == task]
        known = sum(cell["known"] for cell in counted)
        rates[task] = sum(cell["positives"] for cell in counted) / known if known else None
    return rates


def _findings(ds: str, runs: Sequence[Run]) -> tuple[Finding, ...] | None:
    """Return what the night's audits found, of its own day and of days it restated."""
    again = _restated(ds, runs)
    audits = [run for run in runs if run.step == "audit" and (run.ds == ds or run.ds in again)]
    if not any(run.ds == ds for run in audits):
        return None
    return tuple(
        Finding(
            ds=run.ds,
            severity="stop" if found.get("severity") == "stop" else "warn",
            check=str(found.get("check") or ""),
            text=str(found.get("message") or ""),
        )
        for run in sorted(audits, key=lambda run: run.ds, reverse=True)
        for found in run.result.get("findings") or ()
    )


def _restated(ds: str, runs: Sequence[Run]) -> set[str]:
    """Return the earlier days that were built again with the files of ``ds``."""
    built = (run for run in runs if run.step == "samples" and run.ds < ds)
    return {run.ds for run in built if str(run.result.get("as_of")) == ds}


def steps_of(runs: Sequence[Run], ds: str) -> tuple[Step, ...]:
    """Return a night's steps in the order in which they ran.

    The report itself is not over yet, the audit is a part of the samples, and a later night's work
    is not this one's.
    """
    again = _restated(ds, runs)
    whole = any(run.ds == ds and run.step == "samples" for run in runs)
    hidden = {"report", "settle", "audit"} if whole else {"report", "settle"}
    found = [_step(run, run.step) for run in runs if run.ds == ds and run.step not in hidden]
    found += [
        _step(run, f"samples of {short_day(run.ds)}")
        for run in runs
        if run.ds in again and run.step == "samples"
    ]
    return tuple(sorted(found, key=lambda step: (str(step.started), step.name)))


def _step(run: Run, name: str) -> Step:
    return Step(
        name=name,
        seconds=run.seconds,
        started=datetime.fromisoformat(run.ended) - timedelta(seconds=run.seconds),
        rows=_rows(run.result),
        parts=_parts(run.result),
    )


def _rows(result: Row) -> int | None:
    rows = first_of(result, key="rows") or result.get("probe_rows")
    if isinstance(rows, Mapping):
        rows = sum(value for value in rows.values() if isinstance(value, int))
    return rows if isinstance(rows, int) else None


def _parts(result: Row) -> tuple[tuple[str, float], ...]:
    told = result.get("steps")
    if not isinstance(told, Mapping):
        return ()
    return tuple((str(name), float(value)) for name, value in told.items())
