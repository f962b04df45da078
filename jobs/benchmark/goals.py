"""What the networks should reach, beside what they did."""

from dataclasses import dataclass

from jobs.benchmark.cost import Costs
from jobs.benchmark.judge import WHOLE, Judgement, Verdict
from jobs.benchmark.protocol import BAR, BASELINE, OURS

STEP = 1.3
"""How many times a shared bottom's step ours may take."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One of them on one data set."""

    data: str
    what: str
    figure: str
    met: bool


def goals(judgement: Judgement, costs: Costs) -> list[Goal]:
    """Return the goals that can be told of the entries that ran."""
    verdicts, data = judgement.verdicts, judgement.world.name
    found = []
    best = best_network(judgement)
    if best is not None and BAR in best.against:
        found += [_beats_the_bar(best, data), _in_every_cell(best, judgement)]
    if best is not None and OURS in verdicts:
        found.append(_near_the_best(verdicts[OURS], best, data))
    if OURS in costs and BASELINE in costs:
        found.append(_quick(costs, data))
    return found


def best_network(judgement: Judgement) -> Verdict | None:
    """Return the network with the lowest validation log loss, mean over its seeds."""
    networks = [one for name, one in judgement.verdicts.items() if name != BAR]
    return min(networks, key=_validation, default=None)


def _validation(one: Verdict) -> float:
    return sum(run.validation for run in one.chosen.runs) / len(one.chosen.runs)


def _beats_the_bar(best: Verdict, data: str) -> Goal:
    change = best.against[BAR]["logloss", WHOLE]
    return Goal(
        data=data,
        what=f"pooled log loss of the best network ({best.chosen.entry.name}) − {BAR}, below 0",
        figure=f"{change.value:+.4f} ({change.low:+.4f} … {change.high:+.4f})",
        met=change.high is not None and change.high < 0,
    )


def _in_every_cell(best: Verdict, judgement: Judgement) -> Goal:
    """Worse is a cell whose interval of log loss lies above 0."""
    of_cells = {
        cell: change
        for cell in best.cells["logloss"]
        if (change := best.against[BAR].get(("logloss", cell))) is not None
    }
    worse = [cell for cell, change in of_cells.items() if change.low is not None and change.low > 0]
    names = (judgement.test.names(cell) for cell in worse)
    said = ", ".join(f"{one['scenario']} × {one['task']}" for one in names)
    return Goal(
        data=judgement.world.name,
        what=f"cells in which it is worse than {BAR}, none",
        figure=f"{said or 'none'} of {len(of_cells)}",
        met=not worse,
    )


def _near_the_best(ours: Verdict, best: Verdict, data: str) -> Goal:
    behind = ours.pooled["logloss"] - best.pooled["logloss"]
    spread = max(ours.spread["logloss"], best.spread["logloss"])
    return Goal(
        data=data,
        what=f"pooled log loss of {OURS} − that of the best network, at most one seed spread",
        figure=f"{behind:+.4f} (spread {spread:.4f})",
        met=behind <= spread,
    )


def _quick(costs: Costs, data: str) -> Goal:
    ours, base = costs[OURS].step, costs[BASELINE].step
    ratio = ours / base if ours and base else float("nan")
    return Goal(
        data=data,
        what=f"training step of {OURS} ÷ that of {BASELINE}, at most {STEP}",
        figure=f"{ratio:.2f}",
        met=ratio <= STEP,
    )
