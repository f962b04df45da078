"""From the tables to how good a night's models are: cells, curves, trends, all numbers."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from features.spec import Spec
from validation.intervals import Estimate
from validation.reliability import Bin
from validation.report.data import (
    Cell,
    CellVerdict,
    Curve,
    NextDay,
    Numbers,
    Point,
    Quality,
    Scores,
)
from validation.report.records import Row, Run, finite, results

HISTORY = 14
"""Nights behind the trend lines."""
_VERDICTS: dict[str, CellVerdict] = {
    "better": "better",
    "within": "within",
    "same": "within",
    "worse": "worse",
    "unsure": "unsure",
    "insufficient": "insufficient",
}


def quality_of(
    spec: Spec, ds: str, runs: Sequence[Run], metrics: Sequence[Row], trail: Sequence[Row] = ()
) -> Quality | None:
    """Return how the night's models did; None when they were not evaluated.

    Args:
        spec: the product.
        ds: the night.
        runs: rows of ``runs``, of the night and before.
        metrics: rows of ``metrics``: all of the night, and of challengers before.
        trail: every change of the champion.
    """
    said = results(runs, ds)
    if "evaluate" not in said:
        return None
    evaluated, settled = said["evaluate"], said.get("settle", {})
    if settled.get("version") != str(evaluated.get("version")):
        settled = {}
    later = {(row["scenario"], row["task"]): row for row in settled.get("cells") or ()}
    measured = [_cell(row, later) for row in evaluated.get("cells") or ()]
    absent = [
        Cell(scenario=scenario, task=task, exists=False)
        for scenario in spec.scenarios.names
        for task in spec.tasks
        if not spec.has(scenario, task)
    ]
    missing = {(cell.scenario, cell.task) for cell in absent}
    after = date.fromisoformat(ds) + timedelta(days=1)
    wait = max(spec.window_days.values(), default=0)
    return Quality(
        cells=(*(c for c in measured if (c.scenario, c.task) not in missing), *absent),
        measure=spec.gate.measure,
        tolerance=spec.gate.tolerance,
        confidence=spec.gate.confidence,
        judged={task: str(day) for task, day in (evaluated.get("judged") or {}).items()},
        next_day=after.isoformat(),
        settles=(after + timedelta(days=wait)).isoformat(),
        settled=tuple(settled.get("tasks") or ()),
        curves=_curves(spec, evaluated, metrics, ds),
        trends=_trends(spec, ds, metrics, {str(one["to"]) for one in trail if one.get("to")}),
        numbers=_numbers(spec, ds, metrics),
    )


def _cell(row: Row, later: Mapping[tuple[str, str], Row]) -> Cell:
    place = str(row.get("scenario") or ""), str(row.get("task") or "")
    return Cell(
        scenario=place[0],
        task=place[1],
        verdict=_VERDICTS.get(str(row.get("verdict")), "none"),
        n=row.get("n"),
        positives=row.get("positives"),
        challenger=Scores(
            auc=_estimate(row, "auc"),
            logloss=_estimate(row, "logloss"),
            ne=finite(row.get("ne")),
            pcoc=finite(row.get("pcoc")),
        ),
        champion=_scores(row, "champion_"),
        baseline=_scores(row, "baseline_"),
        difference=_estimate(row, "difference", "diff"),
        next_day=_next_day(later[place]) if place in later else None,
    )


def _next_day(row: Row) -> NextDay:
    return NextDay(
        auc=_estimate(row, "auc"),
        logloss=_estimate(row, "logloss"),
        difference=_estimate(row, "difference", "diff"),
        verdict=_VERDICTS.get(str(row.get("verdict")), "none"),
        n=row.get("n"),
    )


def _scores(row: Row, prefix: str) -> Scores:
    return Scores(auc=_estimate(row, f"{prefix}auc"), logloss=_estimate(row, f"{prefix}logloss"))


def _estimate(row: Row, name: str, bounds: str | None = None) -> Estimate:
    bounds = bounds or name
    return Estimate(
        value=finite(row.get(name)),
        low=finite(row.get(f"{bounds}_low")),
        high=finite(row.get(f"{bounds}_high")),
    )


def _is_final(row: Row) -> bool:
    return row.get("stage") == "final"


def _trends(
    spec: Spec, ds: str, metrics: Sequence[Row], crowned: set[str]
) -> dict[str, tuple[Point, ...]]:
    """Return task → a point a night: of the next day where that is known, else as judged then."""
    found: dict[str, dict[str, Point]] = {task: {} for task in spec.tasks}
    for row in metrics:
        pooled = not row["scenario"] and row["task"] in found and not row.get("slice")
        own = row["role"] == "challenger" and row["metric"] == spec.gate.measure
        if not pooled or not own or row["ds"] > ds:
            continue
        known = found[row["task"]].get(row["ds"])
        if known is None or _is_final(row):
            found[row["task"]][row["ds"]] = Point(
                ds=row["ds"],
                value=_bounded(row),
                final=_is_final(row),
                crowned=str(row.get("version")) in crowned,
            )
    return {
        task: tuple(points[at] for at in sorted(points)[-HISTORY:])
        for task, points in found.items()
        if points
    }


def _bounded(row: Row, value: str = "value", low: str = "low", high: str = "high") -> Estimate:
    return Estimate(
        value=finite(row.get(value)), low=finite(row.get(low)), high=finite(row.get(high))
    )


def _numbers(spec: Spec, ds: str, metrics: Sequence[Row]) -> tuple[Numbers, ...]:
    """Return every group's measures as they were taken on the night."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in metrics:
        if row["ds"] == ds and not _is_final(row):
            place = row["scenario"], row["task"], str(row.get("slice") or "")
            groups.setdefault(place, []).append(row)
    return tuple(
        _group(place, rows)
        for place, rows in groups.items()
        if not (place[0] and place[1]) or spec.has(place[0], place[1])
    )


