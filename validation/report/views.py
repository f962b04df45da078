"""From the night's values to what each section shows: pictures, words, digits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from markupsafe import Markup

from validation.report import svg, words
from validation.report.data import (
    Cell,
    Data,
    Day,
    Masks,
    Quality,
    ReportData,
    Scores,
    Step,
)
from validation.report.svg import Axis

View = dict[str, Any]


def verdict(data: ReportData) -> View:
    """Return the top of the page: outcome, sentence, and a grid of all cells' verdicts."""
    glyph, name = words.OUTCOMES[data.decision.outcome]
    judged = data.quality.cells if data.quality else ()
    cells = [cell for cell in judged if cell.scenario and cell.task]
    by_cell = {(cell.scenario, cell.task): cell for cell in cells}
    return {
        "glyph": glyph,
        "name": name,
        "headline": words.headline(data.decision),
        "reason": words.reasons(data.decision)[0],
        "more": words.reasons(data.decision)[1],
        "tally": words.tally([cell for cell in cells if cell.exists]),
        "glance": _glance(data),
        "grid": [
            (scenario, [by_cell.get((scenario, task)) for task in data.tasks])
            for scenario in data.scenarios
        ]
        if any(cell.exists for cell in cells)
        else [],
    }


def _glance(data: ReportData) -> list[tuple[str, str, str, str]]:
    """Return name, section, sentence and colour of what else a reader wants to know at once."""
    said = []
    if data.model:
        said.append(("Model", "data", data.model, ""))
    if data.quality and data.quality.cells:
        stage = words.stage(data.quality, data.tasks)
        said.append(("Judged", "quality", stage, ""))
    if data.drift is not None:
        findings = data.drift.findings
        stop = any(severity == "stop" for severity, _ in findings)
        colour = "worse" if stop else "unsure" if findings else ""
        said.append(("Drift", "drift", words.drift_summary(findings), colour))
    last = data.data.days[-1] if data.data.days else None
    if last is not None and last.rows is not None:
        warned = bool(data.data.findings)
        said.append(
            (
                "Data",
                "data",
                words.data_summary(last, data.data.findings),
                "unsure" if warned else "",
            )
        )
    if data.steps:
        said.append(("Cost", "cost", words.duration(sum(step.seconds for step in data.steps)), ""))
    return said


def quality(data: ReportData) -> View | None:
    """Return the forest of cells, one group a task; None when nothing was evaluated."""
    found = data.quality
    if found is None or not found.cells:
        return None
    compared = any(
        cell.difference.value is not None or cell.champion != Scores() for cell in found.cells
    )
    axis = difference_axis(found) if compared else auc_axis(found)
    digits = words.difference_digits(found.tolerance)
    return {
        "compared": compared,
        "measure": words.MEASURES[found.measure],
        "better": "left" if found.measure == "logloss" else "right",
        "tolerance": words.number(found.tolerance, _decimals(found.tolerance)),
        "confidence": f"{100 * found.confidence:g}%",
        "digits": digits,
        "scale": scale_of_differences(axis, found) if compared else _scale_of_areas(axis),
        "settled": bool(found.settled),
        "baseline": any(cell.baseline.auc.value is not None for cell in found.cells),
        "groups": [_group(data, found, task, axis, compared, digits) for task in data.tasks],
        "overall": [
            _row(cell, replace(axis, band=None), found, compared, digits)
            for cell in found.cells
            if not cell.scenario and not cell.task
        ],
    }


def _group(
    data: ReportData, found: Quality, task: str, axis: Axis, compared: bool, digits: int
) -> View:
    cells = {cell.scenario: cell for cell in found.cells if cell.task == task}
    judged = found.judged.get(task)
    return {
        "task": task,
        "judged": judged,
        "late": judged is not None and judged != data.ds,
        "rows": [
            _row(cell, axis, found, compared, digits)
            for scenario in (*([""] if "" in cells else []), *data.scenarios)
            for cell in [cells.get(scenario, Cell(scenario=scenario, task=task))]
        ],
    }


