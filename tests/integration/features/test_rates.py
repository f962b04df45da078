"""Rates, counts and recencies against a plain computation over the raw facts.

Of the generated worlds each has keys of its own, so all go through one plan (see ``tests.worlds``).
What they share is the overall rate, which both computations take over the facts of all.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from features.batch import calendar
from features.counts import daily_counts
from features.days import DAY, start_of
from features.history import as_history
from features.measures import GRAIN
from features.rates import add_rates
from features.spec import layout_of
from features.spec.load import parse_spec
from tests.worlds import draw, hold

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.usefixtures("any_size")]

small_days = pytest.mark.parametrize("any_size", ["1"], ids=["small-day"], indirect=True)
"""Of what the generated worlds hold too, and is told apart here for a reader."""

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
  facts: {stay: seconds}
  rates:
    - {of: [click, buy], by: [user_id, items.tags], days: [1, 3, 7, all], prior: 4}
    - {of: click, by: [[user_id, items.tags], [place, user_id]], days: all, prior: 4}
    - {of: [click, stay], by: user_id, days: 3, half_life: 1, prior: 4}
    - {of: [stay, buy], by: items.tags, days: all, half_life: 2, prior: 4}
  residuals:
    - {of: [click, stay], by: [user_id, items.tags], against: place, days: [3, all], prior: 4}
    - {of: buy, by: user_id, against: [place, user_id], prior: 4}
  recency: [user_id, items.tags, place]
  distinct:
    - {of: items.tags, by: [user_id, place], days: [1, 7, all]}
    - {of: place, by: [items.tags, [user_id, items.tags]], days: 3}
""",
    "shop.yaml",
)
FACTS = (
    "ds string, user_id string, place string, items_tags array<string>, event_time timestamp, "
    "impression int, n_click int, n_buy int, _fact_stay bigint"
)
ENTITIES = {
    "user_id": ("user_id",),
    "items_tags": ("items_tags",),
    "user_id_items_tags": ("user_id", "items_tags"),
    "place_user_id": ("place", "user_id"),
    "place": ("place",),
}
RATED: tuple[tuple[str, int | str, tuple[str, ...]], ...] = (
    *(("user_id", days, ("click", "buy")) for days in WINDOWS),
    *(("items_tags", days, ("click", "buy")) for days in WINDOWS),
    ("user_id_items_tags", "all", ("click",)),
    ("place_user_id", "all", ("click",)),
    ("user_id", 3, ("stay",)),
    ("user_id", "half_1", ("click", "stay")),
    ("items_tags", "all", ("stay",)),
    ("items_tags", "half_2", ("stay", "buy")),
)
"""Entity, window, and the measures whose rate or mean is taken."""
RESIDUAL: tuple[tuple[str, str, str, tuple[int | str, ...]], ...] = (
    *(
        (name, entity, "place", (3, "all"))
        for name in ("click", "stay")
        for entity in ("user_id", "items_tags")
    ),
    ("buy", "user_id", "place_user_id", ("all",)),
)
"""Measure, entity, context and windows."""
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
    stay: float | None = None
    """Seconds that an impression was looked at; not known of an outcome."""

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
        stay = None if self.known("stay") == 0 else round(self.total("stay") * GRAIN)
        came = (self.impression, self.n_click, self.n_buy, stay)
        return (self.user_id, self.place, tags, self.at, *came)

    def total(self, measure: str) -> float:
        """What the fact adds to the sum of a measure."""
        return (self.stay or 0.0) if measure == "stay" else float(getattr(self, f"n_{measure}"))

    def known(self, measure: str) -> int:
        """Whether it is an impression that has the measure: 1 or 0."""
        return int(self.impression and (measure != "stay" or self.stay is not None))

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
    stay=st.sampled_from([None, 0.0, 0.5, 2.25, -1.0]),
).map(lambda fact: fact if fact.impression else replace(fact, stay=None))


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
        """Return what happened in a window before the day: its last days, or ever."""
        first = date.min if days == "all" else self.day - timedelta(days=reach(days))
        return replace(self, happened=tuple(f for f in self.happened if first <= f.day < self.day))

    def weight(self, fact: Fact, days: int | str) -> float:
        """Return how much a fact counts in a window."""
        if isinstance(days, int) or days == "all":
            return 1.0
        age = (self.day - fact.day).days
        return round(4096 * 0.5 ** (age / int(days.removeprefix("half_")))) / 4096

    def sums(self, of: Iterable[Fact], measure: str, days: int | str) -> tuple[float, float]:
        """Return the sum of a measure over facts, and the number of impressions that have it."""
        weighed = [(self.weight(fact, days), fact) for fact in of]
        return (
            sum(w * fact.total(measure) for w, fact in weighed),
            sum(w * fact.known(measure) for w, fact in weighed),
        )


def reach(days: int | str) -> int:
    """Return how many days a window looks back: seven half-lives where facts fade."""
    return days if isinstance(days, int) else 7 * int(days.removeprefix("half_"))


