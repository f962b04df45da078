"""What moved since the days before and since the champion; the tables that keep it.

``profiles`` has a few counts of every day, so that a night reads its own day's samples only;
``probe`` has samples that stay the same, on which models are compared; ``drift`` has a row a night
and number that may have moved.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.lake import Lake
from features.spec import Layout, Spec, layout_of
from training.data import Dataset, read_days
from validation.drift import Reading
from validation.drift.buckets import relabel
from validation.drift.inputs import Cells, input_drift, label_drift
from validation.drift.predictions import Learned
from validation.drift.profile import Feature, Profile, profile_of, read_profile
from validation.drift.reading import upper

Row = dict[str, Any]
MOST = 200_000
"""Samples of a scenario that a profile is made of: of more, shares would hardly be surer."""
PAST = 14
"""Earlier nights from which the limits of predictions are learned."""


def inputs(spec: Spec, lake: Lake, day: date) -> list[Reading]:
    """Compare ``day`` with the published days before it; their profiles are made when missing."""
    layout, ds = layout_of(spec), day.isoformat()
    days = [held for held in lake.days("encoded") if held <= ds][-1 - spec.drift.reference :]
    if ds not in days:
        return []
    profiles = _profiles(spec, lake, layout, days)
    tokens = {column.name for column in layout.of("category", "multi")}
    before = [profiles[held] for held in days[:-1]]
    found = [*input_drift(spec, profiles[ds], before, tokens), *_labels(spec, lake, ds)]
    return [_with_token(lake, layout, one) for one in found]


def learned(lake: Lake, day: date) -> Learned:
    """Return what says how far predictions moved on earlier nights anyway."""
    if not lake.exists("drift"):
        return lambda *_: 0.0
    rows = lake.open("drift").to_pyarrow_table(
        filters=[("ds", "<", day.isoformat()), ("kind", "=", "prediction")],
        columns=["ds", "measure", "scenario", "task", "moved"],
    )
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in rows.sort_by([("ds", "descending")]).to_pylist():
        past = found.setdefault((row["measure"], row["scenario"], row["task"]), [])
        if len(past) < PAST:
            past.append(row["moved"])
    limits = {place: upper(past) for place, past in found.items()}
    return lambda *place: limits.get(place, 0.0)


def write(
    lake: Lake, day: date, readings: Sequence[Reading], version: str, champion: str | None
) -> None:
    """Replace the night's rows of the table ``drift``."""
    ds = day.isoformat()
    about = {"ds": ds, "version": version, "champion": champion or ""}
    rows = [{**about, **one.to_json()} for one in readings]
    if rows:
        lake.replace("drift", {"ds": ds}, pa.Table.from_pylist(rows, schema=_SCHEMA))


_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("ds", "version", "champion")]
    + [(name, pa.string()) for name in ("kind", "measure", "scenario", "task", "subject")]
    + [(name, pa.float64()) for name in ("value", "usual", "moved", "low", "high")]
    + [("limit", pa.float64()), ("stop", pa.float64()), ("severity", pa.string())]
    + [("n", pa.int64()), ("text", pa.string())]
)


def findings(readings: Sequence[Reading]) -> list[Row]:
    """Return what is worth a word, the most serious first, as the gate and the report read it."""
    told = [one for one in readings if one.severity]
    ordered = sorted(told, key=lambda one: (one.severity != "stop", -one.urgency))
    return [
        {
            "severity": one.severity,
            "kind": one.kind,
            "measure": one.measure,
            "scenario": one.scenario,
            "task": one.task,
            "subject": one.subject,
            "value": one.value,
            "usual": one.usual,
            "moved": one.moved,
            "limit": one.stop if one.severity == "stop" else one.limit,
            "text": f"{one.text} ({_limit(one)})",
        }
        for one in ordered
    ]


def probe(spec: Spec, lake: Lake, day: date) -> tuple[Dataset, str]:
    """Return the samples on which models are compared, and the day from which they were drawn.

    They stay the same from night to night; another vocabulary, or other scenarios, tasks or
    features in the spec, want a new draw.
    """
    layout = layout_of(spec)
    key = _probe_key(lake, layout)
    drawn = _drawn(lake, key) or _draw(spec, lake, layout, day, key)
    version = lake.open("probe").version()
    return read_days(lake, layout, [date.fromisoformat(drawn)], version, table="probe"), drawn


def _probe_key(lake: Lake, layout: Layout) -> str:
    vocabulary = lake.open("vocabulary").metadata().id
    said = [vocabulary, layout.scenarios, layout.tasks, [column.name for column in layout.columns]]
    return hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()[:16]


def _drawn(lake: Lake, key: str) -> str | None:
    if not lake.exists("probe"):
        return None
    rows = lake.open("probe").to_pyarrow_table(columns=["ds"], filters=[("probe_key", "=", key)])
    days: str | None = pc.max(rows["ds"]).as_py()
    return days


def _draw(spec: Spec, lake: Lake, layout: Layout, day: date, key: str) -> str:
    """Keep up to ``drift.probe`` random samples of each scenario of ``day``."""
    ds = day.isoformat()
    rows = lake.open("encoded").to_pyarrow_table(filters=[("ds", "=", ds)]).sort_by("sample_id")
    scenario = rows["scenario"].to_numpy()
    kept = rows.take(_at_most(scenario, len(layout.scenarios), spec.drift.probe))
    lake.replace("probe", {"ds": ds}, kept.append_column("probe_key", pa.array([key] * len(kept))))
    return ds