def _group(place: tuple[str, str, str], rows: Sequence[Row]) -> Numbers:
    models: dict[str, dict[str, Estimate]] = {}
    for row in rows:
        models.setdefault(str(row["role"]), {})[str(row["metric"])] = _bounded(row)
    own = [row for row in rows if row["role"] == "challenger"]
    counts = models.get("challenger", {})
    return Numbers(
        scenario=place[0],
        task=place[1],
        slice=place[2],
        n=int(counts.get("n", Estimate()).value or 0),
        positives=int(counts.get("positives", Estimate()).value or 0),
        note=next((str(row["note"]) for row in own if row.get("note")), ""),
        models=models,
        changes={
            str(row["metric"]): change
            for row in own
            if (change := _bounded(row, "diff", "diff_low", "diff_high")).value is not None
        },
    )


def _curves(spec: Spec, evaluated: Row, metrics: Sequence[Row], ds: str) -> tuple[Curve, ...]:
    bins: dict[tuple[str, str, str], tuple[Bin, ...]] = {}
    for row in evaluated.get("reliability") or ():
        place = str(row["role"]), str(row["scenario"]), str(row["task"])
        bins[place] = tuple(_bin(one) for one in row["bins"])
    sums = {
        (row["scenario"], row["task"]): _bounded(row)
        for row in metrics
        if row["ds"] == ds and row["role"] == "challenger" and row["metric"] == "pcoc"
        if not row.get("slice") and not _is_final(row)
    }
    return tuple(
        Curve(
            scenario=scenario,
            task=task,
            bins=found,
            champion=bins.get(("champion", scenario, task), ()),
            pcoc=sums.get((scenario, task), Estimate()),
        )
        for (role, scenario, task), found in bins.items()
        if role == "challenger" and (not scenario or spec.has(scenario, task))
    )


def _bin(row: Sequence[float]) -> Bin:
    predicted, observed, low, high, n = row
    return Bin(predicted=predicted, observed=observed, low=low, high=high, n=int(n))