def plain(past: dict[int | str, Past], everyone: dict[int | str, Past], sample: Fact) -> Features:
    """The features of one sample, from the words of the documentation."""
    found: Features = {}
    for name, days, measures in RATED:
        of_key = of_keys(past[days].happened, sample, ENTITIES[name])
        sizes = [past[days].sums(of, "click", days)[1] for of in of_key]
        found[f"n_count_{name}_{days}"] = sum(sizes) / len(sizes) if sizes else 0.0
        for measure in measures:
            values = [rate(past[days], of, everyone[days], measure, days) for of in of_key]
            kind = "mean" if measure == "stay" else "rate"
            found[f"n_{kind}_{measure}_{name}_{days}"] = mean(values)
    for measure, name, place, windows in RESIDUAL:
        for days in windows:
            of_key = of_keys(past[days].happened, sample, ENTITIES[name])
            values = [residual(of, everyone[days], measure, ENTITIES[place]) for of in of_key]
            found[f"n_residual_{measure}_{name}_{place}_{days}"] = mean(values)
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


def of_keys(happened: Iterable[Fact], sample: Fact, entity: tuple[str, ...]) -> list[list[Fact]]:
    """Return for each key of the sample the facts that have it."""
    facts = list(happened)
    return [[fact for fact in facts if key in fact.keys(entity)] for key in sample.keys(entity)]


def mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def rate(past: Past, of: list[Fact], everyone: Past, measure: str, days: int | str) -> float | None:
    total, n = past.sums(of, measure, days)
    all_total, all_n = everyone.sums(everyone.happened, measure, days)
    outcomes_count = measure != "stay" and total > 0
    if not all_n or not (n or outcomes_count):
        return None
    value = (total + PRIOR * all_total / all_n) / (n + PRIOR)
    return value if measure == "stay" else min(value, 1.0)


def residual(
    of: list[Fact], everyone: Past, measure: str, context: tuple[str, ...]
) -> float | None:
    """What is above what the contexts give, a fact at a time."""
    within = [(fact, key) for fact in of for key in fact.keys(context)]
    n = sum(fact.known(measure) for fact, _ in within)
    if not n:
        return None
    over = 0.0
    for fact, key in within:
        alike_ = [other for other in everyone.happened if key in other.keys(context)]
        known = sum(other.known(measure) for other in alike_)
        expected = sum(other.total(measure) for other in alike_) / known if known else 0.0
        over += fact.total(measure) - fact.known(measure) * expected
    return over / (n + PRIOR)


def pasts(day: date, happened: Iterable[Fact]) -> dict[int | str, Past]:
    whole = Past(day, tuple(happened))
    return {days: whole.within(days) for days in {*WINDOWS, *(days for _, days, _ in RATED)}}


@pytest.fixture(scope="module")
def drawn() -> list[World]:
    return [world.alone(number) for number, world in enumerate(draw(worlds))]


@pytest.fixture(scope="module")
def found(
    spark: SparkSession, any_size: None, drawn: list[World]
) -> dict[tuple[int, date], list[Features]]:
    """The features of all worlds' samples, computed once."""
    return rated_worlds(spark, drawn, [fact for world in drawn for fact in world.happened])


def test_features_equal_a_plain_computation_over_the_raw_facts(
    drawn: list[World], found: dict[tuple[int, date], list[Features]]
) -> None:
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
        got is not None
        and wanted is not None
        and math.isclose(got, wanted, rel_tol=1e-9, abs_tol=2e-9)
    )


@pytest.mark.parametrize("day", DAYS, ids=["two days before", "today"])
def test_whatever_happens_on_the_samples_day_or_later_changes_no_feature(
    spark: SparkSession,
    drawn: list[World],
    found: dict[tuple[int, date], list[Features]],
    day: date,
) -> None:
    before = [fact for world in drawn for fact in world.happened]
    kept = [fact for fact in before if fact.day < day]
    instead = [fact for world in drawn for fact in world.other if fact.day >= day]
    assert sum(fact.day >= day for fact in before) > len(drawn) / 4
    assert len(instead) > len(drawn) / 4

    mutated = rated_worlds(spark, drawn, [*kept, *instead])

    def unmoved(number: int, _: World) -> None:
        assert mutated[number, day] == found[number, day]

    hold(drawn, unmoved)
    later = [key for key in found if key[1] > day]
    assert not later or any(found[key] != mutated[key] for key in later), "it is there to be seen"


@small_days
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


@small_days
def test_a_late_outcome_never_makes_a_rate_larger_than_one(spark: SparkSession) -> None:
    shown = [Fact(3, hour, "u1", "feed", ("a",), 1, 0, 0) for hour in range(3)]
    bought = [Fact(1, hour, "u1", "feed", ("a",), 0, 0, 1) for hour in range(20)]
    other = Fact(1, 1, "u2", "feed", ("b",), 1, 0, 0)

    (row,) = rated(spark, [*shown, *bought, other], [shown[0]])

    assert row["n_rate_buy_user_id_1"] == 1.0
