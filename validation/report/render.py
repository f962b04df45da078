"""The night's report as one HTML file, the index of all nights, and a short chat message."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from validation.report import evidence, moved, views, words
from validation.report.data import Cell, Diff, Night, ReportData

IN_A_MESSAGE = 3
"""Findings of drift that a chat message tells."""
_NIGHT = {
    "new": "the challenger",
    "old": "the champion",
    "new_short": "challenger",
    "old_short": "champion",
}
"""What the two compared models are called on a night's page."""


def render(data: ReportData) -> str:
    """Return the report as one self-contained page: no script, no request, light and dark."""
    return _page("report.html.j2", data, _NIGHT, days=views.days(data))


def render_diff(diff: Diff) -> str:
    """Return the page that compares two versions."""
    new, old = f"version {diff.new.version}", f"version {diff.old.version}"
    names = {"new": new, "old": old, "new_short": new, "old_short": old}
    headline = words.diff_headline(diff)
    return _page("diff.html.j2", diff.report, names, diff=diff, headline=headline)


def render_diff_markdown(diff: Diff) -> str:
    """Return the comparison as a chat message: verdicts by cell, then what else differs."""
    data = diff.report
    title = f"{data.product}: version {diff.old.version} → version {diff.new.version}"
    lines = [f"**{title}.** {words.diff_headline(diff)}"]
    lines += [f"- {_cell_words(data, cell)}" for cell in words.ranked(data)]
    differing = [row for row in (*diff.made, *diff.spec) if row.old != row.new]
    lines += [f"- {row.name}: {row.old or '–'} → {row.new or '–'}" for row in differing]
    if data.link:
        lines.append(f"Page: {data.link}")
    return "\n".join(lines) + "\n"


def _page(template: str, data: ReportData, names: Mapping[str, str], **more: Any) -> str:
    return (
        _environment()
        .get_template(template)
        .render(
            data=data,
            names=names,
            verdict=views.verdict(data),
            quality=views.quality(data),
            slices=evidence.slices(data),
            trends=evidence.trends(data),
            curves=evidence.curves(data),
            calibration=evidence.calibration(data),
            numbers=evidence.numbers(data),
            masks=views.masks(data, names),
            drift=moved.drift(data),
            looked_at=moved.rows(data.drift.rows) if data.drift else (),
            cost=views.cost(data.steps),
            **more,
        )
    )


def render_index(product: str, nights: Sequence[Night], newest: ReportData | None = None) -> str:
    """Return the page that lists all nights of a product, newest first, and how quality went.

    Args:
        product: its name.
        nights: those that have a page.
        newest: the newest one's values, for the trends.
    """
    ordered = sorted(nights, key=lambda night: night.ds, reverse=True)
    return (
        _environment()
        .get_template("index.html.j2")
        .render(
            product=product,
            nights=ordered,
            trends=evidence.trends(newest) if newest else [],
            quality=views.quality(newest) if newest else None,
        )
    )


def render_markdown(data: ReportData) -> str:
    """Return the report as a chat message: verdict, best and worst cell, cost, link."""
    glyph, name = words.OUTCOMES[data.decision.outcome]
    verdict = f"{glyph} {data.product} {data.ds}: {name.lower()}."
    lines = [f"**{verdict}** {words.headline(data.decision)}"]
    lines += [words.sentence(reason) for reason in words.reasons(data.decision)[:1] if reason]
    ranked = words.ranked(data)
    if ranked:
        lines.append(f"- best: {_cell_words(data, ranked[0])}")
    if len(ranked) > 1:
        lines.append(f"- worst: {_cell_words(data, ranked[-1])}")
    said = (*_drift_words(data), _mask_words(data), _data_words(data))
    lines += [f"- {text}" for text in said if text]
    if data.link:
        lines.append(f"Report: {data.link}")
    return "\n".join(lines) + "\n"


def _cell_words(data: ReportData, cell: Cell) -> str:
    assert data.quality is not None  # noqa: S101 (ranked cells exist only with it)
    digits = words.difference_digits(data.quality.tolerance)
    ends = words.interval(cell.difference, digits, sign=True)
    said = f"{words.place(cell)}, {words.MEASURES[data.quality.measure]} "
    said += words.number(cell.difference.value, digits, sign=True)
    return f"{said}{f' ({ends})' if ends else ''}: {words.VERDICTS[cell.verdict][1]}"


def _drift_words(data: ReportData) -> list[str]:
    """Return what moved most, and how much else did."""
    findings = data.drift.findings if data.drift else ()
    shown = [f"{'stops' if severity == 'stop' else 'moved'}: {text}" for severity, text in findings]
    more = len(shown) - IN_A_MESSAGE
    return shown[:IN_A_MESSAGE] + ([f"and {more} more"] if more > 0 else [])


def _mask_words(data: ReportData) -> str:
    if data.masks is None:
        return ""
    flips = sum(flow.flip for mask in data.masks.cells for flow in mask.flows)
    return f"masks: {flips} flip{'s' if flips != 1 else ''}" if flips else ""


def _data_words(data: ReportData) -> str:
    said = []
    if data.data.days and data.data.days[-1].rows is not None:
        last = data.data.days[-1]
        said.append(f"{words.count(last.rows)} samples")
        said.append(f"{words.count(sum(last.quarantined.values()))} rejected")
    if data.data.findings:
        n = len(data.data.findings)
        said.append(f"{n} audit finding{'s' if n > 1 else ''}")
    if data.steps:
        said.append(words.duration(sum(step.seconds for step in data.steps)))
    return ", ".join(said)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("validation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["words"] = words
    return environment
