"""Rates, counts and recencies against a plain computation over the raw facts.

Of the generated worlds each has keys of its own, so all go through one plan (see ``tests.worlds``).
What they share is the overall rate, which both computations take over the facts of all.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import pytest
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from features.batch import calendar
from features.counts import daily_counts
from features.days import DAY, start_of
from features.history import as_history
from features.rates import add_rates
from features.spec import layout_of
from features.spec.load import parse_spec
from tests.worlds import draw, hold

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.usefixtures("any_size")]

TODAY = date(2026, 3, 10)
DAYS = [TODAY - timedelta(days=2), TODAY]
"""Days of the samples of generated worlds."""
WINDOWS = (1, 3, 7, "all")
PRIOR = 4.0
Features = dict[str, float | None]
SHOP = parse_spec(
    """
product: shop
timezone: Asia/Tokyo
sources:
  log: {path: "log.csv", time: {column: at}}
  items: {path: items.csv, key: item_id}
impression: {source: log, key: [user_id, at]}
scenarios: {column: place, values: {feed: feed}}
tasks: {click: {label: clicked = 1}, buy: {label: bought = 1}}
features:
  categories: [{column: items.tags, multi: true}]
  rates:
    - {of: [click, buy], by: [user_id, items.tags], days: [1, 3, 7, all], prior: 4}
    - {of: click, by: [[user_id, items.tags], [place, user_id]], days: all, prior: 4}
  recency: [user_id, items.tags, place]
  distinct:
    - {of: items.tags, by: [user_id, place], days: [1, 7, all]}
    - {of: place, by: [items.tags, [user_id, items.tags]], days: 3}
""",
    "shop.yaml",
)
FACTS = (
    "ds string, user_id string, place string, items_tags array<string>, event_time timestamp, "
    "impression int, n_click int, n_buy int"
)
ENTITIES = {
    "user_id": ("user_id",),
    "items_tags": ("items_tags",),
    "user_id_items_tags": ("user_id", "items_tags"),
    "place_user_id": ("place", "user_id"),
    "place": ("place",),
}
DISTINCT = (
    ("items_tags", "user_id", (1, 7, "all")),
    ("items_tags", "place", (1, 7, "all")),
    ("place", "items_tags", (3,)),
    ("place", "user_id_items_tags", (3,)),
)


@dataclass(frozen=True)
class Fact:
    """A fact: days back from today, hour, who, where, what, and what came of it."""

    back: int
    hour: int
    user_id: str | None
    place: str | None
    items_tags: tuple[str, ...] | None
    impression: int
    n_click: int
    n_buy: int

    @property
    def day(self) -> date:
        return TODAY - timedelta(days=self.back)

    @property
    def at(self) -> datetime:
        # Tokyo's day starts at 15:00 UTC of the day before.
        start = datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)
        return start - timedelta(hours=9) + timedelta(hours=self.hour)

    @property
    def row(self) -> tuple[object, ...]:
        tags = None if self.items_tags is None else list(self.items_tags)
        came = (self.impression, self.n_click, self.n_buy)
        return (self.user_id, self.place, tags, self.at, *came)

    def of_world(self, number: int) -> "Fact":
        """Return the fact with values that no other world has."""

        def own(value: str | None) -> str | None:
            return None if value is None else f"{value} of {number}"

        tags = self.items_tags and tuple(f"{tag} of {number}" for tag in self.items_tags)
        return replace(self, user_id=own(self.user_id), place=own(self.place), items_tags=tags)

    def keys(self, entity: tuple[str, ...]) -> set[tuple[str, ...]]:
        keys: set[tuple[str, ...]] = {()}
        for column in entity:
            value = getattr(self, column)
            values = set(value or ()) if column == "items_tags" else {value} - {None}
            keys = {(*key, each) for key in keys for each in values}
        return keys


BACK = [-1, 0, 1, 2, 3, 4, 7, 8, 9, 10]
"""Days at the edges of the windows that samples of today, and of two days before, look back on."""

facts = st.builds(
    Fact,
    back=st.sampled_from(BACK),
    hour=st.integers(0, 23),
    user_id=st.sampled_from(["u1", "u2", None]),
    place=st.sampled_from(["feed", "search", None]),
    items_tags=st.none() | st.lists(st.sampled_from("abc"), max_size=3).map(tuple),
    impression=st.integers(0, 1),
    n_click=st.integers(0, 1),
    n_buy=st.integers(0, 1),
)


@dataclass(frozen=True)
class World:
    """What happened, what happened instead or besides, and samples; of keys nobody else has."""

    happened: tuple[Fact, ...]
    other: tuple[Fact, ...]
    samples: tuple[Fact, ...]

    def alone(self, number: int) -> "World":
        parts = (self.happened, self.other, self.samples)
        return World(*(tuple(fact.of_world(number) for fact in part) for part in parts))


worlds = st.builds(
    World,
    *(st.lists(facts, min_size=least, max_size=8).map(tuple) for least in (0, 1)),
    st.lists(facts, min_size=1, max_size=2).map(tuple),
)


def counts_of(spark: SparkSession, happened: list[Fact]) -> DataFrame:
    rows = [(fact.day.isoformat(), *fact.row) for fact in happened]
    return as_history(daily_counts(spark.createDataFrame(rows, FACTS), SHOP))


def rated_worlds(
    spark: SparkSession, drawn: list[World], happened: list[Fact]
) -> dict[tuple[int, date], list[Features]]:
    """Return world and day → the features of its samples on that day, computed in one go."""
    samples = [sample for world in drawn for sample in world.samples]
    rows = iter(rated(spark, happened, samples, *DAYS))
    return {
        (number, day): [next(rows) for _ in world.samples]
        for day in DAYS
        for number, world in enumerate(drawn)
    }


def rated(
    spark: SparkSession, happened: list[Fact], samples: list[Fact], *days: date
) -> list[Features]:
    """Return the samples' features, of the first of ``days`` first."""
    days = days or (TODAY,)
    rows = [
        (day.isoformat(), str(number), *fact.row[:3])
        for number, fact in enumerate(samples)
        for day in days
    ]
    frame = spark.createDataFrame(
        rows,
        "_for string, sample_id string, user_id string, place string, items_tags array<string>",
    )
    calendar_ = calendar(spark, SHOP, {day: day for day in days})
    found = add_rates(frame, counts_of(spark, happened), SHOP, calendar_).collect()
    ordered = sorted(found, key=lambda row: (row["_for"], int(row["sample_id"])))
    return [row.asDict() for row in ordered]