def _profiles(spec: Spec, lake: Lake, layout: Layout, days: Sequence[str]) -> dict[str, Profile]:
    """Return the profile of each day; makes those that are missing or of another content."""
    content = {ds: _content(said) for ds, said in lake.commits("encoded").items()}
    held = _held_profiles(lake, days, content)
    for ds in days:
        if ds not in held:
            held[ds] = _profile(lake, layout, ds, list(held.values()))
            rows = [{"ds": ds, "content": content.get(ds, ""), **row} for row in held[ds].table()]
            lake.replace("profiles", {"ds": ds}, pa.Table.from_pylist(rows))
    return held


def _content(said: Mapping[str, Any]) -> str:
    """Return what names the content of an encoded day, from its commit."""
    return str(said.get("content_hash") or said.get("samples_hash") or said.get("version") or "")


def _held_profiles(
    lake: Lake, days: Sequence[str], content: Mapping[str, str]
) -> dict[str, Profile]:
    if not lake.exists("profiles"):
        return {}
    rows = lake.open("profiles").to_pyarrow_table(filters=[("ds", "in", list(days))]).to_pylist()
    by_day: dict[str, list[Row]] = {}
    for row in rows:
        if row["content"] == content.get(row["ds"], ""):
            by_day.setdefault(row["ds"], []).append(row)
    return {ds: read_profile(own) for ds, own in by_day.items()}


def _profile(lake: Lake, layout: Layout, ds: str, earlier: Sequence[Profile]) -> Profile:
    rows = lake.open("encoded").to_pyarrow_table(filters=[("ds", "=", ds)])
    scenario = rows["scenario"].to_numpy().astype(np.int64)
    kept: dict[tuple[str, str], set[str]] = {}
    for one in earlier:
        for place, names in one.frequent().items():
            kept.setdefault(place, set()).update(names)
    shown = _at_most(scenario, len(layout.scenarios), MOST)
    few = rows if len(shown) == len(rows) else rows.take(shown)
    features = _features(few, layout, scenario[shown], _first_new(lake, ds))
    return profile_of(features, scenario, layout.scenarios, kept)


def _at_most(scenario: NDArray[np.int64], scenarios: int, most: int) -> NDArray[np.int64]:
    """Return the rows to look at: all of a scenario, or ``most`` random ones, in their order."""
    random = np.random.default_rng(len(scenario))
    rows = [np.flatnonzero(scenario == k) for k in range(scenarios)]
    kept = [own if len(own) <= most else random.choice(own, most, replace=False) for own in rows]
    return np.sort(np.concatenate(kept))


def _features(
    rows: pa.Table, layout: Layout, scenario: Any, first_new: Mapping[str, int]
) -> Iterator[Feature]:
    for column in layout.columns:
        values, own = rows[column.name].combine_chunks(), scenario
        if column.kind == "multi":
            own, values = (
                scenario[pc.list_parent_indices(values).to_numpy()],
                pc.list_flatten(values),
            )
        if column.kind == "number":
            flat = values.to_numpy(zero_copy_only=False).astype(np.float32)
        else:
            flat = pc.fill_null(values, 0).to_numpy(zero_copy_only=False).astype(np.int64)
        yield Feature(
            name=column.name,
            values=flat,
            scenario=own,
            tokens=column.kind != "number",
            first_new=first_new.get(column.borrows or column.name),
        )


def _first_new(lake: Lake, ds: str) -> dict[str, int]:
    """Return feature → the index from which tokens were unknown until the day.

    A feature without tokens before it is absent: days that are backfilled together get their
    vocabulary at the end of them.
    """
    rows = lake.open("vocabulary").to_pyarrow_table(
        columns=["feature", "index"], filters=[("ds", "<", ds)]
    )
    highest = rows.group_by("feature").aggregate([("index", "max")]).to_pylist()
    return {row["feature"]: int(row["index_max"]) + 1 for row in highest}


def _labels(spec: Spec, lake: Lake, ds: str) -> list[Reading]:
    """Compare each task's newest labelled day with the days before it, as the audits counted."""
    days: dict[str, Cells] = {
        day: (said.get("measures") or {}).get("cells") or {}
        for day, said in sorted(lake.commits("samples").items())
        if day <= ds
    }
    today: dict[str, Cells] = {}
    before: dict[str, Sequence[Cells]] = {}
    for task in spec.tasks:
        known = [cells for cells in days.values() if _knows(cells, task)]
        if known:
            today[task], before[task] = known[-1], known[-1 - spec.drift.reference : -1]
    return label_drift(spec, today, before)


def _knows(cells: Cells, task: str) -> bool:
    return any(cell["known"] for name, cell in cells.items() if name.endswith(f"/{task}"))


def _with_token(lake: Lake, layout: Layout, one: Reading) -> Reading:
    """Return the reading with the token that moved by name instead of by index."""
    if not one.severity or one.measure != "psi":
        return one
    column = next(column for column in layout.columns if column.name == one.subject)
    found = re.search(r": token (\d+) ", one.text)
    if column.kind == "number" or found is None:
        return one
    rows = lake.open("vocabulary").to_pyarrow_table(
        columns=["token"],
        filters=[
            ("feature", "=", column.borrows or column.name),
            ("index", "=", int(found[1])),
        ],
    )
    token = rows["token"].to_pylist()
    return replace(one, text=relabel(one.text, {found[1]: token[0]})) if token else one


def _limit(one: Reading) -> str:
    limit = one.stop if one.severity == "stop" else one.limit
    unit = "stability index " if one.measure in ("psi", "prediction-psi") else "moved by "
    relative = one.measure in ("volume", "label-rate", "prediction-mean", "oov", "flips")
    shown = [f"{value:.0%}" if relative else f"{value:.2f}" for value in (one.moved, limit or 0.0)]
    if one.measure == "agreement":
        return "no more than chance"
    return f"{unit}{shown[0]}, {'stops at' if one.severity == 'stop' else 'limit'} {shown[1]}"
