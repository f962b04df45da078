"""What a benchmark compares, and by which rule each model's settings are chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from features.errors import UserError
from features.spec import Spec
from features.spec.policy import ModelName, Training

BAR, BASELINE, OURS = "lightgbm", "shared_bottom", "autoifs"
"""Entries that the others are held against, and the one this product is about."""

Changes = Mapping[str, Any]
"""Settings of ``training`` by their names, those of its parts as mappings."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the table."""

    name: str
    model: ModelName
    changes: Changes = field(default_factory=dict)
    """What differs from the spec's own training, beside the model."""

    def spec(self, base: Spec, trial: Changes, seed: int) -> Spec:
        """Return ``base`` with this entry's training."""
        said = base.training.model_dump(mode="json")
        for changes in ({"model": self.model, "seed": seed}, self.changes, trial):
            said = _merged(said, changes)
        return base.model_copy(update={"training": Training.model_validate(said)})


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which entries, how often, and how long each may look for its settings."""

    entries: tuple[Entry, ...]
    seeds: tuple[int, ...]
    networks: tuple[Changes, ...]
    """Settings that a network tries with the first seed; the lowest validation log loss wins."""
    trees: tuple[Changes, ...]
    """The same for LightGBM: as many."""

    def trials(self, entry: Entry) -> tuple[Changes, ...]:
        """Return the settings that an entry tries."""
        return self.trees if entry.model == "lightgbm" else self.networks


SEARCHES: Mapping[str, Changes] = {
    "boxed": {"recipe": "boxed", "shrink": [0.0, 1.0, 2.7]},
    "crossfit": {"recipe": "crossfit", "shrink": [0.0, 1.5, 3.0]},
}
"""Ways to search flows, each with the prices that suit it."""

FULL = Protocol(
    entries=(
        *(Entry(name=name, model=name) for name in get_args(ModelName)),
        *(
            # The one that is AutoIFS's default is left out, being trained already.
            Entry(name=f"autoifs, {name}", model="autoifs", changes={"search": said})
            for name, said in SEARCHES.items()
        ),
        Entry(name="autoifs, no search", model="autoifs", changes={"search": {"shrink": [0.0]}}),
        Entry(name="autoifs, no teacher", model="autoifs", changes={"teacher": None}),
        Entry(name="shared_bottom, no teacher", model="shared_bottom", changes={"teacher": None}),
    ),
    seeds=(1, 2, 3),
    networks=({},),
    trees=({"trees": {"num_leaves": 15}},),  # better than 31 and 63 where tried
)

QUICK = Protocol(
    entries=tuple(
        Entry(name=name, model=name) for name in ("lightgbm", "shared_bottom", "mmoe", "autoifs")
    ),
    seeds=(1, 2),
    networks=({"epochs": 1}, {"epochs": 2}),
    trees=({"trees": {"rounds": 10}}, {"trees": {"rounds": 20}}),
)


def narrowed(protocol: Protocol, models: str | None, seeds: int | None) -> Protocol:
    """Return ``protocol`` with fewer entries or another number of seeds.

    Args:
        protocol: all of it.
        models: entries' names or models, separated by commas; the two that all are held against
            always stay.
        seeds: how many.

    Raises:
        UserError: naming what is no entry.
    """
    entries = protocol.entries
    if models:
        wanted = [one.strip() for one in models.split(",")]
        known = {one.name for one in entries} | {one.model for one in entries}
        for name in wanted:
            if name not in known:
                raise UserError(
                    f"--models: '{name}' is no model; known: {', '.join(sorted(known))}"
                )
        kept = {BAR, BASELINE, *wanted}
        entries = tuple(one for one in entries if one.name in kept or one.model in wanted)
    return Protocol(
        entries=entries,
        seeds=tuple(range(1, seeds + 1)) if seeds else protocol.seeds,
        networks=protocol.networks,
        trees=protocol.trees,
    )


def _merged(said: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """Return ``said`` with ``changes``, mappings merged key by key."""
    return said | {
        key: _merged(said[key], value) if isinstance(value, Mapping) else value
        for key, value in changes.items()
    }
