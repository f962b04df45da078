"""Products of other shapes than the shipped ones, from raw files to what training reads."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from features.days import DAY
from features.errors import SourceError, SpecError
from features.lake import Lake
from features.spec import layout_of
from features.spec.load import parse_spec
from jobs import samples
from jobs.home import Home
from tests.conftest import cache
from tests.integration.jobs.conftest import FIRST, Shop, at
from training.data import Dataset, read_days

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.slow]

ROWS = 20


def shop_of(text: str, folder: Path) -> Shop:
    home = Home(root=folder, cache=cache())
    return Shop(parse_spec(text, "shop.yaml"), Lake(str(folder / "lake"), "shop"), home, folder)


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    write_lines(path, lines)


def write_json(path: Path, events: list[dict[str, Any]]) -> None:
    write_lines(path, [json.dumps(event) for event in events])


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]))


def trained_on(shop: Shop, *days: date) -> Dataset:
    """Return what the trainer reads of published days."""
    version = shop.lake.open("encoded").version()
    return read_days(shop.lake, layout_of(shop.spec), days, version)


def by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["sample_id"]: row for row in rows}


def test_one_scenario_one_task_and_one_number_are_a_product(
    spark: "SparkSession", tmp_path: Path
) -> None:
    text = """
product: shop
sources: {log: {path: log.csv, time: {column: at}}}
impression: {source: log, key: id}
scenarios: {column: place, values: {feed: feed}}
tasks: {click: {label: clicked = 1}}
features: {numbers: [price]}
"""
    shop = shop_of(text, tmp_path)
    rows: list[dict[str, object]] = [
        {"id": f"v{n}", "place": "feed", "price": n, "clicked": n % 2, "at": at(FIRST, 1, n)}
        for n in range(ROWS)
    ]
    write_csv(tmp_path / "log.csv", [*rows, {**rows[0], "id": "moon", "place": "moon"}])

    [built] = samples.run(**shop.places, first=FIRST, last=FIRST)["days"]

    assert (built["rows"], built["quarantined"]) == (ROWS, {"unknown-scenario": 1})
    read = trained_on(shop, FIRST)
    assert (read.categories.shape, read.multi, read.numbers.shape) == ((ROWS, 0), (), (ROWS, 1))
    assert set(read.scenario) == {0}
    assert read.labels[:, 0].tolist() == (read.numbers[:, 0] % 2).tolist()


COMPUTED = """
product: shop
timezone: Asia/Tokyo
sources: {log: {path: log.csv, time: {column: at}}}
impression:
  source: log
  key: id
  user: user_id
  columns: {hour: hour(local_time), length: floor(ln(seconds))}
scenarios: {column: place, values: {feed: feed}}
tasks: {click: {label: clicked = 1}}
features:
  categories: [hour]
  numbers: [length]
  facts: {share: watched / seconds, liked: likes > 0}
  rates: [{of: [click, share, liked], by: [user_id, length], prior: 1}]
  residuals: [{of: share, by: user_id, against: length, prior: 1}]
