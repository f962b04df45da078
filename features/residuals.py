"""How far an entity's rates are above what its impressions' contexts have on the whole.

The counts hold one row a day for each pair of an entity and a context; its key begins with the
entity's and ends with the context's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.explode import SEPARATOR
from features.history import DAILY, WHOLE, Wanted, finely, sums_over
from features.measures import Measure, measures
from features.settle import looked_up
from features.sources import FOR
from features.spec import Entity, Spec
from features.spec.layout import entity_name
from features.spec.model import Residuals
from features.variety import of_pair

CONTEXT, PLACE = "_context", "_place"
"""Columns with a context's key, and with the name of its entity."""

RESIDUAL = "residual"
"""How the names of residuals begin among what is known of a key."""
SUMMED = 2.0**30
"""Differences are added up as whole multiples of 1 / SUMMED: their order must not matter."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A residual, whatever the entity."""

    name: str
    """How it is called among what is known of a key."""
    place: str
    """Name of the context's entity."""
    of: Measure
    days: int | str
    prior: float

    @property
    def over(self) -> str:
        """SQL of a pair's total without what its context would give so many impressions."""
        total, known = f"{self.of.total}_{self.days}", f"{self.of.known}_{self.days}"
        expected = f"{known} * try_divide(_all_{total}, _all_{known})"
        value = f"({total} - coalesce({expected}, 0D)) / {self.of.unit}D"
        return f"cast(floor({value} * {SUMMED}D + 0.5D) AS bigint)"

    @property
    def value(self) -> str:
        """SQL of the residual over all pairs of a key, in FINE's; null where there is none."""
        mine = f"{PLACE} = '{self.place}'"
        known = f"sum(CASE WHEN {mine} THEN {self.of.known}_{self.days} END)"
        over = f"sum(CASE WHEN {mine} THEN {self.over} END)"
        value = f"{over} / {SUMMED}D / ({known} + {self.prior}D)"
        return f"CASE WHEN {known} > 0 THEN {finely(value)} END"


def part_of(name: str, item: Residuals, days: int | str) -> str:
    """Return how a residual is called among what is known of a key."""
    return f"{RESIDUAL} {name} {entity_name(item.against)} {days} {item.prior}"


def parts(spec: Spec) -> list[str]:
    """Return the names of all residuals, each once."""
    return [part.name for part in _parts(spec)]


def residuals(counts: DataFrame, keys: DataFrame, spec: Spec, days: DataFrame) -> DataFrame:
    """Return the residuals of keys: ``_for``, ``entity``, ``key`` and ``parts``, in FINE's.

    With n impressions and p positives of a key in the window, of which n_c fell in context c whose
    rate over all is r_c, the residual is (p - Σ n_c r_c) / (n + prior).

    Args:
        counts: the days before, as ``features.history.as_history`` returns them.
        keys: ``entity`` and ``key`` of the samples.
        spec: declares the residuals.
        days: the samples' days, as ``features.batch.calendar`` returns them.
    """
    wanted = _wanted(spec)
    mine = _pairs(counts, spec).join(looked_up(keys), ["entity", "key"], "left_semi")
    each = sums_over(mine, days, wanted, ["entity", "key", PLACE, CONTEXT])
    places = [entity_name(item.against) for item in spec.features.residuals]
    whole = sums_over(counts.where(F.col("entity").isin(places)), days, wanted, ["entity", "key"])
    everyone = whole.selectExpr(
        FOR,
        f"entity AS {PLACE}",
        f"key AS {CONTEXT}",
        *(f"`{name}` AS `_all_{name}`" for name in wanted),
    )
    compared = each.join(looked_up(everyone), [FOR, PLACE, CONTEXT], "left")
    found = [F.expr(part.value).alias(part.name) for part in _parts(spec)]
    return compared.groupBy(FOR, "entity", "key").agg(*found)


def _pairs(counts: DataFrame, spec: Spec) -> DataFrame:
    """Return the counts of pairs, taken apart into the entity's key and the context's."""
    pairs = dict(_each_pair(spec))
    cases = {
        "entity": {pair: f"'{entity_name(by)}'" for pair, (by, _) in pairs.items()},
        "key": {
            pair: f"substring_index(key, '{SEPARATOR}', {len(by)})"
            for pair, (by, _) in pairs.items()
        },
        PLACE: {pair: f"'{entity_name(against)}'" for pair, (_, against) in pairs.items()},
        CONTEXT: {
            pair: f"substring_index(key, '{SEPARATOR}', -{len(against)})"
            for pair, (_, against) in pairs.items()
        },
    }
    made = [of_pair(sql).alias(name) for name, sql in cases.items()]
    columns = dict.fromkeys([*_columns(spec), DAILY, WHOLE, "ds", "last"])
    about = counts.where(F.col("entity").isin(list(pairs)))
    return about.select(*columns, *made)


def _each_pair(spec: Spec) -> Iterator[tuple[str, tuple[Entity, Entity]]]:
    for item in spec.features.residuals:
        for by in item.by:
            yield entity_name((*by, *item.against)), (by, item.against)


def _parts(spec: Spec) -> list[Part]:
    of = measures(spec)
    found = [
        Part(
            name=part_of(name, item, days),
            place=entity_name(item.against),
            of=of[name],
            days=days,
            prior=item.prior,
        )
        for item in spec.features.residuals
        for days, name in product(item.days, item.of)
    ]
    return list({part.name: part for part in found}.values())


def _columns(spec: Spec) -> list[str]:
    """Return the columns of the counts that residuals are made of."""
    return [column for part in _parts(spec) for column in (part.of.total, part.of.known)]


def _wanted(spec: Spec) -> Wanted:
    return {
        f"{column}_{part.days}": (column, part.days)
        for part in _parts(spec)
        for column in (part.of.total, part.of.known)
    }
