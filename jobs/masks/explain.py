"""``autoifs masks explain``: what a registered model's flows are worth, and whether they had to be.

Two questions, in order of cost. What does each flow of the model carry? Nothing is trained for
that. And would other masks have done as well? For that, models are trained on the version's own
days with masks that nobody searched, and judged on its judge days.
"""

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from features.errors import TrainingError
from features.lake import Lake
from features.spec import Spec
from jobs.home import Home
from jobs.masks.agreement import Agreement, Table, agree, agree_all
from jobs.masks.importance import importance
from jobs.masks.rivals import SEARCHED, Rival, compare, train_rivals
from jobs.masks.shelf import Shelf
from jobs.masks.table import Explained, explained
from jobs.train import registry_of
from jobs.trial import Exam, exam_of
from training import night
from training.artifact import Scorer, load
from training.artifact_files import read_json
from training.material import pin, read
from training.registry import Registry
from training.schedule import SEARCHED_ON, Decision
from training.settings import prepare_torch
from training.versions import Version
from validation.drift import keep_rates


def explain(
    *, spec: Spec, lake: Lake, home: Home, model: str, seeds: int, out: Path | None
) -> dict[str, Any]:
    """Explain the masks of a registered version.

    Args:
        spec: the product, as it was when the version was trained.
        lake: its tables.
        home: trainings are kept in ``work/<product>/masks``, so that a stopped run goes on.
        model: number or alias of the version.
        seeds: trainings of each kind of masks; 0: none is trained.
        out: Markdown file that the tables are written to as well.

    Raises:
        TrainingError: the version has no flows, or is of another spec.
    """
    prepare_torch()
    registry = registry_of(spec, home)
    version = registry.get(model)
    judged = dict(pair.split(":") for pair in version.tags["judge"].split(","))
    with home.scratch() as scratch:
        scorer = load(registry.download(version.version, scratch))
        exam = exam_of(spec, lake, {task: date.fromisoformat(day) for task, day in judged.items()})
        _check(spec, scorer, exam, version)
        agreements = [
            *_with_start(scorer, spec, exam, scratch),
            *_with_search_before(registry, version, scorer, spec, exam, scratch),
        ]
    rivals: list[Rival] = []
    if seeds:
        shelf = _shelf(spec, lake, home, version)
        held = train_rivals(shelf, scorer, seeds)
        rivals = compare(spec, held, exam)
        searched = [kept_in(one, spec, exam) for one in held[SEARCHED]]
        again = agree_all(f"searches with {seeds} seeds", searched, exam.samples.layout)
        agreements += [again] if again else []
    found = Explained(
        product=spec.product,
        version=version.version,
        searched_on=version.tags.get(SEARCHED_ON) or "",
        judged=judged,
        flows=importance(spec, scorer, exam),
        agreements=agreements,
        rivals=rivals,
    )
    text = explained(found)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    return {**asdict(found), "message": text}


def kept_in(scorer: Scorer, spec: Spec, exam: Exam) -> Table:
    """Return the share of the exam's samples of each cell that keep each flow, [K, M, 4]."""
    samples, layout = exam.samples, exam.samples.layout
    strengths = scorer.flows(samples)
    if strengths is None:
        raise TypeError("a model without flows keeps none")
    exists = np.array([[spec.has(k, m) for m in layout.tasks] for k in layout.scenarios])
    kept = keep_rates(np.nan_to_num(strengths), samples.scenario, layout).keep
    return np.where(exists[:, :, None], kept, np.nan)


def _check(spec: Spec, scorer: Scorer, exam: Exam, version: Version) -> None:
    name = f"version {version.version} of {spec.product}"
    if scorer.card.architecture.kind != "autoifs":
        kind = scorer.card.architecture.kind
        raise TrainingError(f"{name} is a {kind}, which has no flows; name a version of autoifs")
    theirs, ours = scorer.layout, exam.samples.layout
    if (theirs.scenarios, theirs.tasks) != (ours.scenarios, ours.tasks):
        raise TrainingError(
            f"{name} was trained for other scenarios or tasks than the spec now declares; "
            "explain it with the spec of that time, or name a newer version"
        )


def _with_start(scorer: Scorer, spec: Spec, exam: Exam, scratch: Path) -> list[Agreement]:
    """Compare with the gates as they were before training, if the artifact says so."""
    initial = read_json(next(scratch.rglob("masks.json")))["initial"]
    if initial is None:
        return []
    whole_ = [[[np.nan] * 4 if cell is None else cell for cell in row] for row in initial]
    layout = exam.samples.layout
    return [agree("the start of its search", np.array(whole_), kept_in(scorer, spec, exam), layout)]


def _with_search_before(
    registry: Registry, version: Version, scorer: Scorer, spec: Spec, exam: Exam, scratch: Path
) -> list[Agreement]:
    """Compare with the newest version whose flows were searched earlier than this one's."""
    mine = version.tags.get(SEARCHED_ON) or ""
    for other in registry.list():
        theirs = other.tags.get(SEARCHED_ON) or ""
        if theirs and theirs < mine and other.tags.get("search_key") == version.tags["search_key"]:
            before = load(registry.download(other.version, scratch / "before"))
            old, new = (kept_in(one, spec, exam) for one in (before, scorer))
            what = f"version {other.version}, searched {theirs}"
            return [agree(what, old, new, exam.samples.layout)]
    return []


def _shelf(spec: Spec, lake: Lake, home: Home, version: Version) -> Shelf:
    tags = version.tags
    versions = int(tags["delta_version_encoded"]), int(tags["vocabulary_version"])
    pinned = pin(spec, lake, date.fromisoformat(tags["ds"]), versions)
    frozen = Decision(search=False, searched_on=None, previous=version.version, reason="explained")
    key = night.fingerprint(spec, pinned, frozen)
    return Shelf(
        spec=spec,
        material=night.teach(spec, read(spec, lake, pinned)),
        folder=home.root / "work" / spec.product / "masks" / key,
    )
