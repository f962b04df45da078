"""What a study of planted flows comes to: the share of the gap that each kind of masks closes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from features.spec import Layout
from jobs.masks import study
from jobs.masks.agreement import Agreement, Table, agree_all, mean_of
from jobs.masks.planted import SHARES, TASKS
from jobs.masks.study import FOUND, NONE, PAPERS, PAPERS_NONE, RANDOM, TRUTH, Outcome, Pair
from validation.intervals import UNKNOWN, Estimate


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One kind of masks over all data sets and seeds."""

    name: str
    kept: float
    strength: float
    auc: float
    logloss: float
    closed_auc: Estimate
    """Share of the gap from none pruned to the truth, of mean AUC, over the data sets that have
    one; ± one standard error, by the jackknife over them."""
    closed_logloss: Estimate
    beats_none: int
    """Pairs of data set and seed in which log loss and AUC are better than with none pruned."""
    beats_random: int
    """The same for random masks."""
    cost: float
    """Time of one core, in trainings without a search."""


@dataclass(frozen=True, kw_only=True)
class OfData:
    """One data set: AUC of four kinds of masks, means over seeds."""

    data: int
    none: float
    truth: float
    found: float
    random: float


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is asked for and what was measured."""

    what: str
    figure: str
    met: bool


def verdicts(pairs: Sequence[Pair]) -> list[Verdict]:
    """Return every kind of masks, in the order of the study."""
    return [_verdict(name, pairs) for name in pairs[0].outcomes]


def of_data(pairs: Sequence[Pair]) -> list[OfData]:
    """Return each data set by itself."""
    rows = []
    for data, mine in _by_data(pairs).items():
        none, truth, found, random = (
            _mean(mine, name, "auc") for name in (NONE, TRUTH, FOUND, RANDOM)
        )
        rows.append(OfData(data=data, none=none, truth=truth, found=found, random=random))
    return rows


def agreements(pairs: Sequence[Pair]) -> list[Agreement]:
    """Return how alike the masks are that are found with several seeds, a mean over data sets."""
    found = []
    for name in (FOUND, study.BOXED, PAPERS):
        each = [
            agree_all(name, [_keeps(one.outcomes[name]) for one in mine], _LAYOUT)
            for mine in _by_data(pairs).values()
        ]
        found.append(mean_of(f"{name}, other seeds", [one for one in each if one is not None]))
    return [one for one in found if one is not None]


def goals(pairs: Sequence[Pair]) -> list[Goal]:
    """Return what the search is held to, with what was measured."""
    ours, theirs = _verdict(FOUND, pairs), _verdict(PAPERS, pairs)
    closed = [one.value or 0.0 for one in (ours.closed_auc, ours.closed_logloss)]
    papers = [_mean(pairs, name, "auc") for name in (PAPERS, PAPERS_NONE)]
    return [
        Goal(
            what="gap from none pruned to the truth that is closed, AUC and log loss: ≥ 80 %",
            figure=" and ".join(f"{one:.0%}" for one in closed),
            met=min(closed) >= 0.8,
        ),
        Goal(
            what="better than none pruned, AUC and log loss, in most pairs",
            figure=f"{ours.beats_none} of {len(pairs)}",
            met=ours.beats_none > len(pairs) / 2,
        ),
        Goal(
            what="flows removed: ≥ 40 %",
            figure=f"{1 - ours.kept:.0%}",
            met=ours.kept <= 0.6,
        ),
        Goal(
            what="better than random masks as sparse, in every pair",
            figure=f"{ours.beats_random} of {len(pairs)}",
            met=ours.beats_random == len(pairs),
        ),
        Goal(
            what="better than the official form and recipe, AUC",
            figure=f"{ours.auc:.4f} against {theirs.auc:.4f} ({papers[1]:.4f} with none pruned)",
            met=ours.auc > theirs.auc,
        ),
    ]


def _verdict(name: str, pairs: Sequence[Pair]) -> Verdict:
    return Verdict(
        name=name,
        kept=_mean(pairs, name, "kept"),
        strength=_mean(pairs, name, "strength"),
        auc=_mean(pairs, name, "auc"),
        logloss=_mean(pairs, name, "logloss"),
        closed_auc=_closed(pairs, name, "auc"),
        closed_logloss=_closed(pairs, name, "logloss"),
        beats_none=_beaten(pairs, name, NONE),
        beats_random=_beaten(pairs, name, RANDOM),
        cost=_mean(pairs, name, "seconds") / _mean(pairs, NONE, "seconds"),
    )


def _keeps(one: Outcome) -> Table:
    """Return the share of rows [K, M, 4] that keep each flow."""
    found = np.array(one.table)
    # Strengths are the same in every row; the paper's gates keep or remove, row by row.
    return found if one.name == PAPERS else (found > 0).astype(float)


def _beaten(pairs: Sequence[Pair], name: str, other: str) -> int:
    """Return in how many pairs one kind of masks is better than another, in both measures."""
    held = [(one.outcomes[name], one.outcomes[other]) for one in pairs]
    return sum(one.auc > two.auc and one.logloss < two.logloss for one, two in held)


def with_gap(pairs: Sequence[Pair], what: str) -> list[Pair]:
    """Return the pairs of the data sets whose true masks beat none pruned, over their seeds."""
    found = []
    for mine in _by_data(pairs).values():
        gap = _mean(mine, TRUTH, what) - _mean(mine, NONE, what)
        found += mine if (gap < 0 if what == "logloss" else gap > 0) else []
    return found


def _by_data(pairs: Sequence[Pair]) -> dict[int, list[Pair]]:
    """Return data set → its pairs."""
    found: dict[int, list[Pair]] = {}
    for one in pairs:
        found.setdefault(one.data, []).append(one)
    return found


def _mean(pairs: Sequence[Pair], name: str, what: str) -> float:
    return float(np.mean([getattr(one.outcomes[name], what) for one in pairs]))


def _closed(pairs: Sequence[Pair], name: str, what: str) -> Estimate:
    """Return the closed share of the mean gap, and one standard error to each side."""

    def share(held: Sequence[Pair]) -> float:
        none, truth, mine = (_mean(held, one, what) for one in (NONE, TRUTH, name))
        return (mine - none) / (truth - none)

    held = with_gap(pairs, what)
    if not held:
        return UNKNOWN
    value, error = share(held), _jackknife(share, held)
    if error is None:
        return Estimate(value=value)
    return Estimate(value=value, low=value - error, high=value + error)


def _jackknife(share: Callable[[Sequence[Pair]], float], pairs: Sequence[Pair]) -> float | None:
    data = _by_data(pairs)
    if len(data) < 2:
        return None
    left = np.array([share([one for one in pairs if one.data != out]) for out in data])
    return float(np.sqrt((len(data) - 1) * left.var()))


_LAYOUT = Layout(
    scenarios=tuple(f"scenario {k}" for k in range(len(SHARES))),
    tasks=tuple(f"task {m}" for m in range(TASKS)),
    columns=(),
)
