"""From the records a night leaves in the tables to :class:`ReportData`.

Records are read leniently: a night that stopped early, or was run by an older release, still gets
a page that says what is missing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

from features.spec import Spec
from validation.intervals import Estimate
from validation.report.data import (
    Cell,
    CellMask,
    CellVerdict,
    Decision,
    Flow,
    Look,
    Masks,
    Night,
    Outcome,
    Quality,
    ReportData,
    Scores,
)
from validation.report.records import (
    Records,
    Row,
    Run,
    data_of,
    finite,
    first_of,
    results,
    steps_of,
)

HISTORY = 14
"""Nights behind the small trend lines."""

_OUTCOMES: dict[str, Outcome] = {
    "promoted": "promoted",
    "first": "first champion",
    "first champion": "first champion",
    "rejected": "rejected",
    "waiting": "waiting",
    "reported": "reported",
    "unchanged": "unchanged",
}
_VERDICTS: dict[str, CellVerdict] = {word: word for word in get_args(CellVerdict)} | {
    "same": "within"
}
_PROVENANCE = (
    ("Delta version of encoded", "delta_version_encoded"),
    ("vocabulary version", "vocabulary_version"),
    ("spec", "spec_hash"),
    ("git commit", "git_commit"),
    ("seed", "seed"),
    ("trained on", "window"),
    ("masks searched on", "searched_on"),
    ("fingerprint", "fingerprint"),
    ("artifact checksum", "checksum"),
)


def gather(
    spec: Spec, ds: str, records: Records, *, written: datetime, link: str | None = None
) -> ReportData:
    """Return what the report of the night ``ds`` says."""
    said = results(records.runs, ds)
    return ReportData(
        product=spec.product,
        ds=ds,
        scenarios=spec.scenarios.names,
        tasks=tuple(spec.tasks),
        decision=_decision(said, ds),
        written=written,
        quality=_quality(spec, said["evaluate"], _history(spec, ds, records.metrics))
        if "evaluate" in said
        else None,
        masks=_masks(said["evaluate"]) if "evaluate" in said else None,
        data=data_of(spec, ds, said.get("train", {}).get("split") or {}, records),
        looks=_looks(said.get("train", {})),
        steps=steps_of(records.runs, ds),
        provenance=_provenance(said, records.published.get(ds, {})),
        link=link,
    )


def night(runs: Sequence[Run], ds: str) -> Night:
    """Return a night's line in the index."""
    said = results(runs, ds)
    decision = _decision(said, ds)
    return Night(
        ds=ds,
        file=f"{ds}.html",
        outcome=decision.outcome,
        version=decision.version,
        champion=decision.champion,
        reason=decision.reasons[0] if decision.reasons else "",
        rows=said.get("samples", {}).get("rows"),
        seconds=sum(step.seconds for step in steps_of(runs, ds)) or None,
    )


def _decision(said: Mapping[str, Row], ds: str) -> Decision:
    gate, evaluated = said.get("gate", {}), said.get("evaluate", {})
    version = _text(first_of(gate, evaluated, said.get("register", {}), key="version"))
    before = gate["previous"] if "previous" in gate else evaluated.get("champion")
    stopped = said.get("audit", {}).get("passed") is False
    outcome: Outcome = "undecided"
    if gate:
        outcome = _OUTCOMES.get(str(gate.get("verdict")), "undecided")
    elif stopped and not evaluated:
        outcome = "failed"
    reasons = tuple(gate.get("reasons") or ())
    if outcome == "failed":
        reasons = (f"The audit stopped the samples of {ds}.",)
    return Decision(outcome=outcome, reasons=reasons, version=version, champion=_text(before))


def _quality(
    spec: Spec, evaluated: Row, history: Mapping[tuple[str, str], tuple[float | None, ...]]
) -> Quality:
    measured = [_cell(row, history) for row in evaluated.get("cells") or ()]
    absent = [
        Cell(scenario=scenario, task=task, exists=False)
        for scenario in spec.scenarios.names
        for task in spec.tasks
        if not spec.has(scenario, task)
    ]
    missing = {(cell.scenario, cell.task) for cell in absent}
    return Quality(
        cells=(*(c for c in measured if (c.scenario, c.task) not in missing), *absent),
        measure=spec.gate.measure,
        tolerance=spec.gate.tolerance,
        confidence=spec.gate.confidence,
        judged={task: str(day) for task, day in (evaluated.get("judged") or {}).items()},
    )


def _cell(row: Row, history: Mapping[tuple[str, str], tuple[float | None, ...]]) -> Cell:
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
        history=history.get(place, ()),
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


def _history(
    spec: Spec, ds: str, metrics: Sequence[Row]
) -> dict[tuple[str, str], tuple[float | None, ...]]:
    """Return cell → the gate's measure of the last challengers, one value a night."""
    kept = [
        row
        for row in metrics
        if row["role"] == "challenger" and row["metric"] == spec.gate.measure and row["ds"] <= ds
        if not row.get("slice")
    ]
    nights = sorted({row["ds"] for row in kept})[-HISTORY:]
    values = {(row["scenario"], row["task"], row["ds"]): finite(row["value"]) for row in kept}
    cells = {(row["scenario"], row["task"]) for row in kept}
    return {cell: tuple(values.get((*cell, at)) for at in nights) for cell in cells}


def _masks(evaluated: Row) -> Masks:
    cells: dict[tuple[str, str], list[Flow]] = {}
    for row in evaluated.get("masks") or ():
        flow = Flow(
            name=row["flow"],
            keep_rate=finite(row.get("keep_rate")) or 0.0,
            strength=finite(row.get("strength")) or 0.0,
            champion_keep_rate=finite(row.get("champion_keep_rate")),
            champion_strength=finite(row.get("champion_strength")),
            flip=bool(row.get("flip")),
        )
        cells.setdefault((row["scenario"], row["task"]), []).append(flow)
    return Masks(
        cells=tuple(
            CellMask(scenario=scenario, task=task, flows=tuple(flows))
            for (scenario, task), flows in cells.items()
        ),
        agreement=finite(evaluated.get("agreement")),
        chance=finite(evaluated.get("chance")),
        samples=evaluated.get("probe_rows"),
    )


def _looks(train: Row) -> tuple[Look, ...]:
    """Return the challenger's looks at the validation days."""
    return tuple(
        Look(
            stage=str(row.get("stage") or "train"),
            step=int(row.get("step") or 0),
            train_loss=row.get("train_loss"),
            validation_loss=row.get("validation"),
        )
        for row in (train.get("challenger") or {}).get("looks") or ()
    )


def _provenance(said: Mapping[str, Row], published: Row) -> tuple[tuple[str, str], ...]:
    train, register = said.get("train", {}), said.get("register", {})
    places = (register.get("tags") or {}, train, published)
    found = [(name, first_of(*places, key=key)) for name, key in _PROVENANCE]
    found += [
        ("Delta version of samples", published.get("version")),
        ("samples’ content hash", published.get("content_hash")),
    ]
    return tuple((name, str(value)) for name, value in found if value not in (None, ""))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
