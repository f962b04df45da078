"""Attribution and maturity on hundreds of generated streams, against their literal definition.

Each world is a day of its own (``_for``), so all go through one plan; see ``tests.worlds``. Times
are drawn around the edges of windows and around changes of clocks, for that is where mistakes live.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

from features.days import end_of
from features.labels import attribute_all, came, label_columns, outcomes_of
from features.spec.load import parse_spec
from tests.worlds import draw, hold

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

SPEC = parse_spec(
    """
product: shop
timezone: Europe/Berlin
sources:
  views: {path: "v/{ds}.csv", time: {column: at}}
  sales: {path: "s/{ds}.csv", time: {column: at}}
impression: {source: views, key: view_id}
scenarios: {column: place, values: {feed: feed, deals: deals}}
tasks:
  like: {label: liked = 1, scenarios: [feed]}
  sale: {source: sales, on: [user, item], window: 26h}
  visit: {source: sales, on: user, window: 1h, scenarios: [deals]}
features: {categories: [place]}
""",
    "shop.yaml",
)
WINDOWS = {"sale": timedelta(hours=26), "visit": timedelta(hours=1)}
ON = {"sale": ("user", "item"), "visit": ("user",)}

READ = ("_day", "_arrived", "_broken", "_refused")
INSTANT = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EDGES = [timedelta(0), *WINDOWS.values(), 2 * WINDOWS["visit"]]
STARTS = [
    datetime(2026, 1, 5, 12, tzinfo=UTC),
    datetime(2026, 3, 28, 22, 30, tzinfo=UTC),  # the 29th has 23 hours
    datetime(2026, 10, 25, 0, 30, tzinfo=UTC),  # half past two in Berlin, and again an hour later
]

times = st.builds(
    lambda edge, sign, shift: sign * edge + shift * INSTANT,
    st.sampled_from(EDGES),
    st.sampled_from([1, 1, 1, -1]),
    st.sampled_from([0, 0, -1, 1]),
)
users, items = st.sampled_from([*"uuuuuv", None]), st.sampled_from([*"iiiiij", None])


@dataclass(frozen=True)
class Event:
    """An impression or an outcome: how long after the world's start, and whose."""

    after: timedelta
    user: str | None
    item: str | None

    def key(self, task: str) -> tuple[str | None, ...] | None:
        key = tuple(getattr(self, column) for column in ON[task])
        return None if None in key else key


@dataclass(frozen=True)
class World:
    start: datetime
    until: date
    """The last day whose arrivals count."""
    seen: tuple[tuple[Event, str, bool | None], ...]
    """Impressions, their scenario and whether the row says ``like``; their place is their id."""
    happened: dict[str, tuple[Event, ...]]
    """Task → its outcomes."""

    def firsts(self, task: str) -> dict[int, datetime | None]:
        """Give each outcome to the latest impression of its key, if within the window."""
        given: dict[int, list[datetime]] = {number: [] for number in range(len(self.seen))}
        for outcome in self.happened[task]:
            before = [
                (event.after, number)
                for number, (event, *_) in enumerate(self.seen)
                if event.key(task) and event.key(task) == outcome.key(task)
                if event.after <= outcome.after
            ]
            if before:
                after, number = max(before)
                if outcome.after - after < WINDOWS[task]:
                    given[number].append(self.start + outcome.after)
        return {number: min(times, default=None) for number, times in given.items()}

    def labels(self, task: str) -> dict[int, tuple[bool | None, bool, datetime | None]]:
        """Label, maturity and time of each impression, from the words of the documentation."""
        return {
            number: self._label(task, number, first) for number, first in self.firsts(task).items()
        }

    def _label(
        self, task: str, number: int, first: datetime | None
    ) -> tuple[bool | None, bool, datetime | None]:
        event, scenario, _ = self.seen[number]
        limited = SPEC.tasks[task].scenarios
        closes = self.start + event.after + WINDOWS[task]
        mature = closes <= end_of(self.until, SPEC.timezone)
        if not mature or (limited and scenario not in limited):
            return None, False, None
        return first is not None, True, first

    def likes(self) -> dict[int, tuple[bool | None, bool, datetime | None]]:
        return {
            number: (None, False, None)
            if says is None or scenario != "feed"
            else (says, True, self.start + event.after if says else None)
            for number, (event, scenario, says) in enumerate(self.seen)
        }


events = st.builds(Event, times, users, items)
outcomes = st.lists(events, min_size=1, max_size=5).map(tuple)
worlds = st.builds(
    lambda start, days, seen, sales, visits: World(
        start, start.date() + timedelta(days=days), tuple(seen), {"sale": sales, "visit": visits}
    ),
    st.sampled_from(STARTS),
    st.integers(0, 3),
    st.lists(
        st.tuples(events, st.sampled_from(["feed", "deals"]), st.sampled_from([True, False, None])),
        min_size=1,
        max_size=5,
    ),
    outcomes,
    outcomes,
)


def labelled(spark: "SparkSession", drawn: list[World]) -> dict[int, list[dict[str, Any]]]:
    """Return world → the labels of its impressions, as Spark finds them in one go."""
    seen = [
        (
            *(str(number), str(world.until), str(world.start.date()), str(place), scenario, says),
            *(world.start + event.after, event.user, event.item),
        )
        for number, world in enumerate(drawn)
        for place, (event, scenario, says) in enumerate(world.seen)
    ]
    impressions = spark.createDataFrame(
        seen,
        "_for string, _until string, _day string, _id string, _scenario string, "
        "_said_like boolean, _time timestamp, _on_user string, _on_item string",
    )
    happened = {}
    for task in WINDOWS:
        events = spark.createDataFrame(
            [
                (str(number), event.user, event.item, world.start + event.after)
                for number, world in enumerate(drawn)
                for event in world.happened[task]
            ],
            "_for string, user string, item string, _time timestamp",
        )
        read = events.selectExpr("*", *(f"cast(null AS string) {name}" for name in READ))
        one = {task: SPEC.tasks[task]}
        happened[task] = outcomes_of(came(read, "sales", one), task, one[task])
    found = attribute_all(impressions.repartition(3), happened, SPEC)
    by_world = defaultdict(list)
    micros = [f"unix_micros(time_{task}) AS at_{task}" for task in SPEC.tasks]
    for row in found.select("_for", "_id", *label_columns(SPEC)).selectExpr("*", *micros).collect():
        by_world[int(row["_for"])].append(row.asDict())
    return by_world


def test_labels_equal_their_literal_definition(spark: "SparkSession") -> None:
    drawn = draw(worlds)
    found = labelled(spark, drawn)

    def equal(number: int, world: World) -> None:
        rows = {int(row["_id"]): row for row in found[number]}
        assert len(found[number]) == len(rows) == len(world.seen), (
            "one row an impression, as before"
        )
        wanted = {"like": world.likes(), **{task: world.labels(task) for task in WINDOWS}}
        for task, labels in wanted.items():
            for place, (label, mature, time) in labels.items():
                row = rows[place]
                at = None if time is None else round((time - EPOCH) / INSTANT)
                got = (row[f"label_{task}"], row[f"mature_{task}"], row[f"at_{task}"])
                assert got == (label, mature, at), (task, place, time)

    hold(drawn, equal)
    labels = [label for world in drawn for label, *_ in world.labels("sale").values()]
    assert all(labels.count(value) > len(drawn) / 4 for value in (True, False, None)), (
        "of each kind"
    )
