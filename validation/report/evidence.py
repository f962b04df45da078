"""What stands behind the verdicts: reliability curves, trends, slices, calibration, all numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from validation.intervals import UNKNOWN, Estimate
from validation.reliability import missed
from validation.report import svg, views, words
from validation.report.data import Curve, Numbers, Point, Quality, ReportData
from validation.report.svg import Axis

View = dict[str, Any]
MEASURES = ("auc", "gauc", "logloss", "ne", "pcoc", "ece")
AT_ONCE = 6
"""Reliability curves that are shown at once; up to twice as many where calibration is off."""
_DIGITS = {"logloss": 4, "ece": 4}
_BESIDE = {"gauc": "gauc_dropped", "ece": "ece_by_chance"}
"""A measure and the number without which it can't be read."""


def curves(data: ReportData) -> View | None:
    """Return a reliability curve a cell: those to look at, and the rest."""
    found = data.quality
    if found is None or not found.curves:
        return None
    shown = [_curve(curve, found.confidence) for curve in found.curves]
    # First what all scenarios come to, then the cells by how much of them is off beyond chance.
    ordered = sorted(shown, key=lambda one: (bool(one["curve"].scenario), -one["off"]))
    pooled = sum(not curve.scenario for curve in found.curves)
    off = sum(one["off"] > 0 and bool(one["curve"].scenario) for one in shown)
    first = max(pooled + off, AT_ONCE)
    return {
        "champion": any(curve.champion for curve in found.curves),
        "shown": ordered[: min(first, 2 * AT_ONCE)],
        "rest": ordered[min(first, 2 * AT_ONCE) :],
    }


def _curve(curve: Curve, confidence: float) -> View:
    ends = [one.predicted for one in curve.bins] + [one.high for one in curve.bins]
    ends += [one.predicted for one in curve.champion] + [one.observed for one in curve.champion]
    top = _ceiling(max(ends))
    off = missed(curve.bins, confidence)
    place = f"{curve.task} in {curve.scenario or 'all scenarios'}"
    said = f"{sum(off)} of {len(off)} parts off beyond chance"
    return {
        "plot": svg.reliability(curve.bins, off, curve.champion, top, f"{place}: {said}"),
        "top": words.share(top),
        "off": sum(off) / len(off),
        "says": f"{sum(off)} of {len(off)} off" if any(off) else "",
        "pcoc": curve.pcoc,
        "curve": curve,
        "place": place,
    }


def _ceiling(value: float) -> float:
    """Return the end of a scale of shares that holds ``value``.

    >>> _ceiling(0.034), _ceiling(0.41), _ceiling(0.93)
    (0.05, 0.5, 1.0)
    """
    ends = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
    return next((end for end in ends if value <= end), 1.0)


def trends(data: ReportData) -> list[View]:
    """Return a picture a task of the last nights, all on the scale they need."""
    found = data.quality
    if found is None:
        return []
    return [
        _trend(task, points, found)
        for task, points in found.trends.items()
        if sum(point.value.value is not None for point in points) > 1
    ]


def _trend(task: str, points: Sequence[Point], found: Quality) -> View:
    known = [point.value for point in points if point.value.value is not None]
    ends = [end for one in known for end in (one.value, one.low, one.high) if end is not None]
    low, high = min(ends), max(ends)
    pad = 0.06 * (high - low) or 0.01
    digits = max(3, math.ceil(-math.log10(max(high - low, 1e-6))) + 1)
    name = words.MEASURES[found.measure]
    crowned = [words.short_day(point.ds) for point in points if point.crowned]
    label = f"{name} of {task} over {len(points)} nights, the last {known[-1].value:.{digits}f}"
    if crowned:
        label += f"; the champion changed on {words.listed(crowned)}"
    return {
        "task": task,
        "plot": svg.trend(Axis(low=low - pad, high=high + pad), points, label),
        "high": words.number(high, digits),
        "low": words.number(low, digits),
        "points": points,
        "digits": digits,
        "first": points[0].ds,
        "last": points[-1].ds,
    }


def slices(data: ReportData) -> View | None:
    """Return a row for each slice and task that the spec declares, and their scale."""
    found = data.quality
    if found is None:
        return None
    rows = [one for one in found.numbers if one.slice and one.task]
    if not rows:
        return None
    reaches = [
        max(abs(change.low), abs(change.high))
        for one in rows
        if (change := one.changes.get(found.measure, UNKNOWN)).low is not None
        and change.high is not None
    ]
    reach = 1.08 * max([*reaches, 1.6 * found.tolerance, 1e-4])
    axis = Axis(low=-reach, high=reach)
    digits = words.difference_digits(found.tolerance)
    return {
        "scale": views.scale_of_differences(axis, found),
        "rows": [_slice(one, found, axis, digits) for one in rows],
    }


def _slice(one: Numbers, found: Quality, axis: Axis, digits: int) -> View:
    own, change = one.models.get("challenger", {}), one.changes.get(found.measure, UNKNOWN)
    side = words.side(change, found.measure)
    label = f"{one.task} in {one.slice}: difference {words.number(change.value, digits, sign=True)}"
    return {
        "slice": one.slice,
        "task": one.task,
        "n": one.n,
        "positives": one.positives,
        "auc": own.get("auc", UNKNOWN),
        "pcoc": own.get("pcoc", UNKNOWN),
        "change": change,
        "side": side,
        "note": one.note,
        "interval": words.interval(change, digits, sign=True),
        "plot": svg.forest(axis, change, side, None, label) if change.value is not None else "",
    }


def calibration(data: ReportData) -> View | None:
    """Return what calibration is worth on labels that it never saw."""
    found = data.quality
    if found is None:
        return None
    before, after = "uncalibrated", "challenger"
    rows = [
        {
            "place": words.group(one),
            "before": one.models[before],
            "after": one.models[after],
        }
        for one in found.numbers
        if one.task and not one.slice and {before, after} <= one.models.keys()
    ]
    return {"rows": rows} if rows else None


def numbers(data: ReportData) -> list[View]:
    """Return every group with all of the challenger's measures and their change."""
    found = data.quality
    if found is None:
        return []
    return [
        {
            "place": words.group(one),
            "n": one.n if one.task else None,
            "positives": one.positives if one.task else None,
            "note": one.note,
            "measures": [_measure(one, name) for name in MEASURES],
        }
        for one in found.numbers
        if "challenger" in one.models
    ]


def _measure(one: Numbers, name: str) -> View:
    own: Mapping[str, Estimate] = one.models["challenger"]
    digits = _DIGITS.get(name, 3)
    beside = own.get(_BESIDE.get(name, ""), UNKNOWN).value
    notes = {
        "gauc": f"{words.share(beside)} left out",
        "ece": f"{words.number(beside, digits)} by chance",
    }
    return {
        "value": words.number(own.get(name, UNKNOWN).value, digits),
        "interval": words.interval(own.get(name, UNKNOWN), digits),
        "champion": words.number(one.models.get("champion", {}).get(name, UNKNOWN).value, digits),
        "change": words.number(one.changes.get(name, UNKNOWN).value, digits + 1, sign=True),
        "change_interval": words.interval(one.changes.get(name, UNKNOWN), digits + 1, sign=True),
        "beside": notes.get(name, "") if beside is not None else "",
    }