audit: {volume_tolerance: 9}
"""


def test_columns_are_computed_from_the_row_and_facts_are_known_the_day_after(
    spark: "SparkSession", tmp_path: Path
) -> None:
    shop = shop_of(COMPUTED, tmp_path)
    # Two users watch the same lengths; the second one stays for the double, and of one row nobody
    # knows for how long.
    stays = [(0, 8, 2, 1), (0, 64, 16, 0), (1, 8, 4, 0), (1, 64, 32, 0), (1, 64, "", "")]
    rows: list[dict[str, object]] = [
        {
            "id": f"{day}-{n}",
            "user_id": f"u{user}",
            "place": "feed",
            "seconds": seconds,
            "watched": watched,
            "likes": likes,
            "clicked": 1,
            "at": at(day, 15 if day == FIRST else 1, n),
        }
        for day in (FIRST, FIRST + DAY)
        for n, (user, seconds, watched, likes) in enumerate(stays)
    ]
    write_csv(tmp_path / "log.csv", rows)

    samples.run(**shop.places, first=FIRST + DAY, last=FIRST + DAY)

    # In Tokyo 15:00 UTC is midnight of the next day, so all of it is one day, without history.
    found = by_id(shop.rows("samples", FIRST + DAY))
    assert [found[row["id"]]["c_hour"] for row in rows] == ["0"] * 5 + ["10"] * 5
    assert [found[row["id"]]["n_length"] for row in rows] == [2, 4, 2, 4, 4] * 2
    assert {row["n_mean_share_user_id_all"] for row in found.values()} == {None}

    day_after = FIRST + 2 * DAY
    later = {**rows[0], "id": "later", "at": at(day_after, 1)}
    write_csv(tmp_path / "log.csv", [*rows, later])
    samples.run(**shop.places, first=day_after, last=day_after)

    [row] = shop.rows("samples", day_after)
    overall = (4 * 0.25 + 4 * 0.5) / 8
    assert row["n_mean_share_user_id_all"] == pytest.approx((4 * 0.25 + overall) / 5, abs=1e-6)
    assert row["n_mean_liked_user_id_all"] == pytest.approx((2 + 2 / 8) / 5, abs=1e-6)
    assert row["n_mean_share_length_all"] == pytest.approx(overall, abs=1e-6)
    assert row["n_residual_share_user_id_length_all"] == pytest.approx(4 * -0.125 / 5, abs=1e-6)


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        (
            "hour(local_time)",
            "hour(nowhere)",
            "shop.yaml: impression.columns.hour: 'hour(nowhere)'",
        ),
        ("hour(local_time)", "array(at)", "'array(at)' is array<string>, not a single value"),
        ("{hour:", "{place:", "impression.columns.place: the log has a column of that name"),
        ("likes > 0", "upper(place)", "facts.liked: 'upper(place)' is string; write a number or"),
        ("likes > 0", "likes >", "features.facts.liked: 'likes >': "),
    ],
)
def test_an_expression_that_cannot_be_is_answered_with_its_place(
    spark: "SparkSession", tmp_path: Path, right: str, wrong: str, sentence: str
) -> None:
    shop = shop_of(COMPUTED.replace("[hour]", "[place]").replace(right, wrong), tmp_path)
    row = {"id": "v", "user_id": "u", "place": "feed", "at": at(FIRST, 1)}
    cells = {"seconds": 2, "watched": 1, "likes": 0, "clicked": 1}
    write_csv(tmp_path / "log.csv", [{**row, **cells}])
    with pytest.raises(SpecError) as refused:
        samples.run(**shop.places, first=FIRST, last=FIRST)
    assert sentence in str(refused.value)


def test_five_tasks_of_both_kinds_have_labels_where_their_scenarios_have_them(
    spark: "SparkSession", tmp_path: Path
) -> None:
    text = """
product: shop
sources:
  views: {path: "views/{ds}.csv", time: {column: at}}
  acts: {path: "acts/{ds}.csv", time: {column: at}}
impression: {source: views, key: id, user: user_id}
scenarios: {column: place, values: {feed: feed, search: search, live: live}}
tasks:
  click: {label: clicked = 1}
  like: {label: liked = 1, scenarios: [feed, live]}
  visit: {source: acts, where: kind = 'visit', on: id, window: 1h}
  order:
    {source: acts, where: kind = 'order', on: [user_id, item_id], window: 1d, scenarios: [search]}
  follow: {source: acts, where: kind = 'follow', on: user_id, window: 2d, scenarios: [live]}
features:
  categories: [place, item_id]
  rates: [{of: [click, like, visit, order, follow], by: [user_id], days: [1, all]}]
