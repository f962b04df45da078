"""From the records a night leaves in the tables to :class:`ReportData`.

Records are read leniently: a night that stopped early, or was run by an older release, still gets
a page that says what is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from features.spec import Spec
from validation.intervals import Estimate
from validation.report.data import (
    CellMask,
    Decision,
    Drift,
    Flow,
    Look,
    Masks,
    Moved,
    Night,
    Outcome,
    ReportData,
)
from validation.report.judged import HISTORY, quality_of
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
from validation.report.words import reasons, short_day

__all__ = ["HISTORY", "compared", "gather", "night"]

_OUTCOMES: dict[str, Outcome] = {
    "promoted": "promoted",
    "first": "first champion",
    "first champion": "first champion",
    "rejected": "rejected",
    "waiting": "waiting",
    "reported": "reported",
    "unchanged": "unchanged",
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
        decision=_decision(said, ds, records.trail),
        written=written,
        quality=quality_of(spec, ds, records.runs, records.metrics, records.trail),
        masks=_masks(said["evaluate"], said.get("train", {})) if "evaluate" in said else None,
        drift=_drift(said.get("evaluate", {}), records.drift),
        data=data_of(spec, ds, said.get("train", {}).get("split") or {}, records),
        looks=_looks(said.get("train", {})),
        steps=steps_of(records.runs, ds),
        model=_text(said.get("train", {}).get("model")),
        provenance=_provenance(said, records.published.get(ds, {})),
        link=link,
        links=tuple(records.links),
    )


def _count(drift: Row | None) -> int | None:
    return None if drift is None else len(drift.get("findings") or ())


def _is_settled(said: Mapping[str, Row]) -> bool | None:
    if "evaluate" not in said:
        return None
    settled = said.get("settle", {})
    same = settled.get("version") == str(said["evaluate"].get("version"))
    return bool(same and settled.get("complete"))


def compared(
    spec: Spec,
    evaluated: Row,
    *,
    metrics: Sequence[Row],
    drift: Sequence[Row],
    written: datetime,
    link: str,
) -> ReportData:
    """Return what the page of two versions says of them, the older in the champion's place.

    Args:
        spec: the product.
        evaluated: what ``evaluate`` would record of the two.
        metrics: their rows of ``metrics``, without a night.
        drift: their rows of ``drift``.
        written: the moment.
        link: where the page lies.
    """
    ds = max(evaluated["judged"].values())
    run = Run(ds=ds, step="evaluate", ended=written.isoformat(), seconds=0.0, result=evaluated)
    quality = quality_of(spec, ds, [run], [{"ds": ds, **row} for row in metrics])
    return ReportData(
        product=spec.product,
        ds=ds,
        scenarios=spec.scenarios.names,
        tasks=tuple(spec.tasks),
        decision=Decision(outcome="undecided", version=_text(evaluated["version"])),
        written=written,
        quality=None if quality is None else replace(quality, next_day="", trends={}),
        masks=_masks(evaluated, {}),
        drift=_drift(evaluated, drift),
        link=link,
    )


def night(runs: Sequence[Run], ds: str, trail: Sequence[Row] = ()) -> Night:
    """Return a night's line in the index."""
    said = results(runs, ds)
    decision = _decision(said, ds, trail)
    return Night(
        ds=ds,
        file=f"{ds}.html",
        outcome=decision.outcome,
        version=decision.version,
        champion=decision.champion,
        reason=reasons(decision)[0],
        rows=said.get("samples", {}).get("rows"),
        seconds=sum(step.seconds for step in steps_of(runs, ds)) or None,
        moved=_count(said.get("evaluate", {}).get("drift")),
        settled=_is_settled(said),
    )


def _decision(said: Mapping[str, Row], ds: str, trail: Sequence[Row]) -> Decision:
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
        reasons = tuple(_stopped(ds, said["audit"]))
    since = [
        one for one in trail if version in (one.get("to"), one.get("from"), one.get("version"))
    ]
    if outcome in _OPEN:
        outcome = _answered(since, version) or outcome
    elif since and since[0].get("to") == version:
        since = since[1:]  # by which the gate itself made it champion
    return Decision(
        outcome=outcome,
        reasons=reasons,
        version=version,
        champion=_text(before),
        since=tuple(_happened(one, version) for one in since),
    )


def _stopped(ds: str, audit: Row) -> Iterator[str]:
    """Yield why a night ended at its audit, the first reason first."""
    stops = [one for one in audit.get("findings") or () if one.get("severity") == "stop"]
    told = [f"{one.get('check')}: {one.get('message')}" for one in stops]
    yield f"The audit stopped the samples of {ds}" + (f" ({told[0]})" if told else "")
    yield from told[1:]


_OPEN: tuple[Outcome, ...] = ("waiting", "reported", "rejected", "undecided")
"""Outcomes that a person may still change."""


def _answered(since: Sequence[Row], version: str | None) -> Outcome | None:
    """Return what a person decided about a version that the gate did not promote."""
    for one in since:
        if one.get("to") == version:
            return "promoted"
        if one["action"] == "reject" and one.get("version") == version:
            return "rejected"
    return None


def _happened(one: Row, version: str | None) -> str:
    """Return a change of the champion as a sentence."""
    at, who = datetime.fromisoformat(one["at"]), str(one.get("who") or "somebody")
    by = "Airflow" if who.startswith("airflow ") else who
    when = f"on {short_day(at.date().isoformat())} {at:%Y at %H:%M} UTC by {by}"
    why = f" ({one['why']})" if one.get("why") else ""
    if one["action"] == "retire":
        return f"Version {version} was deleted {when}{why}"
    if one["action"] == "reject":
        return f"Version {version} was rejected {when}{why}"
    if one.get("to") == version:
        return f"Version {version} was made champion {when}{why}"
    if one["action"] == "rollback":
        return f"Version {version} was rolled back to version {one.get('to')} {when}{why}"
    return f"Version {one.get('to')} took over {when}"


def _masks(evaluated: Row, train: Row) -> Masks:
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
        chance_range=_range(evaluated.get("chance_low"), evaluated.get("chance_high")),
        since_search=finite(evaluated.get("flips_since_search")),
        searched_on=_text(train.get("searched_on")),
        samples=evaluated.get("probe_rows"),
    )


def _range(low: Any, high: Any) -> tuple[float, float] | None:
    return None if low is None or high is None else (float(low), float(high))


def _drift(evaluated: Row, rows: Sequence[Row]) -> Drift | None:
    told = evaluated.get("drift")
    if told is None:
        return None
    probe = told.get("probe") or {}
    return Drift(
        rows=tuple(_moved(row) for row in rows),
        findings=tuple(
            ("stop" if one["severity"] == "stop" else "warn", str(one["text"]))
            for one in told.get("findings") or ()
        ),
        probe=_text(probe.get("drawn")),
        probe_rows=probe.get("rows"),
    )


def _moved(row: Row) -> Moved:
    return Moved(
        kind=row["kind"],
        measure=row["measure"],
        scenario=row["scenario"],
        task=row["task"],
        subject=row["subject"],
        value=row["value"],
        usual=finite(row.get("usual")),
        moved=row["moved"],
        change=Estimate(
            value=row["value"] / row["usual"] - 1 if row.get("usual") else None,
            low=finite(row.get("low")),
            high=finite(row.get("high")),
        ),
        limit=finite(row.get("limit")),
        stop=finite(row.get("stop")),
        severity=row["severity"],
        text=row["text"],
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
