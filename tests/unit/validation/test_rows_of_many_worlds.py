"""Row rules on hundreds of generated days, against the words of their documentation.

Each world is a day that is built (``_for``), for days have nothing to do with each other: all of
them go through one plan. See ``tests.worlds``.
"""

from collections import Counter, defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

from features.samples import identify
from features.sources import FITS, fits
from features.spec.load import parse_spec
from features.spec.model import Spec
from tests.worlds import draw, hold
from validation.rows import check, kept, quarantine

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

NOON = 1767614400000  # 2026-01-05 12:00 UTC
TEXT = """
product: shop
sources: {views: SOURCE}
impression: {source: views, key: [view_id, shop], user: user_id}
scenarios: {column: place, values: {feed: [1, 2], deals: deals}, other: OTHER}
tasks: {click: {label: clicked = 1}}
features: {numbers: [price]}
rules: [{id: no-device, reject: device IS NULL}]
"""
DAILY = '{path: "v/{ds}.csv", time: {column: at}, late: 1d}'
DECLARED = "{path: v.csv, time: {column: at}, day: {column: day}}"
RAW = ("view_id", "shop", "user_id", "place", "price", "device", "at")
READ = ("_day", "_arrived", "_file", "_broken", "_for", "_until")
ABSENT = ("_row", "_refused", "_was")
SCHEMA = ", ".join(f"{name} string" for name in (*RAW, *READ))
DOUBLED = ("duplicate-row", "duplicate-key")

Row = dict[str, Any]

rows = st.fixed_dictionaries(
    {
        "view_id": st.sampled_from(["a", "a", "b", "", None]),
        "shop": st.sampled_from(["s", "s", "s", "t", None]),
        "user_id": st.sampled_from(["u", "u", "u", "", None]),
        "place": st.sampled_from(["1", "2.0", "deals", "moon", None]),
        "price": st.sampled_from(["1", "-1e3", " ", "cheap", "NaN", None]),
        "device": st.sampled_from(["phone", "phone", "phone", None]),
        "at": st.sampled_from([str(NOON), str(NOON + 1), "noon", "-5", None]),
        "_day": st.sampled_from([0, 0, 0, 0, -1, -2, 1, None]),
        "_arrived": st.sampled_from([0, 0, 1]),
        "_file": st.sampled_from(["one.csv", "two.csv"]),
        "_broken": st.sampled_from([None, None, None, None, "a,s"]),
    }
)


@st.composite
def days(draw_: st.DrawFn) -> list[Row]:
    """A day's rows, some of them again: as they were, or with one cell changed."""
    events = draw_(st.lists(rows, min_size=1, max_size=4))
    again = draw_(st.lists(st.sampled_from(events), max_size=4))
    changes = st.sampled_from(
        [{}, {"_file": "two.csv"}, {"_arrived": 1}, {"place": "2"}, {"device": None}, {"_day": -1}]
    )
    return [*events, *({**row, **draw_(changes)} for row in again)]


def checked(spark: "SparkSession", worlds: list[list[Row]], spec: Spec, parts: int) -> "DataFrame":
    """Check the rows of all worlds; those of several partitions come in another order."""
    found = [
        tuple({**row, **_dated(row, spec, number)}[name] for name in (*RAW, *READ))
        for number, world in enumerate(worlds)
        for row in world
    ]
    ordered = found if parts == 1 else found[::-1]
    frame = spark.createDataFrame(ordered, SCHEMA).repartition(parts)
    millis = "try_cast(at AS long)"
    timed = frame.selectExpr(
        "*",
        f"if({millis} >= 0, timestamp_millis({millis}), null) AS _time",
        *(f"cast(null AS string) AS {name}" for name in ABSENT),
    )
    return check(identify(timed.withColumn(FITS, fits(spec.log)), spec), spec)


def day_of(number: int, offset: int | None = 0) -> str | None:
    return None if offset is None else str(date(2026, 1, 5) + timedelta(days=10 * number + offset))


def _dated(row: Row, spec: Spec, number: int) -> Row:
    arrived = day_of(number, row["_arrived"]) if spec.log.daily else None
    own = day_of(number)
    return {"_day": day_of(number, row["_day"]), "_arrived": arrived, "_for": own, "_until": own}


