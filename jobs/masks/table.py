"""What was found of masks as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from features.spec import FLOWS
from validation.intervals import Estimate

if TYPE_CHECKING:
    from jobs.masks.agreement import Agreement
    from jobs.masks.explain import Explained
    from jobs.masks.importance import Worth
    from jobs.masks.rivals import Rival

NONE = "–"


def explained(found: Explained) -> str:
    """Return all tables of a version."""
    parts = [
        f"### Flows of version {found.version}",
        "Log loss that a cell gains when a flow is held at its mean, nothing trained again "
        "(interval by user); in brackets the flow's strength, 0 where it is pruned.",
        table(("cell", *FLOWS), _flows(found.flows)),
    ]
    if found.agreements:
        head = ("masks compared with", "agreement", "by chance", "95 of 100 unrelated pairs")
        parts += ["### Agreement", table(head, map(_agreement, found.agreements))]
    if found.rivals:
        columns = ("masks", "kept", "strength", "AUC", "log loss", "− this model's", "worse in")
        parts += ["### Other masks, trained alike", table(columns, map(_rival, found.rivals))]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def change(value: Estimate | None) -> str:
    """Return a difference with its interval."""
    if value is None or value.value is None:
        return NONE
    if value.low is None or value.high is None:
        return f"{value.value:+.4f}"
    return f"{value.value:+.4f} ({value.low:+.4f} … {value.high:+.4f})"


def _flows(flows: Sequence[Worth]) -> Iterable[Sequence[str]]:
    cells = dict.fromkeys((one.scenario, one.task) for one in flows)
    for cell in cells:
        mine = {one.flow: one for one in flows if (one.scenario, one.task) == cell}
        yield [" × ".join(cell), *(_worth(mine[flow]) for flow in FLOWS)]


def _worth(one: Worth) -> str:
    return f"{change(one.loss) if one.kept else NONE} [{one.strength:.2f}]"


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