@dataclass(frozen=True)
class Past:
    """What happened before a day."""

    day: date
    happened: tuple[Fact, ...]

    def within(self, days: int | str) -> "Past":
        """Return what happened in the last ``days`` whole days before the day, or ever before."""
        first = date.min if days == "all" else self.day - timedelta(days=int(days))
        return replace(self, happened=tuple(f for f in self.happened if first <= f.day < self.day))

    @cached_property
    def overall(self) -> dict[str, int]:
        names = ("impression", "n_click", "n_buy")
        return {name: sum(getattr(fact, name) for fact in self.happened) for name in names}


def plain(past: dict[int | str, Past], everyone: dict[int | str, Past], sample: Fact) -> Features:
    """The features of one sample, from the words of the documentation."""
    found: Features = {}
    for name in ("user_id", "items_tags", "user_id_items_tags", "place_user_id"):
        entity = ENTITIES[name]
        for days in WINDOWS if len(entity) == 1 else ("all",):
            seen = past[days].happened
            of_key = [[f for f in seen if key in f.keys(entity)] for key in sample.keys(entity)]
            sizes = [sum(fact.impression for fact in of) for of in of_key]
            found[f"n_count_{name}_{days}"] = sum(sizes) / len(sizes) if sizes else 0.0
            for task in ("click", "buy") if len(entity) == 1 else ("click",):
                rates = [rate(of, everyone[days].overall, task) for of in of_key]
                known = [value for value in rates if value is not None]
                mean = sum(known) / len(known) if known else None
                found[f"n_rate_{task}_{name}_{days}"] = mean
    for name in ("user_id", "items_tags", "place"):
        ever = [fact for fact in past["all"].happened if fact.impression]
        of = [fact for fact in ever if fact.keys((name,)) & sample.keys((name,))]
        ages = [(start_of(past["all"].day, SHOP.timezone) - fact.at) / DAY for fact in of]
        found[f"n_recency_{name}"] = min(ages, default=None)
    for of, name, windows in DISTINCT:
        entity = ENTITIES[name]
        for days in windows:
            shown = [fact for fact in past[days].happened if fact.impression]
            met = [
                {value for f in shown if key in f.keys(entity) for value in f.keys((of,))}
                for key in sample.keys(entity)
            ]
            found[f"n_distinct_{of}_{name}_{days}"] = sum(map(len, met)) / len(met) if met else 0.0
    return found


