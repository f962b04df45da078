"""What was found of masks as Markdown tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from features.spec import FLOWS
from jobs.console import markdown_table
from jobs.masks.agreement import Agreement
from jobs.masks.importance import Worth
from jobs.masks.rivals import Rival
from jobs.masks.study import Pair
from jobs.masks.verdict import Goal, OfData, Verdict, agreements, goals, of_data, verdicts
from validation.intervals import Estimate

NONE = "–"
HELPS, HARMS, UNCLEAR = "helps", "harms", "unclear"
SIGNS = {HELPS: "+", HARMS: "!", UNCLEAR: ""}
MARKS = f"`{NONE}` is pruned, `+` surely helps, `!` surely harms."
AGREEMENT = ("masks compared with", "agreement", "by chance", "95 of 100 unrelated pairs")


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What is said of a version."""

    product: str
    version: str
    searched_on: str
    """Day of the night that searched the flows; empty: they never were."""
    judged: Mapping[str, str]
    """Task → judge day."""
    flows: Sequence[Worth]
    agreements: Sequence[Agreement] = ()
    rivals: Sequence[Rival] = ()


def explained(found: Explained) -> str:
    """Return all that is said of a version: sentences, then tables."""
    cells = dict.fromkeys((one.scenario, one.task) for one in found.flows)
    alive = [one for one in found.flows if one.kept]
    grid = ([" × ".join(cell), *_row(found.flows, cell)] for cell in cells)
    worth = ("cell", "flow", "strength", "share of spread", "worth in log loss", "")
    parts = [
        f"# Masks of {found.product}, version {found.version}",
        "\n".join(f"- {one}" for one in _sentences(found)),
        "## Strength of each flow",
        "Scenario part → task part. " + MARKS,
        markdown_table(("cell", *FLOWS), grid),
        "## What each flow is worth",
        "What its cell's log loss gains when the flow is held at its mean and nothing is trained "
        "again, with its interval by user. Flows that say the same may each be worth little.",
        markdown_table(worth, map(_worth, sorted(alive, key=_place(cells)))),
    ]
    if found.agreements:
        parts += [
            "## Are they the same masks?",
            markdown_table(AGREEMENT, map(_agreement, found.agreements)),
        ]
    if found.rivals:
        columns = ("masks", "kept", "strength", "AUC", "log loss", "− this version's", "worse in")
        parts += [
            "## Other masks, trained alike",
            markdown_table(columns, map(_rival, found.rivals)),
        ]
    return "\n\n".join(parts) + "\n"


def studied(pairs: Sequence[Pair], how: str) -> str:
    """Return all tables of a study of planted flows; ``how`` says what was run where."""
    head = ("masks", "kept", "strength", "AUC", "gap closed", "log loss", "gap closed")
    columns = (*head, "beats none in", "beats random in", "cost")
    each = ("data set", "none pruned", "the truth", "crossfit", "random places")
    return "\n\n".join(
        [
            how,
            markdown_table(("goal", "measured", "met"), map(_goal, goals(pairs))),
            markdown_table(columns, (_verdict(one, len(pairs)) for one in verdicts(pairs))),
            markdown_table(each, map(_of_data, of_data(pairs))),
            markdown_table(AGREEMENT, map(_agreement, agreements(pairs))),
        ]
    )


def change(value: Estimate | None) -> str:
    """Return a difference with its interval."""
    if value is None or value.value is None:
        return NONE
    if value.low is None or value.high is None:
        return f"{value.value:+.4f}"
    return f"{value.value:+.4f} ({value.low:+.4f} … {value.high:+.4f})"