def _row(cell: Cell, axis: Axis, found: Quality, compared: bool, digits: int) -> View:
    if compared:
        estimate, beside = cell.difference, _beside(cell, found)
        said = f"difference {words.number(estimate.value, digits, sign=True)}"
        ends = words.interval(estimate, digits, sign=True)
    else:
        estimate, beside = cell.challenger.auc, cell.baseline.auc.value
        said, ends = f"AUC {words.number(estimate.value, 3)}", words.interval(estimate, 3)
    verdict = cell.verdict if compared or cell.verdict == "insufficient" else "none"
    label = f"{words.place(cell)}: {said}" + (f", interval {ends}" if ends else "")
    after = cell.next_day
    later = None if after is None else after.difference if compared else after.auc
    return {
        "cell": cell,
        "verdict": verdict,
        "measured": cell.challenger != Scores(),
        "plot": svg.forest(axis, estimate, verdict, beside, label, later.value if later else None),
        "later": {
            "value": words.number(later.value, digits if compared else 3, sign=compared),
            "interval": words.interval(later, digits if compared else 3, sign=compared),
            "verdict": after.verdict,
        }
        if after is not None and later is not None and later.value is not None
        else None,
        "interval": ends,
    }


def _beside(cell: Cell, found: Quality) -> float | None:
    """Return the baseline's distance from the champion in the gate's measure."""
    ours, theirs = getattr(cell.baseline, found.measure), getattr(cell.champion, found.measure)
    return None if ours.value is None or theirs.value is None else ours.value - theirs.value


