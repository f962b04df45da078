"""Rates, counts and recencies against a plain computation over the raw facts."""

import math
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from features.batch import calendar
from features.counts import daily_counts
from features.history import as_history
from features.rates import add_rates
from features.spec.load import parse_spec

pytestmark = [pytest.mark.spark, pytest.mark.slow]

TODAY = date(2026, 3, 10)
PRIOR = 4.0
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
    - {of: [click, buy], by: [user_id, items.tags], days: [1, 3, all], prior: 4}
    - {of: click, by: [[user_id, items.tags], [place, user_id]], days: all, prior: 4}
  recency: [user_id, items.tags, place]
  distinct:
    - {of: items.tags, by: [user_id, place], days: [1, all]}
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
    ("items_tags", "user_id", (1, "all")),
    ("items_tags", "place", (1, "all")),
    ("place", "items_tags", (3,)),
    ("place", "user_id_items_tags", (3,)),
)


@dataclass(frozen=True)
class Fact:
    """A fact of a day before today: days back, hour, who, where, what, and what came of it."""

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

    def keys(self, entity: tuple[str, ...]) -> set[tuple[str, ...]]:
        keys: set[tuple[str, ...]] = {()}
        for column in entity:
            value = getattr(self, column)
            values = set(value or ()) if column == "items_tags" else {value} - {None}
            keys = {(*key, each) for key in keys for each in values}
        return keys


facts = st.builds(
    Fact,
    back=st.sampled_from([1, 3, 4]),
    hour=st.integers(0, 23),
    user_id=st.sampled_from(["u1", "u2", "u3", None]),
    place=st.sampled_from(["feed", "search"]),
    items_tags=st.none() | st.lists(st.sampled_from("abc"), max_size=3).map(tuple),
    impression=st.integers(0, 1),
    n_click=st.integers(0, 1),
    n_buy=st.integers(0, 1),
)


def counts_of(spark: SparkSession, happened: list[Fact]) -> DataFrame:
    rows = [(fact.day.isoformat(), *fact.row) for fact in happened]
    return as_history(daily_counts(spark.createDataFrame(rows, FACTS), SHOP))


def rated(
    spark: SparkSession, happened: list[Fact], samples: list[Fact], *days: date
) -> list[dict[str, float | None]]:
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


def plain(happened: list[Fact], sample: Fact) -> dict[str, float | None]:
    """The features of one sample, from the words of the documentation."""
    found: dict[str, float | None] = {}
    for name in ("user_id", "items_tags", "user_id_items_tags", "place_user_id"):
        entity = ENTITIES[name]
        windows = (1, 3, "all") if len(entity) == 1 else ("all",)
        for days in windows:
            seen = [fact for fact in happened if days == "all" or fact.back <= days]
            of_key = {
                key: [fact for fact in seen if key in fact.keys(entity)]
                for key in sample.keys(entity)
            }
            sizes = [sum(fact.impression for fact in of) for of in of_key.values()]
            found[f"n_count_{name}_{days}"] = sum(sizes) / len(sizes) if sizes else 0.0
            for task in ("click", "buy") if len(entity) == 1 else ("click",):
                rates = [rate(of, seen, task) for of in of_key.values()]
                known = [value for value in rates if value is not None]
                mean = sum(known) / len(known) if known else None
                found[f"n_rate_{task}_{name}_{days}"] = mean
    for name in ("user_id", "items_tags", "place"):
        of = [f for f in happened if f.impression and f.keys((name,)) & sample.keys((name,))]
        start = datetime(2026, 3, 9, 15, tzinfo=UTC)
        ages = [(start - fact.at) / timedelta(days=1) for fact in of]
        found[f"n_recency_{name}"] = min(ages, default=None)
    for of, name, windows in DISTINCT:
        entity = ENTITIES[name]
        for days in windows:
            seen = [f for f in happened if f.impression and (days == "all" or f.back <= days)]
            met = [
                {value for f in seen if key in f.keys(entity) for value in f.keys((of,))}
                for key in sample.keys(entity)
            ]
            found[f"n_distinct_{of}_{name}_{days}"] = sum(map(len, met)) / len(met) if met else 0.0
    return found


def rate(of: list[Fact], seen: list[Fact], task: str) -> float | None:
    n, positives = (sum(getattr(f, c) for f in of) for c in ("impression", f"n_{task}"))
    n_all, all_ = (sum(getattr(f, c) for f in seen) for c in ("impression", f"n_{task}"))
    if not n_all or not (n or positives):
        return None
    return min((positives + PRIOR * all_ / n_all) / (n + PRIOR), 1.0)


# Examples are large and few, and are not made smaller on failure: each starts Spark jobs.
@settings(max_examples=3, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(
    happened=st.lists(facts, min_size=40, max_size=120),
    samples=st.lists(facts, min_size=10, max_size=30),
)
def test_features_of_two_days_equal_a_plain_computation_over_the_raw_facts(
    spark: SparkSession, happened: list[Fact], samples: list[Fact]
) -> None:
    before = [replace(fact, back=fact.back - 2) for fact in happened if fact.back > 2]
    expected = [plain(before, sample) for sample in samples]
    expected += [plain(happened, sample) for sample in samples]

    found = rated(spark, happened, samples, TODAY - timedelta(days=2), TODAY)

    for row, values in zip(found, expected, strict=True):
        for name, value in values.items():
            got = row[name]
            same = got == value or (got and value and math.isclose(got, value, rel_tol=1e-9))
            assert same, (name, row, value)


def test_what_happens_on_the_samples_day_or_later_changes_nothing(spark: SparkSession) -> None:
    before = Fact(1, 12, "u1", "feed", ("a",), 1, 1, 0)
    on_the_day = replace(before, back=0, hour=0, n_click=0, n_buy=1)
    later = replace(on_the_day, back=-1)

    assert rated(spark, [before, on_the_day, later], [before]) == rated(spark, [before], [before])


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
