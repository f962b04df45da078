"""The columns of the samples and encoded tables: the one place that derives their names."""

from dataclasses import dataclass
from typing import Literal

from features.spec.model import (
    Category,
    Distinct,
    Entity,
    Features,
    Rates,
    Residuals,
    Sequence,
    Spec,
)

Kind = Literal["category", "multi", "number"]

FLOWS = ("shared_shared", "specific_specific", "shared_specific", "specific_shared")
"""The four routes scenario → task, in the order of every flow axis (masks, strengths, truth)."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One feature as a column of ``samples`` and ``encoded``."""

    name: str
    """The column's name in both tables: c_… (category), m_… (multi-value), n_… (number)."""
    kind: Kind
    source: str
    """What the spec calls it: a column, ``source.column``, or the words of a rate."""
    scale: Literal["none", "log1p"] = "none"
    min_count: int = 1
    dim: int = 8
    separator: str = ","
    ordered: bool = False
    """Whether a multi-value column is a sequence: the order of its tokens says something."""
    borrows: str | None = None
    """The column whose vocabulary this one reads; left out: it has one of its own."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The order of scenarios, tasks and features that tables, models and reports share."""

    scenarios: tuple[str, ...]
    tasks: tuple[str, ...]
    columns: tuple[Column, ...]

    def of(self, *kinds: Kind) -> tuple[Column, ...]:
        """Return the columns of the given kinds, in order."""
        return tuple(column for column in self.columns if column.kind in kinds)

    @property
    def named(self) -> tuple[Column, ...]:
        """The columns whose tokens make a vocabulary, in order."""
        return tuple(column for column in self.of("category", "multi") if column.borrows is None)


def layout_of(spec: Spec) -> Layout:
    """Return the layout that ``spec`` declares."""
    features = spec.features
    return Layout(
        scenarios=spec.scenarios.names,
        tasks=tuple(spec.tasks),
        columns=(
            *(_category(item) for item in features.embedded),
            *(
                Column(
                    name=f"n_{slug(item.column)}",
                    kind="number",
                    source=item.column,
                    scale=item.scale,
                )
                for item in features.numbers
            ),
            *dict.fromkeys(column for rates in features.rates for column in _rates(rates, spec)),
            *dict.fromkeys(column for item in features.residuals for column in _residuals(item)),
            *(
                Column(
                    name=recency_name(entity), kind="number", source=f"recency {'×'.join(entity)}"
                )
                for entity in features.recency
            ),
            *dict.fromkeys(column for item in features.distinct for column in _distinct(item)),
            *dict.fromkeys(_sequence(item, features) for item in features.sequences),
        ),
    )


def entity_name(entity: Entity) -> str:
    """Return an entity's name in tables.

    >>> entity_name(("user_id", "videos.tag"))
    'user_id+videos.tag'
    """
    return "+".join(entity)


def rate_name(task: str, entity: Entity, days: int | str) -> str:
    """Return the column of a task's smoothed rate.

    >>> rate_name("click", ("user_id",), 3)
    'n_rate_click_user_id_3'
    """
    return f"n_rate_{task}_{slug('_'.join(entity))}_{days}"


def mean_name(fact: str, entity: Entity, days: int | str) -> str:
    """Return the column of a fact's smoothed mean.

    >>> mean_name("watched", ("user_id",), "half_2")
    'n_mean_watched_user_id_half_2'
    """
    return f"n_mean_{fact}_{slug('_'.join(entity))}_{days}"


def residual_name(measure: str, entity: Entity, against: Entity, days: int | str) -> str:
    """Return the column of how far an entity's rate is above that of its contexts.

    >>> residual_name("click", ("user_id",), ("tab", "length"), "all")
    'n_residual_click_user_id_tab_length_all'
    """
    return f"n_residual_{measure}_{slug('_'.join((*entity, *against)))}_{days}"


def count_name(entity: Entity, days: int | str) -> str:
    """Return the column of an entity's impression count (scaled log1p by the trainer)."""
    return f"n_count_{slug('_'.join(entity))}_{days}"


def recency_name(entity: Entity) -> str:
    """Return the column of the days since an entity's last impression."""
    return f"n_recency_{slug('_'.join(entity))}"


def distinct_name(of: str, entity: Entity, days: int | str) -> str:
    """Return the column of how many values of a column an entity met (scaled log1p).

    >>> distinct_name("item_id", ("user_id",), 7)
    'n_distinct_item_id_user_id_7'
    """
    return f"n_distinct_{slug(of)}_{slug('_'.join(entity))}_{days}"


def sequence_name(item: Sequence) -> str:
    """Return the column of the values that an entity met last.

    >>> sequence_name(Sequence(of="item_id", by="user_id", last=5, task="click"))
    'm_last_5_click_item_id_user_id'
    """
    parts = [str(item.last), item.task, item.of, *item.by]
    return f"m_last_{slug('_'.join(part for part in parts if part))}"


def _sequence(item: Sequence, features: Features) -> Column:
    """Return a sequence's column; it reads the vocabulary of the category it lists, if there is."""
    listed = [_category(each) for each in features.embedded if each.column == item.of]
    shared = listed[0] if listed else None
    words = f"last {item.last} {item.task or ''} {item.of} {'×'.join(item.by)}"
    return Column(
        name=sequence_name(item),
        kind="multi",
        source=" ".join(words.split()),
        min_count=3,
        dim=shared.dim if shared else item.dim,
        ordered=True,
        borrows=shared.name if shared else None,
    )


def _category(item: Category) -> Column:
    kind: Kind = "multi" if item.multi else "category"
    return Column(
        name=f"{kind[0]}_{slug(item.column)}",
        kind=kind,
        source=item.column,
        min_count=item.min_count,
        dim=item.dim,
        separator=item.separator,
    )


def _rates(rates: Rates, spec: Spec) -> list[Column]:
    found = []
    for entity in rates.by:
        words = "×".join(entity)
        for days in rates.windows:
            found.append(
                Column(
                    name=count_name(entity, days),
                    kind="number",
                    source=f"count {words} {days}",
                    scale="log1p",
                )
            )
            for name in rates.of:
                called = rate_name if name in spec.tasks else mean_name
                kind = "rate" if name in spec.tasks else "mean"
                found.append(
                    Column(
                        name=called(name, entity, days),
                        kind="number",
                        source=f"{kind} {name} {words} {days}",
                    )
                )
    return found


def _residuals(item: Residuals) -> list[Column]:
    return [
        Column(
            name=residual_name(name, entity, item.against, days),
            kind="number",
            source=f"residual {name} {'×'.join(entity)} against {'×'.join(item.against)} {days}",
        )
        for entity in item.by
        for days in item.days
        for name in item.of
    ]


def _distinct(item: Distinct) -> list[Column]:
    return [
        Column(
            name=distinct_name(item.of, entity, days),
            kind="number",
            source=f"distinct {item.of} {'×'.join(entity)} {days}",
            scale="log1p",
        )
        for entity in item.by
        for days in item.days
    ]


def slug(text: str) -> str:
    """Return what a name of the spec is called inside a column's name.

    >>> slug("videos.Tag")
    'videos_tag'
    """
    return text.replace(".", "_").lower()