"""
    shop = shop_of(text, tmp_path)
    places = ("feed", "search", "live")
    for day in (FIRST, FIRST + DAY):
        views: list[dict[str, object]] = [
            {
                "id": f"{day}-{n}",
                "user_id": f"u{n}",
                "item_id": f"i{n % 2}",
                "place": places[n % 3],
                "clicked": int(n % 4 == 0),
                "liked": int(n % 5 == 0),
                "at": at(day, 1, n),
            }
            for n in range(ROWS)
        ]
        acts: list[dict[str, object]] = [
            {
                **{name: view[name] for name in ("id", "user_id", "item_id")},
                "kind": kind,
                "at": when,
            }
            for view in views[:6]
            for kind, when in (
                ("visit", at(day, 1, 30)),
                ("order", at(day, 2)),
                ("follow", at(day, 3)),
            )
        ]
        write_csv(tmp_path / f"views/{day}.csv", views)
        write_csv(tmp_path / f"acts/{day}.csv", acts)

    samples.run(**shop.places, first=FIRST, last=FIRST + DAY)

    rows = shop.rows("samples", FIRST)
    assert len(rows) == ROWS
    for row in rows:
        number = int(row["sample_id"].rpartition("-")[2])
        place, followed = places[number % 3], number < 6
        wanted = {
            "click": number % 4 == 0,
            "like": number % 5 == 0 if place != "search" else None,
            "visit": followed,
            "order": followed if place == "search" else None,
            # Two days from the first at one o'clock end on the third.
            "follow": None,
        }
        assert {task: row[f"label_{task}"] for task in wanted} == wanted
        assert {task: row[f"mature_{task}"] for task in wanted} == {
            task: label is not None for task, label in wanted.items()
        }
    read = trained_on(shop, FIRST, FIRST + DAY)
    assert read.labels.shape == (2 * ROWS, 5)
    cells = {(int(k), int(m)) for k, m in zip(*np.nonzero(~np.isnan(read.labels)), strict=True)}
    present = {(int(read.scenario[row]), task) for row, task in cells}
    assert present == {(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (0, 2), (1, 2), (2, 2), (1, 3)}
    second = by_id(shop.rows("samples", FIRST + DAY))
    five = second[f"{FIRST + DAY}-5"]
    # One impression a user: 5 clicks and 6 follows in 20, and 20 more at that rate as prior.
    assert five["n_rate_click_user_id_1"] == pytest.approx((0 + 20 * 5 / 20) / 21)
    assert five["n_rate_follow_user_id_1"] == pytest.approx((1 + 20 * 6 / 20) / 21)


def test_twenty_scenarios_are_told_apart_by_expressions_of_which_the_first_that_holds_wins(
    spark: "SparkSession", tmp_path: Path
) -> None:
    tests = [f"  s{k:02}: page = {k} OR (page > 100 AND slot >= {k})" for k in range(20)]
    text = "\n".join(
        [
            "product: shop",
            "sources: {log: {path: log.csv, time: {column: at}}}",
            "impression: {source: log, key: id}",
            "scenarios:",
            " optional: [s19]",
            " expressions:",
            *tests,
            "tasks: {click: {label: clicked = 1}}",
            "features: {categories: [slot]}",
        ]
    )
    shop = shop_of(text, tmp_path)
    rows: list[dict[str, object]] = [
        {"id": f"p{k}", "page": k, "slot": 0, "clicked": k % 2, "at": at(FIRST, 1, k)}
        for k in range(19)
    ]
    rows += [
        {**rows[0], "id": "several", "page": 101, "slot": 7},
        {**rows[0], "id": "none", "page": 99, "slot": 7},
        {**rows[0], "id": "unsaid", "page": "", "slot": 7},
    ]
    write_csv(tmp_path / "log.csv", rows)

    [built] = samples.run(**shop.places, first=FIRST, last=FIRST)["days"]

    found = {name: row["scenario"] for name, row in by_id(shop.rows("samples", FIRST)).items()}
    assert found == {**{f"p{k}": f"s{k:02}" for k in range(19)}, "several": "s00"}
    assert built["quarantined"] == {"unknown-scenario": 2}
    read = trained_on(shop, FIRST)
    assert dict(zip(read.sample_id, read.scenario, strict=True)) == {
        name: int(scenario[1:]) for name, scenario in found.items()
    }


NESTED = """
product: shop
sources:
  views: {path: "views/{ds}.jsonl", time: {column: event.at, unit: iso}}
  sales: {path: "sales/{ds}.jsonl", time: {column: event.at, unit: iso}}
  goods: {path: goods.csv, key: item_id}
