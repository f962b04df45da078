"""A training that goes on from an earlier version's weights: what fits, what is new, what moved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from features.errors import TrainingError
from features.spec.layout import Column, Layout
from training.architecture import Architecture
from training.artifact import Card, Scorer, load
from training.data import Dataset
from training.embeddings import embeddings_of
from training.model import Model
from training.prepare import NumberStats
from training.rows import Examples, Rows, pieces

ANEW = "set training.warm_start to false for the night that starts anew"
SHAPE = {
    "kind": "training.model",
    "trunk": "training.network.trunk",
    "scenario": "training.network.scenario",
    "task": "training.network.task",
    "rank": "training.network.rank",
    "form": "training.search.form",
    "ids": "features.ids",
    "histories": "features.sequences",
    "listed": "features.sequences",
}
"""What of an architecture must be as it was, and what the spec calls it."""


@dataclass(frozen=True)
class Start:
    """An earlier version to go on from."""

    version: str
    scorer: Scorer

    @classmethod
    def of(cls, version: str, folder: Path) -> "Start":
        """Load the version in ``folder``."""
        return cls(version, load(folder))

    @property
    def scale(self) -> NumberStats:
        """How numbers were scaled when the weights learned."""
        return self.scorer.card.stats

    def wanted(self, now: Card, *, searched: bool) -> bool:
        """Return whether a night goes on from it.

        One that searches flows starts anew, for weights that grew together with old flows keep
        them; where scenarios are new it starts from it, so that they begin as what is shared.

        Raises:
            TrainingError: naming the first part of the schema that changed.
        """
        known = self.scorer.layout.scenarios
        if searched and all(name in known for name in now.layout.scenarios):
            return False
        check(self.scorer.card, now, self.version)
        return True

    def adopted_by(self, model: Model, card: Card, train: Examples | Rows) -> dict[str, Any]:
        """Give ``model`` the earlier weights, and say what is new to them.

        What has no weights yet starts as what is nearest to it: a token as the unknown one, a
        scenario as the part that all share. A token that the training rows no longer hold is
        evicted: it is read as unknown again, however well it was known once.

        Args:
            model: fresh.
            card: what it is; :func:`check` has nothing against it.
            train: the rows it is about to learn from.

        Raises:
            TrainingError: naming a new scenario that the model has no part for.
        """
        before = self.scorer.card
        places = [_place(name, before.layout) for name in card.layout.scenarios]
        if None in places and not model.new_scenario():
            new = card.layout.scenarios[places.index(None)]
            kind = card.architecture.kind
            what = f"scenario '{new}' is new, and {kind} has no part that a new one could start as"
            raise _changed(self.version, what)
        model.adopt(self.scorer.model, places)
        gone = _evict(model, seen(train, card.architecture), before.architecture.sizes)
        names = list(card.sizes)
        grown = zip(names, card.architecture.sizes, before.architecture.sizes, strict=True)
        return {
            "from": self.version,
            "new_tokens": {name: now - then for name, now, then in grown if now > then},
            "evicted_tokens": {name: n for name, n in zip(names, gone, strict=True) if n},
            "new_scenarios": [
                name
                for name, place in zip(card.layout.scenarios, places, strict=True)
                if place is None
            ],
        }

    def moved(self, after: Scorer, probe: Dataset) -> dict[str, float] | None:
        """Return how far the logits of ``probe`` went, and how alike they still are.

        Rows of scenarios that the earlier version does not know are left out; None without others.
        """
        said = [one.uncalibrated.score(probe).astype(np.float64) for one in (self.scorer, after)]
        clipped = [np.clip(one, 1e-7, 1 - 1e-7) for one in said]
        then, now = (np.log(one / (1 - one)) for one in clipped)
        both = ~np.isnan(then) & ~np.isnan(now)
        if not both.any():
            return None
        far = np.abs(now - then)[both]
        spread = then[both].std() * now[both].std()
        alike = np.cov(then[both], now[both], bias=True)[0, 1] / spread if spread else 1.0
        found = {"mean": far.mean(), "most": far.max(), "correlation": alike}
        return {name: round(float(one), 5) for name, one in found.items()}


def check(before: Card, now: Card, version: str) -> None:
    """Refuse weights of another schema.

    Scenarios may be new, vocabularies may have grown; all else must be as it was.

    Raises:
        TrainingError: naming the first field that changed.
    """
    then, other = before.layout, now.layout
    if before.vocabulary_id and now.vocabulary_id and before.vocabulary_id != now.vocabulary_id:
        raise _changed(version, "the vocabulary was built anew, so indices mean other tokens")
    for gone in (name for name in then.scenarios if name not in other.scenarios):
        raise _changed(version, f"scenario '{gone}' is gone")
    if then.tasks != other.tasks:
        raise _changed(version, _order("task", then.tasks, other.tasks))
    _check_columns(then.columns, other.columns, version)
    for name, said in SHAPE.items():
        was, is_ = (getattr(one.architecture, name) for one in (before, now))
        if was != is_:
            raise _changed(version, f"{said} was {_plain(was)} and is {_plain(is_)}")
    sizes = zip(now.sizes, before.architecture.sizes, now.architecture.sizes, strict=True)
    for name, was, is_ in sizes:
        if is_ < was:
            raise _changed(version, f"the vocabulary of '{name}' shrank from {was} to {is_}")


def seen(rows: Examples | Rows, architecture: Architecture) -> list[Tensor]:
    """Return, for each embedding, which of its tokens the rows hold, [size] of booleans."""
    a = architecture
    found = [torch.zeros(size, dtype=torch.bool) for size in a.sizes]
    for part in pieces(rows):
        columns = torch.split(part.inputs.index.cpu(), list(part.inputs.taken), dim=1)
        for held, tokens in zip(found, columns, strict=True):
            held[tokens[tokens >= 0].long()] = True
    for history, listed in zip(a.histories, a.listed, strict=True):
        if listed >= 0:  # the same tokens, looked up in the table of the column that they are of
            found[listed] |= found[history]
            found[history] |= found[listed]
    return found


def unknown_shares(rows: Examples | Rows, layout: Layout) -> dict[str, dict[str, float]]:
    """Return the share of rows whose token is unknown or null: scenario → category → share."""
    names = [column.name for column in layout.of("category")]
    unknown = torch.zeros(len(layout.scenarios), len(names))
    count = torch.zeros(len(layout.scenarios))
    for part in pieces(rows):
        scenario = part.inputs.scenario.cpu()
        is_unknown = (part.inputs.index[:, : len(names)].cpu() == 0).float()
        unknown.index_add_(0, scenario, is_unknown)
        count.index_add_(0, scenario, torch.ones(len(scenario)))
    shares = (unknown / count[:, None]).tolist()
    return {
        scenario: {name: round(one, 5) for name, one in zip(names, row, strict=True)}
        for scenario, row, n in zip(layout.scenarios, shares, count.tolist(), strict=True)
        if n
    }


def _check_columns(then: Sequence[Column], now: Sequence[Column], version: str) -> None:
    before, after = ({column.name: column for column in one} for one in (then, now))
    for gone in (name for name in before if name not in after):
        raise _changed(version, f"column '{gone}' is gone")
    for new in (name for name in after if name not in before):
        raise _changed(version, f"column '{new}' is new")
    for name, column in before.items():
        for field in ("kind", "dim", "scale", "separator", "ordered", "borrows"):
            was, is_ = getattr(column, field), getattr(after[name], field)
            if was != is_:
                raise _changed(version, f"{field} of column '{name}' was {was} and is {is_}")
    if tuple(before) != tuple(after):
        raise _changed(version, _order("column", tuple(before), tuple(after)))


def _order(what: str, then: Sequence[str], now: Sequence[str]) -> str:
    if set(then) - set(now):
        return f"{what} '{sorted(set(then) - set(now))[0]}' is gone"
    if set(now) - set(then):
        return f"{what} '{sorted(set(now) - set(then))[0]}' is new"
    other = next(name for name, was in zip(now, then, strict=True) if name != was)
    return f"{what} '{other}' stands at another place"


def _changed(version: str, what: str) -> TrainingError:
    return TrainingError(f"version {version} can't be gone on from: {what}; {ANEW}")


def _place(name: str, layout: Layout) -> int | None:
    return layout.scenarios.index(name) if name in layout.scenarios else None


def _plain(value: Any) -> str:
    return "-".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


@torch.no_grad()
def _evict(model: Model, held: Sequence[Tensor], known: Sequence[int]) -> list[int]:
    """Let each embedding's tokens that were known once and are not ``held`` start as new ones."""
    gone = [
        torch.nonzero(~tokens[:size]).flatten() for tokens, size in zip(held, known, strict=True)
    ]
    gone = [rows[rows > 0] for rows in gone]
    for part in embeddings_of(model):
        for position, rows in enumerate(gone):
            part.begin(position, rows)
    return [len(rows) for rows in gone]