def _sentences(found: Explained) -> Iterable[str]:
    """Yield what a reader wants to know first."""
    kept = sum(one.kept > 0 for one in found.flows)
    searched = f"searched {found.searched_on}" if found.searched_on else "never searched"
    yield (
        f"{kept} of {len(found.flows)} flows are kept, {searched}; judged on "
        + ", ".join(f"{task} of {day}" for task, day in found.judged.items())
    )
    surely = [one for one in found.flows if one.kept and _verdict_of(one) == HARMS]
    if surely:
        named = ", ".join(f"{one.scenario} × {one.task} {one.flow}" for one in surely)
        yield f"flows that surely harm on these days: {named}"
    for one in found.rivals:
        if one.difference is not None and one.difference.value is not None:
            yield _held_against(one)
    for again in found.agreements:
        verdict = "more than chance" if again.agreement > again.high else "no more than chance"
        yield (
            f"{again.what}: {again.agreement:.0%} of the flows agree, of unrelated masks "
            f"{again.low:.0%} … {again.high:.0%}: {verdict}"
        )


def _held_against(one: Rival) -> str:
    known = one.difference
    verdict = "not surely different"
    if known is not None and known.low is not None and known.high is not None:
        verdict = "worse" if known.low > 0 else "better" if known.high < 0 else verdict
    return f"{one.name}: {verdict}, log loss {change(known)} to this version's masks"


def _row(flows: Sequence[Worth], cell: tuple[str, str]) -> list[str]:
    mine = {one.flow: one for one in flows if (one.scenario, one.task) == cell}
    return [_mark(mine[flow]) for flow in FLOWS]


def _mark(one: Worth) -> str:
    if not one.kept:
        return NONE
    return f"{one.strength:.2f} {SIGNS[_verdict_of(one)]}".rstrip()


def _verdict_of(one: Worth) -> str:
    """Return what the interval says of a flow that is kept."""
    if one.loss.value is None or one.loss.low is None or one.loss.high is None:
        return UNCLEAR
    return HELPS if one.loss.low > 0 else HARMS if one.loss.high < 0 else UNCLEAR


def _place(cells: Iterable[tuple[str, str]]) -> Callable[[Worth], tuple[int, float]]:
    """Return a key that keeps cells in order and puts the heaviest flow of each first."""
    order = {cell: place for place, cell in enumerate(cells)}
    return lambda one: (order[one.scenario, one.task], -one.share)


def _worth(one: Worth) -> list[str]:
    return [
        f"{one.scenario} × {one.task}",
        one.flow,
        f"{one.strength:.2f}",
        f"{one.share:.0%}",
        change(one.loss),
        _verdict_of(one),
    ]


def _agreement(one: Agreement) -> list[str]:
    return [
        one.what,
        f"{one.agreement:.0%}",
        f"{one.chance:.0%}",
        f"{one.low:.0%} … {one.high:.0%}",
    ]


def _rival(one: Rival) -> list[str]:
    return [
        one.name,
        f"{one.kept:.0%}",
        f"{one.strength:.2f}",
        f"{one.auc:.4f}",
        f"{one.logloss:.4f}",
        change(one.difference),
        NONE if one.beaten is None else f"{one.beaten} of {one.seeds} seeds",
    ]


def _verdict(one: Verdict, pairs: int) -> list[str]:
    return [
        one.name,
        f"{one.kept:.0%}",
        f"{one.strength:.2f}",
        f"{one.auc:.4f}",
        _share(one.closed_auc),
        f"{one.logloss:.4f}",
        _share(one.closed_logloss),
        f"{one.beats_none} of {pairs}",
        f"{one.beats_random} of {pairs}",
        f"{one.cost:.1f}",
    ]


def _share(closed: Estimate) -> str:
    if closed.value is None:
        return NONE
    value = f"{round(closed.value, 2) + 0.0:.0%}"  # no -0 %
    return value if closed.high is None else f"{value} ± {closed.high - closed.value:.0%}"


def _goal(one: Goal) -> list[str]:
    return [one.what, one.figure, "yes" if one.met else "no"]


def _of_data(one: OfData) -> list[str]:
    return [str(one.data), *(f"{auc:.4f}" for auc in (one.none, one.truth, one.found, one.random))]
