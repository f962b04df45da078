"""The values an entity met last: against a plain computation, and from a state as from its days."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from features.batch import calendar
from features.counts import daily_counts
from features.encode import encode
from features.history import as_history, summed
from features.rates import add_rates
from features.spec.layout import layout_of
from features.spec.load import parse_spec

pytestmark = [pytest.mark.spark, pytest.mark.slow]

TODAY = date(2026, 3, 10)
SHOP = parse_spec(
    """
product: shop
sources: {log: {path: "log.csv", time: {column: at}}}
impression: {source: log, key: [user_id, at]}
scenarios: {column: place, values: {feed: feed}}
tasks: {click: {label: clicked = 1}}
features:
  ids: [item_id]
  sequences:
    - {of: item_id, by: user_id, last: 3}
    - {of: item_id, by: user_id, last: 2, task: click}
    - {of: place, by: [user_id, item_id], last: 5}
""",
    "shop.yaml",
)
SEEN, CLICKED, PLACES = (
    "m_last_3_item_id_user_id",
    "m_last_2_click_item_id_user_id",
    "m_last_5_place_user_id_item_id",
)
FACTS = (
    "ds string, user_id string, item_id string, place string, event_time timestamp, "
    "impression int, n_click int"
)


@dataclass(frozen=True)
class Fact:
    back: int
    minute: int
    user: str
    item: str
    place: str = "feed"
    impression: int = 1
    click: int = 0

    @property
    def day(self) -> date:
        return TODAY - timedelta(days=self.back)

    @property
    def at(self) -> datetime:
        midnight = datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)
        return midnight + timedelta(minutes=self.minute)

    @property
    def row(self) -> tuple[object, ...]:
        came = (self.at, self.impression, self.click)
        return (self.day.isoformat(), self.user, self.item, self.place, *came)


def counts_of(spark: SparkSession, facts: list[Fact]) -> DataFrame:
    return daily_counts(spark.createDataFrame([fact.row for fact in facts], FACTS), SHOP)


def sampled(
    spark: SparkSession, history: DataFrame, asked: list[tuple[str, str]]
) -> list[dict[str, list[str] | None]]:
    rows = [(str(TODAY), str(n), user, item, "feed") for n, (user, item) in enumerate(asked)]
    kinds = "_for string, sample_id string, user_id string, item_id string, place string"
    frame = spark.createDataFrame(rows, kinds)
    found = add_rates(frame, history, SHOP, calendar(spark, SHOP, {TODAY: TODAY})).collect()
    ordered = sorted(found, key=lambda row: int(row["sample_id"]))
    return [{name: row[name] for name in (SEEN, CLICKED, PLACES)} for row in ordered]


def latest_first(
    facts: list[Fact], of: str, last: int, *, clicked: bool = False
) -> list[str] | None:
    """Return the different values, the last shown first, by the words of the definition."""
    shown = {
        value: max((f.at for f in facts if getattr(f, of) == value and f.impression), default=None)
        for value in {getattr(f, of) for f in facts}
    }
    wanted = {
        value
        for value in shown
        if any(getattr(f, of) == value and (f.click if clicked else f.impression) for f in facts)
    }
    never = datetime.min.replace(tzinfo=UTC)
    ordered = sorted(sorted(wanted), key=lambda value: shown[value] or never, reverse=True)
    return ordered[:last] or None


def random_facts(seed: int, count: int) -> list[Fact]:
    random = np.random.default_rng(seed)
    return [
        Fact(
            back=int(random.choice([1, 2, 5, 9])),
            minute=int(random.integers(0, 40)),
            user=f"u{random.integers(60)}",
            item=f"i{random.integers(7)}",
            place=str(random.choice(["feed", "search"])),
            impression=int(random.random() < 0.8),
            click=int(random.random() < 0.3),
        )
        for _ in range(count)
    ]


def test_a_sequence_equals_its_definition_over_the_raw_facts(spark: SparkSession) -> None:
    facts = random_facts(1, 1500)
    asked = [(f"u{user}", f"i{item}") for user in range(62) for item in range(4)]

    found = sampled(spark, as_history(counts_of(spark, facts)), asked)

    for (user, item), row in zip(asked, found, strict=True):
        mine = [fact for fact in facts if fact.user == user]
        both = [fact for fact in mine if fact.item == item]
        assert row[SEEN] == latest_first(mine, "item", 3), (user, item)
        assert row[CLICKED] == latest_first(mine, "item", 2, clicked=True), (user, item)
        assert row[PLACES] == latest_first(both, "place", 5), (user, item)


def test_a_state_gives_the_same_sequences_as_the_days_it_sums_up(spark: SparkSession) -> None:
    facts = random_facts(2, 600)
    asked = [(f"u{user}", "i1") for user in range(60)]
    counts = counts_of(spark, facts)
    since = TODAY - timedelta(days=4)
    state = summed(as_history(counts.where(f"ds <= '{since}'")), since)
    later = counts.where(f"ds > '{since}'")

    assert sampled(spark, as_history(later, state, since), asked) == sampled(
        spark, as_history(counts), asked
    )


def test_what_is_shown_on_the_samples_day_is_in_no_sequence(spark: SparkSession) -> None:
    facts = [Fact(1, 0, "u1", "old"), Fact(0, 0, "u1", "new"), Fact(-1, 0, "u1", "newer")]

    (row,) = sampled(spark, as_history(counts_of(spark, facts)), [("u1", "old")])

    assert row[SEEN] == ["old"]


def test_an_item_clicked_a_day_after_it_was_shown_stands_where_it_was_shown(
    spark: SparkSession,
) -> None:
    facts = [
        Fact(3, 0, "u1", "late", click=0),
        Fact(2, 0, "u1", "other", click=1),
        Fact(1, 0, "u1", "late", impression=0, click=1),
    ]

    (row,) = sampled(spark, as_history(counts_of(spark, facts)), [("u1", "late")])

    assert row[CLICKED] == ["other", "late"]


def test_an_encoded_sequence_keeps_its_order_and_reads_the_vocabulary_of_its_column(
    spark: SparkSession,
) -> None:
    listed = {column.name: column for column in layout_of(SHOP).columns}
    assert listed[SEEN].borrows == "c_item_id"
    assert listed[PLACES].borrows is None
    words = [("c_item_id", "i1", 1, "x"), ("c_item_id", "i2", 2, "x"), (PLACES, "feed", 1, "x")]
    kinds = "feature string, token string, index int, ds string"
    vocabulary = spark.createDataFrame(words, kinds)
    arrays = f"{SEEN} array<string>, {CLICKED} array<string>, {PLACES} array<string>"
    columns = "ds string, sample_id string, scenario string, user string, label_click boolean"
    samples = spark.createDataFrame(
        [
            ("d", "1", "feed", "u", True, "i1", ["i2", "new", "i1"], ["i1", "i2"], ["feed"]),
            ("d", "2", "feed", "u", True, "i1", None, ["new"], ["search"]),
        ],
        f"{columns}, c_item_id string, {arrays}",
    )

    one, two = sorted(
        encode(samples, vocabulary, SHOP).collect(), key=lambda r: str(r["sample_id"])
    )

    assert (one[SEEN], one[CLICKED], one[PLACES]) == ([2, 1], [1, 2], [1])
    assert (two[SEEN], two[CLICKED], two[PLACES]) == ([], [], [])
