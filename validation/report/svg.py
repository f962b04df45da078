"""The report's pictures as inline SVG.

Most are drawn in percent of their own width, without a view box: they stretch with the page while
lines and points keep their size, on a phone as on paper. Colours come from the page's CSS classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from features.spec import FLOWS
from validation.intervals import Estimate
from validation.reliability import Bin
from validation.report.data import CellMask, CellVerdict, Flow, Point, Use

TILE = 21.0
"""Side of one flow's tile in a mask picture, in view-box units."""
_EDGE = 3.0
"""Percent of a trend's width beside its first and last night."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A horizontal scale from ``low`` to ``high`` with a reference and a tolerated band."""

    low: float
    high: float
    reference: float = 0.0
    band: tuple[float, float] | None = None

    def at(self, value: float) -> float:
        """Return where ``value`` lies, in percent of the width; beyond an end: that end."""
        share = (value - self.low) / (self.high - self.low)
        return 100 * min(1.0, max(0.0, share))

    def holds(self, value: float) -> bool:
        """Return whether ``value`` lies on the scale."""
        return self.low <= value <= self.high


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """Return one element with escaped attributes; ``class_`` and ``aria_label`` as in Python.

    >>> str(element("line", x1="3%", class_="tick"))
    '<line x1="3%" class="tick"></line>'
    """
    said = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{said}>{''.join(escape(child) for child in children)}</{tag}>")  # noqa: S704


def picture(label: str, *shapes: str, class_: str, **attributes: str | float) -> Markup:
    """Return an SVG picture that a screen reader reads as ``label``."""
    return element(
        "svg",
        *shapes,
        class_=class_,
        role="img",
        aria_label=label,
        **attributes,
    )


def forest(
    axis: Axis,
    estimate: Estimate,
    verdict: CellVerdict,
    beside: float | None,
    label: str,
    later: float | None = None,
) -> Markup:
    """Draw an estimate with its interval on ``axis``.

    The baseline is a hollow diamond, what the next day showed a hollow square.
    """
    shapes = [*_ground(axis)]
    if beside is not None and axis.holds(beside):
        shapes.append(_mark(axis.at(beside), "M0-5 5 0 0 5-5 0Z", "beside"))
    if later is not None and axis.holds(later):
        shapes.append(_mark(axis.at(later), "M-4.5-4.5h9v9h-9Z", "later"))
    if estimate.value is not None:
        shapes += _whisker(axis, estimate, verdict)
        if axis.holds(estimate.value):
            shapes.append(_dot(axis.at(estimate.value), 50, 4, f"dot {verdict}"))
    return picture(label, *shapes, class_="forest")


def _ground(axis: Axis) -> list[Markup]:
    """Draw what all rows of a forest share: the tolerated band and the reference line."""
    shapes = []
    if axis.band:
        left, right = (axis.at(end) for end in axis.band)
        band = element("rect", x=_pc(left), width=_pc(right - left), height="100%", class_="band")
        shapes.append(band)
    at = axis.at(axis.reference)
    return [*shapes, _line((at, 0), (at, 100), "reference")]


def _whisker(axis: Axis, estimate: Estimate, verdict: CellVerdict) -> list[Markup]:
    """Draw an interval; an end beyond the scale becomes an arrow."""
    if estimate.low is None or estimate.high is None:
        return []
    left, right = axis.at(estimate.low), axis.at(estimate.high)
    shapes = [_line((left, 50), (right, 50), f"whisker {verdict}")]
    if estimate.low < axis.low:
        shapes.append(_mark(0, "M0 0 7-4 7 4Z", f"arrow {verdict}"))
    if estimate.high > axis.high:
        shapes.append(_mark(100, "M0 0-7-4-7 4Z", f"arrow {verdict}"))
    return shapes


def scale(axis: Axis, ticks: Sequence[tuple[float, str]], ends: tuple[str, str]) -> Markup:
    """Draw the numbers of ``axis`` and, above them, what its two ends mean."""
    shapes = [
        element("text", ends[0], x="0", y="11", class_="end"),
        element("text", ends[1], x="100%", y="11", text_anchor="end", class_="end"),
    ]
    for value, text in ticks:
        at = axis.at(value)
        anchor = "start" if at < 8 else "end" if at > 92 else "middle"
        shapes.append(element("text", text, x=_pc(at), y="25", text_anchor=anchor, class_="tick"))
        shapes.append(element("line", x1=_pc(at), x2=_pc(at), y1="28", y2="31", class_="reference"))
    label = f"scale from {ticks[0][1]} to {ticks[-1][1]}; {ends[0]}, {ends[1]}"
    return picture(label, *shapes, class_="forest scale")


def nice(value: float) -> float:
    """Return the largest 1, 2 or 5 × a power of ten that is not above ``value``.

    >>> nice(0.034), nice(0.008)
    (0.02, 0.005)
    """
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (5, 2, 1) if step * power <= value * 1.000001)


