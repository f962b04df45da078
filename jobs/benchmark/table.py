"""A benchmark as Markdown tables."""

from collections.abc import Iterable, Sequence

from jobs.benchmark.cost import ANSWERED, Cost, Costs
from jobs.benchmark.goals import Goal
from jobs.benchmark.judge import WHOLE, Judgement, Verdict
from jobs.benchmark.protocol import BAR, BASELINE
from jobs.console import markdown_table
from validation.intervals import Estimate

HEAD = (
    "model",
    "log loss, pooled",
    f"− {BAR}",
    f"− {BASELINE}",
    "AUC, pooled",
    f"− {BAR}",
    "log loss, mean cell",
    "AUC, mean cell",
    "parameters",
    "MACs",
    "step",
    "answer",
    "training, s",
)
NONE = "–"


def markdown(
    judgements: Sequence[tuple[Judgement, Costs]], reached: Iterable[Goal], how: str
) -> str:
    """Return all tables; ``how`` says what was run where."""
    parts = [how, markdown_table(("data", "goal", "figure", "met"), map(_goal, reached))]
    for judgement, costs in judgements:
        parts += [f"### {judgement.world.title}", _rows(judgement)]
        ranked = sorted(judgement.verdicts.values(), key=lambda one: one.pooled["logloss"])
        parts.append(markdown_table(HEAD, (_row(one, costs) for one in ranked)))
        parts.append(_of_cells(judgement, ranked))
    return "\n\n".join(parts) + "\n"


def _goal(goal: Goal) -> list[str]:
    return [goal.data, goal.what, goal.figure, "yes" if goal.met else "no"]


def _rows(judgement: Judgement) -> str:
    said = ", ".join(f"{count:,} {what}" for what, count in judgement.rows.items())
    return f"Rows: {said} ({judgement.world.test})."


def _row(one: Verdict, costs: Costs) -> list[str]:
    name, runs = one.chosen.entry.name, one.chosen.runs
    cost, base = costs.get(name), costs.get(BASELINE)
    seconds = sum(run.seconds for run in runs) / len(runs)
    return [
        f"`{name}`",
        _mean(one, "logloss"),
        _change(one, BAR, "logloss"),
        _change(one, BASELINE, "logloss"),
        _mean(one, "auc"),
        _change(one, BAR, "auc"),
        f"{one.mean('logloss'):.4f}",
        f"{one.mean('auc'):.4f}",
        _short(runs[0].parameters),
        _short(cost.macs) if cost and cost.macs else NONE,
        _ratio(cost, base),
        f"{1e6 * cost.answer / ANSWERED:.1f} µs" if cost else NONE,
        f"{seconds:.0f}",
    ]


def _mean(one: Verdict, measure: str) -> str:
    """Return the pooled value, with the spread of several seeds."""
    spread = f" ± {one.spread[measure]:.4f}" if len(one.chosen.runs) > 1 else ""
    return f"{one.pooled[measure]:.4f}{spread}"


def _change(one: Verdict, other: str, measure: str) -> str:
    found = one.against.get(other, {}).get((measure, WHOLE))
    return NONE if found is None else _interval(found)


def _interval(change: Estimate) -> str:
    if change.value is None or change.low is None or change.high is None:
        return NONE
    return f"{change.value:+.4f} ({change.low:+.4f} … {change.high:+.4f})"


def _ratio(cost: Cost | None, base: Cost | None) -> str:
    if cost is None or base is None or cost.step is None or base.step is None:
        return NONE
    return f"{cost.step / base.step:.2f}×"


def _short(count: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return str(count)


def _of_cells(judgement: Judgement, ranked: Sequence[Verdict]) -> str:
    """Return AUC and log loss of every cell; a log loss that is surely not the bar's is marked."""
    cells = list(ranked[0].cells["logloss"])
    names = [judgement.test.names(cell) for cell in cells]
    head = ["AUC / log loss", *(f"{one['scenario']} × {one['task']}" for one in names)]
    counts = [judgement.test.counts[cell] for cell in cells]
    rows = [["rows / positives", *(f"{one.n:,} / {one.positives:,}" for one in counts)]]
    for one in ranked:
        said = []
        for cell in cells:
            area = one.cells["auc"].get(cell)
            shown = NONE if area is None else f"{area:.3f}"
            change = one.against.get(BAR, {}).get(("logloss", cell))
            said.append(f"{shown} / {one.cells['logloss'][cell]:.4f}{_mark(change)}")
        rows.append([f"`{one.chosen.entry.name}`", *said])
    return markdown_table(head, rows)


def _mark(change: Estimate | None) -> str:
    """Return ``+`` where the interval says better than the bar, ``−`` where it says worse."""
    if change is None or change.low is None or change.high is None:
        return ""
    return " +" if change.high < 0 else " −" if change.low > 0 else ""
