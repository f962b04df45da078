"""Judge the models of earlier nights on the day after theirs, once its labels are known.

A night judges its model on days up to its own: those numbers are provisional. What the model is for
is the next day, and the night that brings that day's last labels judges it there.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow.compute as pc

from features.days import DAY
from features.errors import RegistryError
from features.lake import Lake
from features.spec import Spec, layout_of
from jobs.home import Home
from jobs.runs import history, record
from jobs.scoring import answers, roles
from jobs.timing import Stopwatch
from jobs.train import registry_of
from jobs.trial import FINAL, exam_of, hold, write_metrics

log = logging.getLogger(__name__)

Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Due:
    """A night whose model can be judged on the day after it."""

    night: date
    version: str
    champion: str | None
    """The version it was compared with that night."""
    tasks: tuple[str, ...]
    """Those whose labels of the next day are all known."""


def settle(*, spec: Spec, lake: Lake, home: Home, day: date) -> list[Result]:
    """Judge every earlier night's model for which ``day`` has brought labels.

    The table ``metrics`` keeps the night's provisional rows and gets final ones beside them; the
    table ``runs`` gets the step ``settle`` of that night. A night is judged once more for each task
    whose labels come later.

    Returns:
        ``ds``, ``version`` and ``tasks`` of each night that was settled, or partly so.
    """
    return [one for due in due_nights(spec, lake, day) if (one := _settle(spec, lake, home, due))]


def due_nights(spec: Spec, lake: Lake, day: date) -> Iterator[Due]:
    """Yield the evaluated nights before ``day`` that have more labels than they were judged by."""
    first = day - spec.training.window
    nights: dict[str, dict[str, Result]] = {}
    for row in history(lake, first.isoformat(), (day - DAY).isoformat()):
        nights.setdefault(row["ds"], {})[row["step"]] = row["result"]
    encoded = set(lake.days("encoded"))
    for ds, said in sorted(nights.items()):
        night = date.fromisoformat(ds)
        if "evaluate" not in said or (night + DAY).isoformat() not in encoded:
            continue
        evaluated = said["evaluate"]
        tasks = _mature(spec, lake, night + DAY) if _open(spec, said) else ()
        if tasks and tasks != tuple(_settled(said)):
            yield Due(
                night=night,
                version=str(evaluated["version"]),
                champion=evaluated["champion"],
                tasks=tasks,
            )


def _settled(said: Mapping[str, Result]) -> list[str]:
    """Return the tasks that the night's present version was finally judged by."""
    last = said.get("settle", {})
    known: list[str] = last.get("tasks", [])
    return known if last.get("version") == str(said["evaluate"]["version"]) else []


def _open(spec: Spec, said: Mapping[str, Result]) -> bool:
    return set(_settled(said)) != set(spec.tasks)


def _mature(spec: Spec, lake: Lake, day: date) -> tuple[str, ...]:
    """Return the tasks of which every sample of ``day`` that can have a label has one."""
    layout = layout_of(spec)
    rows = lake.open("encoded").to_pyarrow_table(
        filters=[("ds", "=", day.isoformat())],
        columns=["scenario", *(f"y_{task}" for task in layout.tasks)],
    )
    found = []
    for task in layout.tasks:
        having = [k for k, name in enumerate(layout.scenarios) if spec.has(name, task)]
        own = rows.filter(pc.field("scenario").isin(having))[f"y_{task}"]
        if len(own) and own.null_count == 0:
            found.append(task)
    return tuple(found)


def _settle(spec: Spec, lake: Lake, home: Home, due: Due) -> Result | None:
    watch, next_day = Stopwatch(), due.night + DAY
    exam = exam_of(spec, lake, dict.fromkeys(due.tasks, next_day))
    try:
        models = roles(due.version, due.champion)
        scored = answers(registry_of(spec, home), models, exam.samples, home)
    except RegistryError as error:
        # An old model that is gone, or whose vocabulary is, must not stop tonight's.
        log.warning("the model of %s stays judged provisionally: %s", due.night, error)
        return None
    with watch.step("measure"):
        trial = hold(spec, exam, scored)
        write_metrics(lake, due.night, FINAL, trial.metric_rows())
    said = {
        "version": due.version,
        "champion": due.champion,
        "judged_on": next_day.isoformat(),
        "tasks": list(due.tasks),
        "complete": set(due.tasks) == set(spec.tasks),
        "cells": trial.cells(),
    }
    record(lake, due.night, "settle", sum(watch.seconds.values()), said)
    log.info("judged version %s of %s on %s", due.version, due.night, next_day)
    return {"ds": due.night.isoformat(), "version": due.version, "tasks": list(due.tasks)}