def own_rules(row: Row, spec: Spec) -> list[str]:
    """The rules that a row breaks by itself, in the order they are reported."""
    dated = row["_day"] is not None
    taken = not spec.log.daily or row["_arrived"] != 0 or row["_day"] in (0, -1)
    broken = {
        "unparseable": row["_broken"] is not None,
        "null-key": not row["view_id"] or not row["shop"] or not row["user_id"],
        "no-time": row["at"] not in (str(NOON), str(NOON + 1)),
        "wrong-day": dated and not taken,
        "unknown-scenario": not scenario(row) and spec.scenarios.other == "quarantine",
        "not-a-number": row["price"] in ("cheap", "NaN"),
        "no-device": row["device"] is None,
    }
    return [rule for rule, holds in broken.items() if holds]


def scenario(row: Row) -> str | None:
    return {"1": "feed", "2": "feed", "2.0": "feed", "deals": "deals"}.get(row["place"])


def priority(row: Row, spec: Spec) -> tuple[Any, ...]:
    """Good before broken, then day, arrival, time and file; a missing one comes first."""
    day = -9 if row["_day"] is None else row["_day"]
    arrived = row["_arrived"] if spec.log.daily else 0
    time = int(row["at"]) if "no-time" not in own_rules(row, spec) else -1
    return (bool(own_rules(row, spec)), day, arrived, time, row["_file"])


def key_of(row: Row, spec: Spec) -> tuple[Any, ...] | None:
    """What may be there once: the key, on one day unless a column declares the day."""
    if not row["view_id"] or not row["shop"]:
        return None
    return (row["view_id"], row["shop"], None if spec.log.day else row["_day"])


def content(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in RAW)


def require_documented(world: list[Row], verdicts: list[tuple[Row, list[str]]], spec: Spec) -> None:
    """Compare what rows of one day were found to be with the words of the documentation."""
    assert Counter(map(identity, world)) == Counter(identity(row) for row, _ in verdicts)
    groups = defaultdict(list)
    for row, rules in verdicts:
        assert [rule for rule in rules if rule not in DOUBLED] == own_rules(row, spec)
        key = key_of(row, spec)
        if key is None:
            assert not set(rules) & set(DOUBLED), "a row without a key repeats none"
        else:
            groups[key].append((row, [rule for rule in rules if rule in DOUBLED]))
    for group in groups.values():
        firsts = [row for row, doubled in group if not doubled]
        assert len(firsts) == 1, "of rows with one key one is no repeat"
        assert priority(firsts[0], spec) == min(priority(row, spec) for row, _ in group)
        contents = {content(row) for row, _ in group}
        tally = Counter(rule for _, doubled in group for rule in doubled)
        assert tally["duplicate-key"] == len(contents) - 1
        assert tally["duplicate-row"] == len(group) - len(contents)


def identity(row: Row) -> tuple[Any, ...]:
    return (*content(row), row["_day"], row["_arrived"], row["_file"], row["_broken"])


@pytest.mark.parametrize(
    ("source", "other"),
    [(DAILY, "quarantine"), (DAILY, "history"), (DECLARED, "history")],
    ids=["daily files", "history beside scenarios", "a declared day"],
)
def test_every_row_is_accepted_history_or_refused_by_the_rules_it_broke_whatever_the_order(
    spark: "SparkSession", source: str, other: str
) -> None:
    spec = parse_spec(TEXT.replace("SOURCE", source).replace("OTHER", other), "shop.yaml")
    worlds = draw(days())
    if not spec.log.daily:
        worlds = [[{**row, "_arrived": None} for row in world] for world in worlds]
    offsets = {
        day_of(number, offset): offset
        for number in range(len(worlds))
        for offset in (-2, -1, 0, 1, None)
    }
    judged: dict[str, list[tuple[Row, list[str]]]] = defaultdict(list)
    written = []
    for parts in (1, 5):
        found = checked(spark, worlds, spec, parts).persist()
        refused = quarantine(found, "run").collect()
        written.append(sorted((row.ds, row.row, row.rules, row.source_file) for row in refused))
        if parts == 1:
            assert kept(found).count() + len(refused) == sum(map(len, worlds))
            assert all(row.rules for row in refused)
            for row in found.collect():
                cells = {name: row[name] for name in (*RAW, "_file", "_broken")}
                back = {name: offsets[row[name]] for name in ("_day", "_arrived")}
                assert row._scenario == scenario(cells)
                judged[row._for].append(({**cells, **back}, row._rules))
        found.unpersist()
    assert written[0] == written[1]
    hold(worlds, lambda n, world: require_documented(world, judged[str(day_of(n))], spec))
