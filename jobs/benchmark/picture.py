"""Quality against cost as one SVG: a panel a data set, the models as points, the Pareto front."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from jobs.benchmark.cost import Costs
from jobs.benchmark.judge import Judgement
from jobs.benchmark.protocol import BAR, BASELINE, OURS
from validation.report.svg import element, picture

WIDTH, HEIGHT = 880.0, 400.0
"""Of a panel, in view-box units."""
LEFT, RIGHT, TOP, BOTTOM = 76.0, 24.0, 46.0, 52.0
LETTER, LINE = 7.1, 14.0
"""Width of a letter and height of a line of a label."""
TICKS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
STYLE = """
text{font:12px system-ui,sans-serif;fill:#333;paint-order:stroke;stroke:#fff;stroke-width:3px}
.title{font-size:15px;font-weight:600;fill:#111}
.axis{stroke:#999}.grid{stroke:#eee}
.bar{stroke:#b45309;stroke-dasharray:6 4}.barname{fill:#b45309}
.front{stroke:#2563eb;stroke-opacity:.35;stroke-width:2;fill:none}
.spread{stroke:#94a3b8}
.dot{fill:#64748b}.dot.front-dot{fill:#2563eb}.dot.ours{fill:#dc2626}
.ours-name{fill:#dc2626;font-weight:600}
.link{stroke:#cbd5e1}
.legend{fill:#64748b}
"""


@dataclass(frozen=True)
class Point:
    """A model of a panel."""

    name: str
    step: float
    """Times a shared bottom's."""
    loss: float
    """Pooled log loss; less is better."""
    spread: float


@dataclass(frozen=True)
class Frame:
    """Where values lie on a panel."""

    steps: tuple[float, float]
    losses: tuple[float, float]

    def x(self, step: float) -> float:
        """Return the place of a step, on a logarithmic scale."""
        low, high = (math.log(end) for end in self.steps)
        return LEFT + (math.log(step) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, loss: float) -> float:
        """Return the place of a loss: the better, the higher."""
        low, high = self.losses
        return TOP + (loss - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


@dataclass(frozen=True)
class Box:
    """A rectangle that nothing else may cover."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Return whether both cover a place."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def draw(judged: Sequence[tuple[Judgement, Costs]]) -> str:
    """Return the picture of all data sets."""
    panels = [_panel(*one) for one in judged]
    whole = HEIGHT * len(panels)
    placed = (
        element("g", *shapes, transform=f"translate(0 {HEIGHT * place:g})")
        for place, shapes in enumerate(panels)
    )
    ground = element("rect", width=WIDTH, height=whole, fill="#fff")
    said = picture(
        "Pooled log loss of each model against its training step, a panel a data set",
        element("style", Markup(STYLE)),  # noqa: S704 (no input of anyone's)
        ground,
        *placed,
        class_="benchmark",
        viewBox=f"0 0 {WIDTH:g} {whole:g}",
        xmlns="http://www.w3.org/2000/svg",
    )
    return f"{said}\n"


def front(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats in both step and loss, the quickest first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (one.step, one.loss)):
        if not found or point.loss < found[-1].loss:
            found.append(point)
    return found


def points_of(judgement: Judgement, costs: Costs) -> list[Point]:
    """Return the models of a data set that are trained in steps."""
    base = costs[BASELINE].step if BASELINE in costs else None
    return [
        Point(name, step / base, one.pooled["logloss"], one.spread["logloss"])
        for name, one in judgement.verdicts.items()
        if base and name in costs and (step := costs[name].step) is not None
    ]


def _panel(judgement: Judgement, costs: Costs) -> list[Markup]:
    points = points_of(judgement, costs)
    bar = judgement.verdicts.get(BAR)
    level = bar.pooled["logloss"] if bar else None
    frame = _frame(points, level)
    best = front(points)
    shapes = [*_axes(frame, judgement.world.title)]
    if level is not None:
        shapes += _bar(frame, level)
    shapes.append(_line_of(frame, best))
    shapes += [_whisker(frame, point) for point in points if point.spread]
    shapes += [_dot(frame, point, front_=point in best) for point in points]
    return [*shapes, *_labels(frame, points)]


def _frame(points: Sequence[Point], level: float | None) -> Frame:
    steps = [point.step for point in points] or [1.0]
    ends = [point.loss + side * point.spread for point in points for side in (-1, 1)]
    ends += [level] if level is not None else []
    ends = ends or [0.0]
    room = max(max(ends) - min(ends), 1e-4) * 0.08
    return Frame((min(steps) / 1.15, max(steps) * 1.6), (min(ends) - room, max(ends) + room))


def _axes(frame: Frame, title: str) -> list[Markup]:
    floor = HEIGHT - BOTTOM
    legend = "vertical bars: spread over seeds · blue: what nothing beats in both"
    shapes = [
        element("text", title, x=LEFT, y=26, class_="title"),
        element("text", legend, x=WIDTH - RIGHT, y=26, text_anchor="end", class_="legend"),
    ]
    for loss in _round_values(*frame.losses):
        y = round(frame.y(loss), 1)
        shapes += [
            element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"),
            element("text", f"{loss:.4g}", x=LEFT - 8, y=y + 4, text_anchor="end"),
        ]
    for step in TICKS:
        if frame.steps[0] <= step <= frame.steps[1]:
            x = round(frame.x(step), 1)
            shapes += [
                element("line", x1=x, x2=x, y1=floor, y2=floor + 5, class_="axis"),
                element("text", f"{step:g}×", x=x, y=floor + 19, text_anchor="middle"),
            ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    shapes += [
        element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=floor, y2=floor, class_="axis"),
        element(
            "text",
            f"time of a training step, {BASELINE} = 1 (better to the left)",
            x=middle,
            y=floor + 40,
            text_anchor="middle",
        ),
        element(
            "text",
            "pooled log loss (better upwards)",
            transform=f"translate(16 {(TOP + floor) / 2:g}) rotate(-90)",
            text_anchor="middle",
        ),
    ]
    return shapes


def _round_values(low: float, high: float) -> list[float]:
    """Return about five round numbers from ``low`` to ``high``."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * each for each in (1, 2, 5, 10) if unit * each >= rough)
    first = math.ceil(low / step)
    return [round(number * step, 10) for number in range(first, math.floor(high / step) + 1)]


def _bar(frame: Frame, level: float) -> list[Markup]:
    y = round(frame.y(level), 1)
    return [
        element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="bar"),
        element("text", BAR, x=WIDTH - RIGHT, y=y - 5, text_anchor="end", class_="barname"),
    ]


def _line_of(frame: Frame, best: Sequence[Point]) -> Markup:
    """Draw the front: what is reached at most with so long a step."""
    path = ""
    for point in best:
        x, y = frame.x(point.step), frame.y(point.loss)
        path += f"H{x:.1f}V{y:.1f}" if path else f"M{x:.1f} {y:.1f}"
    return element("path", d=f"{path}H{WIDTH - RIGHT:g}" if path else "", class_="front")


def _whisker(frame: Frame, point: Point) -> Markup:
    x = round(frame.x(point.step), 1)
    ends = (frame.y(point.loss - point.spread), frame.y(point.loss + point.spread))
    return element("line", x1=x, x2=x, y1=round(ends[0], 1), y2=round(ends[1], 1), class_="spread")


def _dot(frame: Frame, point: Point, *, front_: bool) -> Markup:
    kind = " ours" if point.name == OURS else " front-dot" if front_ else ""
    return element(
        "circle",
        cx=round(frame.x(point.step), 1),
        cy=round(frame.y(point.loss), 1),
        r=5,
        class_=f"dot{kind}",
    )


def _labels(frame: Frame, points: Sequence[Point]) -> list[Markup]:
    """Write each name at the nearest place beside its point where nothing stands yet."""
    taken = [
        Box(x - 6, y - 6, x + 6, y + 6)
        for x, y in ((frame.x(one.step), frame.y(one.loss)) for one in points)
    ]
    shapes = []
    for point in sorted(points, key=lambda one: (one.name != OURS, one.loss)):
        x, y = frame.x(point.step), frame.y(point.loss)
        box, far = _free(x, y, LETTER * len(point.name), taken)
        taken.append(box)
        if far:
            middle = (box.top + box.bottom) / 2
            near = box.left if box.left > x else box.right if box.right < x else x
            shapes.append(
                element(
                    "line",
                    x1=round(x, 1),
                    y1=round(y, 1),
                    x2=round(near, 1),
                    y2=round(middle, 1),
                    class_="link",
                )
            )
        shapes.append(
            element(
                "text",
                point.name,
                x=round(box.left, 1),
                y=round(box.bottom - 3, 1),
                class_="ours-name" if point.name == OURS else None,
            )
        )
    return shapes


def _free(x: float, y: float, width: float, taken: Sequence[Box]) -> tuple[Box, bool]:
    """Return a box for a label of ``width``, and whether it is so far off that it needs a line."""
    for away in (0.0, 14.0, 28.0, 42.0, 60.0, 80.0, 100.0):
        for across, down in ((1, 0), (1, -1), (1, 1), (-1, 0), (-1, -1), (-1, 1), (0, -1), (0, 1)):
            left = x + across * (9 + away * 0.5) - (width if across < 0 else 0)
            left -= width / 2 if across == 0 else 0
            middle = y + down * (away + (12 if across == 0 else 0))
            box = Box(left, middle - LINE / 2, left + width, middle + LINE / 2)
            inside = (
                box.left >= LEFT
                and box.right <= WIDTH - 4
                and box.top >= TOP - 16
                and box.bottom <= HEIGHT - BOTTOM
            )
            if inside and not any(box.meets(other) for other in taken):
                return box, away > 0
    return Box(x + 9, y - LINE / 2, x + 9 + width, y + LINE / 2), False
