"""What the drift section shows: sentences first, then where predictions and inputs moved."""

from collections.abc import Sequence
from typing import Any

from validation.intervals import Estimate
from validation.report import svg, words
from validation.report.data import Drift, Moved, ReportData
from validation.report.svg import Axis

View = dict[str, Any]
FEW, FEATURES = 5, 12
"""Rows of the heat map, by how near they are to their limits: as many as moved, from 5 to 12."""
SHOWN = 8
"""Findings that are shown at once."""
_STEPS = (0.5, 1.0, 2.0)
"""Shares of a limit at which the shade of a heat map changes."""


def drift(data: ReportData) -> View | None:
    """Return what moved; None when nobody looked."""
    found = data.drift
    if found is None:
        return None
    return {
        "findings": found.findings[:SHOWN],
        "more": found.findings[SHOWN:],
        "stops": sum(severity == "stop" for severity, _ in found.findings),
        "watched": len(found.rows),
        "predictions": _predictions(data, found),
        "inputs": _inputs(data, found),
        "probe": found.probe,
        "probe_rows": found.probe_rows,
    }


def _of(found: Drift, measure: str) -> dict[tuple[str, str], Moved]:
    return {(one.scenario, one.task): one for one in found.rows if one.measure == measure}


def _predictions(data: ReportData, found: Drift) -> View | None:
    """Return a forest of how much more or less each cell is predicted than by the champion."""
    means = _of(found, "prediction-mean")
    if not means:
        return None
    ends = [
        abs(end)
        for one in means.values()
        for end in (one.change.value, one.change.low, one.change.high, one.limit)
        if end is not None
    ]
    reach = 1.08 * max(ends, default=0.1)
    limits = [one.limit for one in means.values() if one.limit is not None]
    band = (-min(limits), min(limits)) if limits else None
    axis = Axis(low=-reach, high=reach, band=band)
    rows = []
    for task in data.tasks:
        for scenario in data.scenarios:
            one = means.get((scenario, task))
            if one is not None:
                rows.append(
                    {
                        "place": f"{task} in {scenario}",
                        "moved": one,
                        "plot": svg.forest(
                            axis, one.change, _shade(one), None, f"{task} in {scenario}: {one.text}"
                        ),
                        "interval": _percents(one.change),
                    }
                )
    tick = svg.nice(0.85 * reach)
    ticks = [(v, words.percent(v)) for v in (-tick, 0.0, tick)]
    return {"rows": rows, "scale": svg.scale(axis, ticks, ("← less", "more →"))}


def _shade(one: Moved) -> Any:
    return {"stop": "worse", "warn": "unsure", "": "within"}[one.severity]


def _percents(change: Estimate) -> str:
    if change.low is None or change.high is None:
        return ""
    return f"{words.percent(change.low)} to {words.percent(change.high)}"


def _inputs(data: ReportData, found: Drift) -> View | None:
    """Return a heat map of the features that moved most, and the plainer facts above it."""
    indexed = [one for one in found.rows if one.measure == "psi"]
    if not indexed:
        return None
    by_feature: dict[str, dict[str, Moved]] = {}
    for one in indexed:
        by_feature.setdefault(one.subject, {})[one.scenario] = one
    ordered = sorted(by_feature, key=lambda name: -max(map(_urgency, by_feature[name].values())))
    rows: list[View] = [
        {
            "name": name,
            "cells": [
                _cell(by_feature[name].get(scenario), "index") for scenario in data.scenarios
            ],
        }
        for name in ordered[:FEATURES]
    ]
    notable = sum(any(cell and cell["heat"] for cell in row["cells"]) for row in rows)
    rows = rows[: max(notable, FEW)]
    return {
        "facts": [row for row in _facts(data, found) if any(row["cells"])],
        "rows": rows,
        "features": len(by_feature),
    }


def _facts(data: ReportData, found: Drift) -> list[View]:
    volumes = _of(found, "volume")
    newest = {
        scenario: max(
            (one for one in found.rows if (one.measure, one.scenario) == ("oov", scenario)),
            key=lambda one: (_urgency(one), one.value),
            default=None,
        )
        for scenario in data.scenarios
    }
    rates = _of(found, "label-rate")
    return [
        {
            "name": "samples",
            "cells": [_cell(volumes.get((scenario, "")), "change") for scenario in data.scenarios],
        },
        *(
            {
                "name": f"{task} rate",
                "cells": [
                    _cell(rates.get((scenario, task)), "change") for scenario in data.scenarios
                ],
            }
            for task in data.tasks
        ),
        {
            "name": "new tokens, worst feature",
            "cells": [_cell(newest[scenario], "share") for scenario in data.scenarios],
        },
    ]


def _urgency(one: Moved) -> float:
    return one.moved / one.limit if one.limit else 0.0


def _cell(one: Moved | None, kind: str) -> View | None:
    if one is None:
        return None
    relative = one.value / one.usual - 1 if one.usual else None
    shown = {
        "index": words.number(one.value, 2),
        "share": words.share(one.value),
        "change": words.NOTHING if relative is None else words.percent(relative),
    }
    heat = sum(_urgency(one) > step for step in _STEPS)
    limit = words.number(one.limit, 2) if kind == "index" else words.share(one.limit)
    return {"text": shown[kind], "heat": heat, "moved": one, "limit": limit}


def rows(found: Sequence[Moved]) -> list[Moved]:
    """Return the readings of inputs and predictions, what is nearest to its limit first."""
    told = [one for one in found if one.kind != "mask"]
    return sorted(told, key=lambda one: -_urgency(one))
