"""``autoifs models diff``: two versions on the same samples, and what each is made of."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from features.errors import RegistryError, TrainingError
from features.lake import Lake
from features.spec import Spec, layout_of
from jobs import drift as drifting
from jobs.home import Home
from jobs.masking import drift_of, masks_of, said_of
from jobs.register import SPEC
from jobs.report import write
from jobs.scoring import Versions, answers
from jobs.train import registry_of
from jobs.trial import Row, Trial, exam_of, hold
from training.artifact_files import read_json
from training.data import label_counts
from training.registry import Registry
from training.versions import Version
from validation.drift.predictions import prediction_drift
from validation.report import render_diff, render_diff_markdown
from validation.report.data import Change, Diff, Side
from validation.report.gather import compared

_MADE = {
    "model": "model",
    "trained on": "window",
    "epoch chosen on": "validate",
    "Delta version of encoded": "delta_version_encoded",
    "vocabulary version": "vocabulary_version",
    "masks searched on": "searched_on",
    "seed": "seed",
    "git commit": "git_commit",
    "fingerprint": "fingerprint",
}
"""What the page calls a tag of a version."""


def diff(*, spec: Spec, lake: Lake, home: Home, first: str, second: str) -> dict[str, Any]:
    """Compare two versions on the newest day with labels of each task, and by what they are.

    Args:
        spec: the product.
        lake: its tables.
        home: where its registry is, and where the page goes.
        first: number or alias of the version that takes the champion's place.
        second: of the one that takes the challenger's.

    Returns:
        ``first``, ``second``, ``judged``, ``cells``, ``masks``, ``made`` and ``spec`` (what
        differs), ``page`` and ``message`` (the comparison in Markdown).

    Raises:
        UnknownVersionError: when one is not registered.
        RegistryError: when one can't be fetched, or both are the same.
        TrainingError: when a task has no label to judge by.
    """
    registry = registry_of(spec, home)
    old, new = registry.get(first), registry.get(second)
    if old.version == new.version:
        raise RegistryError(
            f"{first} and {second} are both version {old.version}; name two of: autoifs models list"
        )
    trial, evaluated, readings = _judge(spec, lake, registry, home, old, new)
    path = home.reports(spec.product) / f"diff-{old.version}-{new.version}.html"
    specs = [_spec_of(registry, home, one) for one in (old, new)]
    said = Diff(
        old=_side(old),
        new=_side(new),
        report=compared(
            spec,
            evaluated,
            metrics=trial.metric_rows(),
            drift=readings,
            written=datetime.now(UTC),
            link=str(path),
        ),
        made=tuple(
            Change(name=name, old=_tag(old, tag), new=_tag(new, tag)) for name, tag in _MADE.items()
        ),
        spec=tuple(_changes(*specs)) if None not in specs else (),
        spec_note=_note(old, new, specs),
    )
    write(path, render_diff(said))
    return {
        "product": spec.product,
        "first": old.version,
        "second": new.version,
        "judged": evaluated["judged"],
        "cells": evaluated["cells"],
        "masks": {name: evaluated[name] for name in ("agreement", "chance_low", "chance_high")},
        "made": [vars(one) for one in said.made if one.old != one.new],
        "spec": [vars(one) for one in said.spec],
        "page": path,
        "message": render_diff_markdown(said),
    }


def _judge(
    spec: Spec, lake: Lake, registry: Registry, home: Home, old: Version, new: Version
) -> tuple[Trial, Row, list[Row]]:
    """Return both on the same samples, what ``evaluate`` would record of it, and their drift."""
    exam = exam_of(spec, lake, _judge_days(spec, lake))
    models: Versions = {
        "champion": (old.version, "challenger"),
        "challenger": (new.version, "challenger"),
    }
    trial = hold(spec, exam, answers(registry, models, exam.samples, home))
    flows = {role: trial.models[role].flows for role in models}
    masks = drift_of(spec, flows["champion"], flows["challenger"], exam.samples)
    probe, drawn = drifting.probe(spec, lake, max(exam.judge.values()))
    said = answers(registry, models, probe, home)
    before, after = (said[role].probabilities for role in ("champion", "challenger"))
    readings = prediction_drift(spec, before, after, probe.scenario, probe.user, lambda *_: 0.0)
    evaluated = {
        "version": new.version,
        "champion": old.version,
        "judged": {task: day.isoformat() for task, day in exam.judge.items()},
        "probe_rows": len(exam.samples),
        "cells": trial.cells(),
        "masks": masks_of(spec, flows["challenger"], masks, exam.samples),
        **said_of(masks),
        "reliability": trial.curves(),
        "drift": {"findings": [], "probe": {"drawn": drawn, "rows": len(probe)}},
    }
    return trial, evaluated, [one.to_json() for one in readings]


def _judge_days(spec: Spec, lake: Lake) -> dict[str, date]:
    """Return the newest day with labels of each task: neither version was trained on them."""
    layout, version = layout_of(spec), lake.open("encoded").version()
    last = date.fromisoformat(lake.days("encoded")[-1])
    counts = label_counts(lake, layout, last - spec.training.window, last, version)
    found = {}
    for task in layout.tasks:
        days = [day for day, known in counts.items() if known.get(task)]
        if not days:
            raise TrainingError(
                f"task '{task}' has no label up to {last}; build the days again: autoifs backfill"
            )
        found[task] = max(days)
    return found


def _tag(one: Version, tag: str) -> str:
    """Return what a tag says; of a commit the part that people write."""
    return one.tags.get(tag, "")[: 12 if tag == "git_commit" else None]


def _side(one: Version) -> Side:
    return Side(
        version=one.version,
        ds=one.tags.get("ds", ""),
        created=f"{one.created:%Y-%m-%d %H:%M}",
        aliases=one.aliases,
    )


def _spec_of(registry: Registry, home: Home, one: Version) -> dict[str, str] | None:
    """Return a version's spec as path → value; None for one that was registered without it."""
    if f"checksum_{SPEC}" not in one.tags:
        return None
    with home.scratch() as scratch:
        return dict(_flat(read_json(registry.download(one.version, scratch, SPEC) / "spec.json")))


def _note(old: Version, new: Version, specs: list[dict[str, str] | None]) -> str:
    """Return what is said where no line of the specs differs."""
    unknown = [
        f"version {one.version}" for one, said in zip((old, new), specs, strict=True) if not said
    ]
    if unknown:
        same = old.tags.get("spec_hash") == new.tags.get("spec_hash")
        kept = f"The spec of {' and '.join(unknown)} was not kept"
        return f"{kept}; the hashes are {'the same' if same else 'different'}."
    return "The specs are the same."


def _changes(old: Mapping[str, str] | None, new: Mapping[str, str] | None) -> Iterator[Change]:
    """Yield every path whose value differs."""
    before, after = old or {}, new or {}
    for path in sorted({*before, *after}):
        if before.get(path) != after.get(path):
            yield Change(name=path, old=before.get(path, ""), new=after.get(path, ""))


def _flat(said: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and value of everything in a spec; a list of plain values is one value.

    >>> dict(_flat({"a": {"b": 1}, "c": [1, 2], "d": [{"e": 3}]}))
    {'a.b': '1', 'c': '1, 2', 'd.0.e': '3'}
    """
    if isinstance(said, Mapping):
        for name, value in said.items():
            yield from _flat(value, f"{path}.{name}" if path else str(name))
    elif isinstance(said, list) and any(isinstance(one, Mapping | list) for one in said):
        for place, value in enumerate(said):
            yield from _flat(value, f"{path}.{place}")
    else:
        yield path, ", ".join(map(str, said)) if isinstance(said, list) else str(said)