def difference_axis(found: Quality) -> Axis:
    """Return a scale around 0 wide enough for most intervals; the widest end in arrows."""
    reaches = sorted(
        max(abs(cell.difference.low), abs(cell.difference.high))
        for cell in found.cells
        if cell.verdict not in ("insufficient", "none")
        and cell.difference.low is not None
        and cell.difference.high is not None
    )
    usual = min(reaches[-1], 3 * reaches[len(reaches) // 2]) if reaches else 0.0
    reach = 1.08 * max(usual, 1.6 * found.tolerance) or 0.01
    band = (0.0, found.tolerance) if found.measure == "logloss" else (-found.tolerance, 0.0)
    return Axis(low=-reach, high=reach, band=band if found.tolerance else None)


def auc_axis(found: Quality) -> Axis:
    """Return a scale for AUCs from chance up: what the first night is drawn on."""
    ends = [
        end
        for cell in found.cells
        for end in (cell.challenger.auc.low, cell.challenger.auc.high, cell.baseline.auc.value)
        if end is not None and cell.verdict != "insufficient"
    ]
    low = min([0.5, *(math.floor(end * 10) / 10 for end in ends)])
    high = max([0.6, *(math.ceil(end * 10) / 10 for end in ends)])
    return Axis(low=low, high=high, reference=0.5)


def _scale_of_areas(axis: Axis) -> Markup:
    values = [axis.low, (axis.low + axis.high) / 2, axis.high]
    return svg.scale(axis, [(v, words.number(v, 2)) for v in values], ("chance", "better →"))


def scale_of_differences(axis: Axis, found: Quality) -> Markup:
    """Return the numbers of a scale of differences in the gate's measure, and its better side."""
    tick = svg.nice(0.85 * axis.high)
    digits = _decimals(tick)
    ticks = [(v, words.number(v, digits, sign=True)) for v in (-tick, 0.0, tick)]
    if found.measure == "logloss":
        return svg.scale(axis, ticks, ("← better", "worse →"))
    return svg.scale(axis, ticks, ("← worse", "better →"))


def _decimals(value: float) -> int:
    """Return how many decimals ``value`` is written with, up to six.

    >>> _decimals(0.002), _decimals(0.0125), _decimals(0)
    (3, 4, 0)
    """
    return len(f"{value:.6f}".rstrip("0").partition(".")[2])


def masks(data: ReportData, names: Mapping[str, str]) -> View | None:
    """Return the pictures of all cells' masks; None when the night has no masks."""
    found = data.masks
    if found is None or not found.cells:
        return None
    strengths = [
        abs(strength)
        for mask in found.cells
        for flow in mask.flows
        for strength in (flow.strength, flow.champion_strength or 0.0)
    ]
    strongest = max(strengths, default=1.0) or 1.0
    by_cell = {
        (mask.scenario, mask.task): {
            "mask": mask,
            "says": words.mask_words(mask),
            "flips": sum(flow.flip for flow in mask.flows),
            "plot": svg.mask(mask, strongest, _mask_label(mask.scenario, mask.task, found)),
        }
        for mask in found.cells
    }
    flows = [flow for mask in found.cells for flow in mask.flows]
    return {
        "both": any(flow.champion_keep_rate is not None for flow in flows),
        "summary": words.mask_summary(found, names),
        "trivial": words.selects_nothing(found),
        "grid": [
            (scenario, [by_cell.get((scenario, task)) for task in data.tasks])
            for scenario in data.scenarios
        ],
    }


def _mask_label(scenario: str, task: str, found: Masks) -> str:
    mask = next(m for m in found.cells if (m.scenario, m.task) == (scenario, task))
    kept = [flow.name for flow in mask.flows if flow.keep_rate >= 0.5]
    names = "; ".join(words.FLOW_WORDS.get(name, name) for name in kept) or "nothing"
    return f"{words.place(mask)}: keeps {names}. {words.mask_words(mask)}."


def days(data: ReportData) -> View:
    """Return the strips of the data section: one column a day, one row a quantity."""
    found = data.data.days
    return {
        "days": found,
        "strips": _strips(data, data.data) if found else [],
        "lowest": min(
            (look.validation_loss for look in data.looks if look.validation_loss is not None),
            default=None,
        ),
        "plan": _plan(found),
    }


def _strips(data: ReportData, found: Data) -> list[View]:
    listed = found.days
    scenarios = [
        _strip(name, svg.bars, [day.scenarios.get(name) for day in listed], listed, words.count)
        for name in data.scenarios
        if any(name in day.scenarios for day in listed)
    ]
    rates = [
        _strip(task, svg.line, [day.labels.get(task) for day in listed], listed, words.share)
        for task in data.tasks
        if any(day.labels.get(task) is not None for day in listed)
    ]
    rules = sorted({rule for day in listed for rule in day.quarantined})
    rejected = {
        rule: [day.quarantined.get(rule, 0) if day.rows is not None else None for day in listed]
        for rule in rules
    }
    groups: list[View] = [
        {"name": "Use", "rows": [_use_strip(listed)]},
        {
            "name": "Samples",
            "rows": [
                _strip("all", svg.bars, [day.rows for day in listed], listed, words.count),
                *scenarios,
            ],
        },
        {"name": "Positive rate", "rows": rates},
        {
            "name": "Rejected",
            "rows": [
                _strip(rule, svg.bars, values, listed, words.count)
                for rule, values in sorted(
                    rejected.items(), key=lambda one: -sum(n or 0 for n in one[1])
                )
            ],
        },
    ]
    return [group for group in groups if group["rows"]]


def _use_strip(listed: Sequence[Day]) -> View:
    label = "; ".join(_plan(listed)) or "no day was used for training"
    plot = svg.uses([day.uses for day in listed], label)
    return {"name": "used tonight", "plot": plot, "value": "", "change": "", "where": ""}


def _strip(name: str, draw: Any, values: Sequence[Any], listed: Sequence[Day], write: Any) -> View:
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    place, value = known[-1] if known else (len(values) - 1, None)
    usual = median([value for _, value in known[:-1]]) if len(known) > 1 else None
    where = "" if place == len(values) - 1 else f"on {words.short_day(listed[place].ds)}"
    return {
        "name": name,
        "plot": draw(values, f"{name} by day, the last is {write(value)}"),
        "value": write(value),
        "change": words.change(value, usual),
        "where": where,
    }


def _plan(found: Sequence[Day]) -> list[str]:
    """Return which days were trained, validated and judged on, one sentence each."""
    trained = [day.ds for day in found if "train" in day.uses]
    validated = [day.ds for day in found if "validate" in day.uses]
    judged = [
        words.short_day(day.ds) + (f" ({words.listed(list(day.judged))})" if day.judged else "")
        for day in found
        if "judge" in day.uses
    ]
    said = []
    if trained:
        n = len(trained)
        until = f" to {words.short_day(trained[-1])}" if n > 1 else ""
        said.append(
            f"Trained on {n} day{'s' if n > 1 else ''}, {words.short_day(trained[0])}{until}."
        )
    if validated:
        said.append(f"Epoch chosen on {words.listed([words.short_day(ds) for ds in validated])}.")
    if judged:
        said.append(f"Judged on {words.listed(judged)}; nothing of these days was trained on.")
    return said


def cost(steps: Sequence[Step]) -> View | None:
    """Return the night's steps on a common time scale; None when none is known."""
    if not steps:
        return None
    work = sum(step.seconds for step in steps)
    starts = [step.started.timestamp() for step in steps if step.started is not None]
    together = len(starts) == len(steps)
    if together:
        first = min(starts)
        length = max(s + step.seconds for s, step in zip(starts, steps, strict=True)) - first
        together = length <= 3 * work
    if not together:
        starts = [sum(step.seconds for step in steps[:place]) for place in range(len(steps))]
        first, length = 0.0, work
    length = length or 1.0
    rows = [
        {
            "step": step,
            "plot": svg.span(
                100 * (start - first) / length,
                100 * step.seconds / length,
                f"{step.name}: {words.duration(step.seconds)}",
            ),
        }
        for start, step in zip(starts, steps, strict=True)
    ]
    return {"rows": rows, "together": together, "length": length, "work": work}