impression: {source: views, key: [event.id], user: user.id}
scenarios: {column: context.place, values: {feed: feed, search: 2}}
tasks:
  click: {label: payload.clicked = 1}
  sale: {source: sales, where: amount.value > 0, on: [user.id, item_id], window: 1d}
features:
  ids: [user.id]
  categories:
    - user.country
    - goods.colour
    - {column: context.tags, multi: true}
    - {column: shelf.goods.id, multi: true}
  numbers: [payload.price]
  rates: [{of: [click, sale], by: [user.id, [user.id, context.place]], days: 1}]
  recency: [user.id]
  distinct: [{of: context.tags, by: [user.id], days: all}]
rules: [{id: negative-price, reject: payload.price < 0}]
"""


def event(day: date, number: int) -> dict[str, Any]:
    """An impression, every hour, at an offset that puts it on another day of its own zone."""
    moment = datetime(day.year, day.month, day.day, 0, 1, tzinfo=UTC) + timedelta(hours=number)
    return {
        "event": {"id": f"{day}-{number}", "at": f"{moment + timedelta(hours=9):%FT%T}+09:00"},
        "user": {"id": number % 3, "country": ("jp", "de")[number % 2]},
        "item_id": f"i{number % 2}",
        "context": {"place": ("feed", "2")[number % 2], "tags": ["a", f"t{number % 4}"]},
        "shelf": [{"goods": {"id": "x"}}, {"goods": {"id": f"y{number % 2}"}}],
        "payload": {"clicked": int(number % 4 == 0), "price": number / 2},
    }


def sale(day: date, number: int, value: int) -> dict[str, Any]:
    """A sale half an hour after an impression."""
    shown = event(day, number)
    bought = datetime.fromisoformat(shown["event"]["at"]) + timedelta(minutes=30)
    return {
        "event": {"at": bought.astimezone(UTC).strftime("%FT%TZ")},
        "user": {"id": shown["user"]["id"]},
        "item_id": shown["item_id"],
        "amount": {"value": value},
    }


@pytest.fixture
def nested(spark: "SparkSession", tmp_path: Path) -> Shop:
    """Two days of nested events, not built."""
    for day in (FIRST, FIRST + DAY):
        odd = event(day, 21)
        events = [event(day, number) for number in range(ROWS)]
        wrong = [
            {**odd, "payload": {**odd["payload"], "price": -1.5}},
            {**odd, "event": {"id": None, "at": odd["event"]["at"]}},
            {**event(day, 22), "context": {"place": "moon", "tags": []}},
            events[3],
            {**events[4], "event": {**events[4]["event"], "at": f"{day}T05:00:00Z"}},
        ]
        write_json(tmp_path / f"views/{day}.jsonl", [*events, *wrong])
        write_json(tmp_path / f"sales/{day}.jsonl", [sale(day, 4, 10), sale(day, 5, 0)])
    write_lines(tmp_path / "goods.csv", ["item_id,colour", "i0,red", "i1,blue"])
    return shop_of(NESTED, tmp_path)


def test_a_spec_names_nested_fields_of_json_lines_wherever_it_names_columns(
    nested: Shop,
) -> None:
    built = samples.run(**nested.places, first=FIRST, last=FIRST + DAY)["days"]

    refused = {
        "duplicate-key": 1,
        "duplicate-row": 1,
        "negative-price": 1,
        "null-key": 1,
        "unknown-scenario": 1,
    }
    assert [(day["input"], day["rows"], day["refused"]) for day in built] == [(25, 20, 5)] * 2
    assert built[0]["quarantined"] == refused
    first, second = (by_id(nested.rows("samples", day)) for day in (FIRST, FIRST + DAY))
    row = first[f"{FIRST}-4"]
    wanted = {
        "user": "1",
        "scenario": "feed",
        "event_time": datetime(2026, 1, 1, 4, 1, tzinfo=UTC),
        "c_user_id": "1",
        "c_user_country": "jp",
        "c_goods_colour": "red",
        "m_context_tags": ["a", "t0"],
        "m_shelf_goods_id": ["x", "y0"],
        "n_payload_price": 2.0,
        "label_click": True,
        "label_sale": True,
    }
    assert {name: row[name] for name in wanted} == wanted
    assert first[f"{FIRST}-5"]["label_sale"] is False, "its sale is worth nothing"
    later = second[f"{FIRST + DAY}-4"]
    assert (later["n_count_user_id_1"], later["n_count_user_id_context_place_1"]) == (7.0, 3.0)
    assert later["n_recency_user_id"] == pytest.approx((24 - 19 - 1 / 60) / 24)
    assert later["n_distinct_context_tags_user_id_all"] == 5.0
    read = trained_on(nested, FIRST, FIRST + DAY)
    assert (len(read), read.categories.shape[1], len(read.multi)) == (2 * ROWS, 3, 2)
    assert (read.categories > 0).all(axis=0).tolist() == [True, True, True]


def test_quarantine_keeps_a_nested_row_as_it_was_delivered(nested: Shop) -> None:
    samples.run(**nested.places, first=FIRST, last=FIRST)

    refused = {tuple(row["rules"]): row for row in nested.rows("quarantine", FIRST)}
    odd = event(FIRST, 21)
    assert json.loads(refused[("negative-price",)]["row"]) == {
        **odd,
        "payload": {**odd["payload"], "price": -1.5},
    }
    assert refused[("duplicate-row",)]["sample_id"] == f"{FIRST}-3"


@pytest.mark.parametrize(
    ("right", "wrong", "error", "sentence"),
    [
        (
            "key: [event.id]",
            "key: [event.idd]",
            SourceError,
            r"'views': 2026-01-01.jsonl has no column 'event.idd', which impression needs; "
            r"its columns are .*event, event.at, event.id, item_id, .*shelf.goods.id",
        ),
        ("user.country", "usr.country", SourceError, "no column 'usr.country', which features.cat"),
        (
            "payload.clicked = 1",
            "payload.clickd = 1",
            SpecError,
            r"shop.yaml: tasks.click.label: 'payload.clickd = 1': .*clickd",
        ),
        (
            "amount.value > 0",
            "amount.valu > 0",
            SpecError,
            r"shop.yaml: tasks.sale.where: 'amount.valu > 0': .*valu",
        ),
    ],
)
def test_a_nested_field_that_is_not_there_is_named_with_its_file(
    nested: Shop, right: str, wrong: str, error: type[Exception], sentence: str
) -> None:
    shop = shop_of(NESTED.replace(right, wrong), nested.source)
    with pytest.raises(error, match=sentence) as refused:
        samples.run(**shop.places, first=FIRST, last=FIRST)
    assert "\n" not in str(refused.value)
    assert not shop.lake.exists("samples") or not shop.lake.days("samples")


def test_a_name_that_is_a_table_and_a_nested_field_is_refused(nested: Shop) -> None:
    text = NESTED.replace("goods: {", "context: {").replace("goods.colour", "context.colour")
    shop = shop_of(text, nested.source)
    sentence = "has fields inside 'context', and sources.context is a table of attributes"
    with pytest.raises(SourceError, match=sentence):
        samples.run(**shop.places, first=FIRST, last=FIRST)