def rate(of: list[Fact], overall: dict[str, int], task: str) -> float | None:
    n, positives = (sum(getattr(fact, c) for fact in of) for c in ("impression", f"n_{task}"))
    if not overall["impression"] or not (n or positives):
        return None
    shared = overall[f"n_{task}"] / overall["impression"]
    return min((positives + PRIOR * shared) / (n + PRIOR), 1.0)


def pasts(day: date, happened: Iterable[Fact]) -> dict[int | str, Past]:
    whole = Past(day, tuple(happened))
    return {days: whole.within(days) for days in WINDOWS}


def test_features_equal_a_plain_computation_over_the_raw_facts(spark: SparkSession) -> None:
    drawn = [world.alone(number) for number, world in enumerate(draw(worlds))]
    found = rated_worlds(spark, drawn, [fact for world in drawn for fact in world.happened])
    everyone = {day: pasts(day, (f for w in drawn for f in w.happened)) for day in DAYS}

    def equal(number: int, world: World) -> None:
        for day in DAYS:
            past = pasts(day, world.happened)
            expected = [plain(past, everyone[day], sample) for sample in world.samples]
            for got, wanted in zip(found[number, day], expected, strict=True):
                assert set(wanted) == {column.name for column in layout_of(SHOP).of("number")}
                for name, value in wanted.items():
                    assert alike(got[name], value), (day, name, got[name], value)

    hold(drawn, equal)


def alike(got: float | None, wanted: float | None) -> bool:
    return got == wanted or (
        got is not None and wanted is not None and math.isclose(got, wanted, rel_tol=1e-9)
    )


@pytest.mark.parametrize("day", DAYS, ids=["two days before", "today"])
def test_whatever_happens_on_the_samples_day_or_later_changes_no_feature(
    spark: SparkSession, day: date
) -> None:
    drawn = [world.alone(number) for number, world in enumerate(draw(worlds))]
    before = [fact for world in drawn for fact in world.happened]
    kept = [fact for fact in before if fact.day < day]
    instead = [fact for world in drawn for fact in world.other if fact.day >= day]
    assert sum(fact.day >= day for fact in before) > len(drawn) / 4
    assert len(instead) > len(drawn) / 4

    found = rated_worlds(spark, drawn, before)
    mutated = rated_worlds(spark, drawn, [*kept, *instead])

    def unmoved(number: int, _: World) -> None:
        assert mutated[number, day] == found[number, day]

    hold(drawn, unmoved)
    later = [key for key in found if key[1] > day]
    assert not later or any(found[key] != mutated[key] for key in later), "it is there to be seen"


def test_a_sample_without_history_keeps_its_row_with_null_rates_and_zero_counts(
    spark: SparkSession,
) -> None:
    nobody = Fact(1, 0, "new", None, None, 1, 0, 0)
    someone = Fact(6, 0, "u1", "feed", ("a",), 1, 1, 0)

    (row,) = rated(spark, [someone], [nobody])

    assert (row["n_rate_click_user_id_all"], row["n_count_user_id_all"]) == (None, 0.0)
    assert (row["n_rate_click_items_tags_all"], row["n_count_items_tags_all"]) == (None, 0.0)
    assert row["n_recency_user_id"] is None
    # The day before last: nothing happened, so even the overall rate of the window is unknown.
    assert row["n_rate_click_user_id_1"] is None


def test_the_first_day_has_no_rates_and_keeps_all_samples(spark: SparkSession) -> None:
    later = Fact(-1, 0, "u1", "feed", ("a",), 1, 1, 0)

    rows = rated(spark, [later], [later, later])

    assert [row["n_rate_click_user_id_all"] for row in rows] == [None, None]


def test_a_late_outcome_never_makes_a_rate_larger_than_one(spark: SparkSession) -> None:
    shown = [Fact(3, hour, "u1", "feed", ("a",), 1, 0, 0) for hour in range(3)]
    bought = [Fact(1, hour, "u1", "feed", ("a",), 0, 0, 1) for hour in range(20)]
    other = Fact(1, 1, "u2", "feed", ("b",), 1, 0, 0)

    (row,) = rated(spark, [*shown, *bought, other], [shown[0]])

    assert row["n_rate_buy_user_id_1"] == 1.0