def bars(values: Sequence[float | None], label: str) -> Markup:
    """Draw one bar a day from zero up; a day without a value is a dot on the ground."""
    top = max((value for value in values if value is not None), default=0) or 1
    step = 100 / max(1, len(values))
    shapes = []
    for position, value in enumerate(values):
        latest = " now" if position == len(values) - 1 else ""
        if value is None:
            shapes.append(_gap(position, step))
            continue
        height = 100 * value / top
        shapes.append(
            element(
                "rect",
                x=_pc((position + 0.12) * step),
                width=_pc(0.76 * step),
                y=_pc(100 - height),
                height=_pc(height),
                class_=f"bar{latest}",
            )
        )
    return picture(label, *shapes, class_="strip")


def line(values: Sequence[float | None], label: str) -> Markup:
    """Draw a value a day around the median; the full height is ±20 % of it, or more."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return picture(label, class_="strip")
    middle = known[len(known) // 2]
    half = max([abs(value - middle) for value in known] + [0.2 * abs(middle), 1e-12])
    step = 100 / len(values)
    points = [
        None if value is None else ((place + 0.5) * step, 50 - 40 * (value - middle) / half)
        for place, value in enumerate(values)
    ]
    shapes = [_line((0, 50), (100, 50), "reference")]
    for before, after in pairwise(points):
        if before and after:
            shapes.append(_line(before, after, "trend"))
    shapes.append(_dot(*[point for point in points if point][-1], 2.6, "last"))
    shapes += [_gap(place, step) for place, point in enumerate(points) if point is None]
    return picture(label, *shapes, class_="strip")


def trend(axis: Axis, points: Sequence[Point], label: str) -> Markup:
    """Draw a value a night with its interval, the champion's changes as marks on the ground.

    ``axis`` is the vertical scale; hollow points are provisional. Drawn in a box that is stretched,
    with strokes that are not: a point is a line of no length with round ends.
    """
    step = (100 - 2 * _EDGE) / max(1, len(points) - 1)
    places = [(round(_EDGE + place * step, 1), point) for place, point in enumerate(points)]
    known = [
        (x, 100 - axis.at(point.value.value), point)
        for x, point in places
        if point.value.value is not None
    ]
    errors = [
        f"M{_short(x)} {_short(100 - axis.at(point.value.low))}"
        f"V{_short(100 - axis.at(point.value.high))}"
        for x, _, point in known
        if point.value.low is not None and point.value.high is not None
    ]
    shapes = [
        _path("ground", ["M0 100H100"]),
        _path("crowned", [f"M{_short(x)} 100h0" for x, point in places if point.crowned]),
        _path("error", errors),
        _path("trend", [_polyline([(x, y) for x, y, _ in known])]),
        _path("night", [f"M{_short(x)} {_short(y)}h0" for x, y, _ in known]),
        _path(
            "hollow", [f"M{_short(x)} {_short(y)}h0" for x, y, point in known if not point.final]
        ),
    ]
    box = {"viewBox": "0 0 100 100", "preserveAspectRatio": "none"}
    return picture(label, *shapes, class_="trends", **box)


def reliability(
    bins: Sequence[Bin], off: Sequence[bool], champion: Sequence[Bin], top: float, label: str
) -> Markup:
    """Draw what was predicted (to the right) against what came true (up), both from 0 to ``top``.

    The diagonal is right; the challenger's points have intervals, the champion's line has none.
    ``off`` says which points are off beyond chance.
    """

    def at(predicted: float, observed: float) -> tuple[float, float]:
        return 100 * min(predicted / top, 1.0), 100 - 100 * min(observed / top, 1.0)

    wrong = [one for one, is_off in zip(bins, off, strict=True) if is_off]
    right = [one for one, is_off in zip(bins, off, strict=True) if not is_off]
    shapes = [
        element("path", d="M0 0h100v100h-100z", class_="plane"),
        _path("reference", ["M0 100 100 0"]),
        _path("before", [_polyline([at(one.predicted, one.observed) for one in champion])]),
        _path("trend", [_polyline([at(one.predicted, one.observed) for one in bins])]),
    ]
    for class_, rows in (("", right), (" missed", wrong)):
        ends = [(at(one.predicted, one.low), at(0, one.high)) for one in rows]
        errors = [f"M{_short(x)} {_short(low)}V{_short(high)}" for (x, low), (_, high) in ends]
        dots = [at(one.predicted, one.observed) for one in rows]
        shapes.append(_path(f"error{class_}", errors))
        shapes.append(_path(f"bin{class_}", [f"M{_short(x)} {_short(y)}h0" for x, y in dots]))
    return picture(label, *shapes, class_="reliability", viewBox="0 0 100 100")


def _path(class_: str, parts: Sequence[str]) -> Markup:
    """Return one path of many parts; nothing for none."""
    drawn = "".join(parts)
    return element("path", d=drawn, class_=class_) if drawn else Markup("")


def _polyline(places: Sequence[tuple[float, float]]) -> str:
    return "M" + " ".join(f"{_short(x)} {_short(y)}" for x, y in places) if len(places) > 1 else ""


def uses(days: Sequence[Sequence[Use]], label: str) -> Markup:
    """Draw one block a day that tells what the day was used for."""
    step = 100 / max(1, len(days))
    shapes = [
        element(
            "rect",
            x=_pc((position + 0.06) * step),
            width=_pc(0.88 * step),
            height="100%",
            class_=f"use {' '.join(day) or 'unused'}",
        )
        for position, day in enumerate(days)
    ]
    return picture(label, *shapes, class_="strip uses")


def span(start: float, width: float, label: str) -> Markup:
    """Draw a step of the night from ``start`` on, both in percent of the night."""
    bar = element("rect", x=_pc(start), width=_pc(width), y="22%", height="56%", class_="span")
    ground = element("line", x1="0", x2="100%", y1="50%", y2="50%", class_="ground")
    return picture(label, ground, bar, class_="strip timeline")


def mask(cell: CellMask, strongest: float, label: str) -> Markup:
    """Draw a cell's four flows, the champion's (if any) to the left of the challenger's.

    Rows are the scenario's part (shared, specific), columns the task's. A square's area is the
    share of samples that keep the flow; its shade the flow's strength against ``strongest``.
    """
    flows = {flow.name: flow for flow in cell.flows}
    both = any(flow.champion_keep_rate is not None for flow in cell.flows)
    width = 2 * TILE + 4
    shapes = []
    for name in FLOWS:
        if name not in flows:
            continue
        left, top = _corner(name)
        if both:
            shapes.append(_tile(flows[name], left, top, strongest, champion=True))
            left += width + 16
        shapes.append(_tile(flows[name], left, top, strongest, champion=False))
    total = 2 * width + 16 if both else width
    if both:
        middle = width + 8
        arrow = f"M{_short(middle - 4)} {_short(width / 2)}h7m-3-3 3 3-3 3"
        shapes.append(element("path", d=arrow, class_="becomes"))
    box = f"0 0 {_short(total)} {_short(width)}"
    return picture(label, *shapes, class_="mask both" if both else "mask", viewBox=box)


def _corner(flow: str) -> tuple[float, float]:
    scenario, _, task = flow.partition("_")
    return 1 + (task == "specific") * (TILE + 2), 1 + (scenario == "specific") * (TILE + 2)


def _tile(flow: Flow, left: float, top: float, strongest: float, *, champion: bool) -> Markup:
    keep = (flow.champion_keep_rate if champion else flow.keep_rate) or 0.0
    strength = (flow.champion_strength if champion else flow.strength) or 0.0
    side = (TILE - 3) * min(1.0, max(0.0, keep)) ** 0.5
    shade = 0.25 + 0.75 * min(1.0, abs(strength) / strongest) if strongest > 0 else 1.0
    ring = " flip" if flow.flip and not champion else ""
    inset = (TILE - side) / 2
    square = element(
        "rect",
        x=_short(left + inset), y=_short(top + inset), width=_short(side), height=_short(side),
        class_="kept", fill_opacity=_short(shade),
    )  # fmt: skip
    cross = element(
        "path",
        d=f"M{_short(left + TILE / 2 - 2.5)} {_short(top + TILE / 2 - 2.5)}l5 5m0-5-5 5",
        class_="pruned",
    )
    frame = element(
        "rect", x=_short(left), y=_short(top), width=TILE, height=TILE, class_=f"tile{ring}"
    )
    return element("g", frame, square if keep >= 0.005 else cross)


def _line(start: tuple[float, float], end: tuple[float, float], class_: str) -> Markup:
    """Draw a line between two points given in percent."""
    (x1, y1), (x2, y2) = start, end
    return element("line", x1=_pc(x1), x2=_pc(x2), y1=_pc(y1), y2=_pc(y2), class_=class_)


def _dot(x: float, y: float, radius: float, class_: str) -> Markup:
    return element("circle", cx=_pc(x), cy=_pc(y), r=radius, class_=class_)


def _gap(position: int, step: float) -> Markup:
    """Mark a day without a value on the ground of a strip."""
    return _dot((position + 0.5) * step, 92, 1.2, "gap")


def _mark(at: float, path: str, class_: str) -> Markup:
    """Place a small shape, drawn around its own origin, at a percentage of the width."""
    shape = element("path", d=path, class_=class_)
    return element("svg", shape, x=_pc(at), y="50%", overflow="visible")


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else _short(value)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _pc(value: float) -> str:
    return f"{_short(value)}%"
