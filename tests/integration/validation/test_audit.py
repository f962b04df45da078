"""The audit of literal staged frames: verdict, findings, measures and pages."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.spec import Spec
from features.spec.load import parse_spec
from validation import suite
from validation.audit.measure import Measures, expected_types
from validation.suite import AuditResult

pytestmark = [pytest.mark.spark, pytest.mark.slow]

DAY = date(2026, 3, 9)
SPEC = parse_spec(
    """
product: shop
sources:
  log: {path: "log.csv", time: {column: at}}
  buys: {path: "buys.csv", time: {column: at}}
impression: {source: log, key: [user_id, at]}
scenarios: {column: place, values: {feed: feed, live: live}}
tasks:
  click: {label: clicked = 1}
  buy: {source: buys, on: user_id, window: 1d, scenarios: [feed]}
features:
  categories: [device, {column: tags, multi: true}]
  numbers: [price]
  rates: [{of: click, by: [user_id]}]
  recency: [user_id]
""",
    "shop.yaml",
)
SCHEMA = ", ".join(f"{name} {kind}" for name, kind in expected_types(SPEC).items())
SPECIMEN: dict[str, Any] = {
    "ds": "2026-03-09",
    "sample_id": None,
    "scenario": "feed",
    "user": "u1",
    "event_time": datetime(2026, 3, 9, 12, tzinfo=UTC),
    "label_click": True,
    "mature_click": True,
    "time_click": None,
    "label_buy": None,
    "mature_buy": False,
    "time_buy": None,
    "c_device": "phone",
    "m_tags": ["a"],
    "n_price": 2.5,
    "n_count_user_id_all": 3.0,
    "n_rate_click_user_id_all": 0.5,
    "n_recency_user_id": 0.5,
    "source_file": "log.csv",
    "as_of": "2026-03-09",
}


def staged(spark: SparkSession, *changes: dict[str, Any]) -> DataFrame:
    """Twenty good rows of both scenarios; the first ones changed."""
    rows = []
    for number in range(20):
        row = {**SPECIMEN, "sample_id": f"s{number}", "label_click": number % 4 < 2}
        row |= {"scenario": "live"} if number % 2 else {}
        row |= changes[number] if number < len(changes) else {}
        rows.append(tuple(row.values()))
    return spark.createDataFrame(rows, SCHEMA)


def audit(
    frame: DataFrame, spec: Spec, day: date, history: list[Measures], docs: Path
) -> AuditResult:
    """Audit one day; the days of ``history`` are those right before it."""
    before = {(day - timedelta(days=n)).isoformat(): one for n, one in enumerate(history, 1)}
    return suite.audit(frame.withColumn("ds", F.lit(str(day))), spec, [day], before, docs)[day]


@pytest.fixture(scope="module")
def good(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    return audit(staged(spark), SPEC, DAY, [], tmp_path_factory.mktemp("docs"))


def test_a_good_first_day_passes_with_measures_that_can_be_kept(good: AuditResult) -> None:
    assert good.passed
    assert good.findings == ()
    kept = json.loads(json.dumps(good.measures))
    assert kept["rows"] == 20
    assert kept["scenarios"] == {"feed": 10, "live": 10}
    assert kept["cells"] == {
        "feed/click": {"known": 10, "positives": 5},
        "feed/buy": {"known": 0, "positives": 0},
        "live/click": {"known": 10, "positives": 5},
    }
    assert kept["nulls"]["n_price"] == 0
    assert kept["tokens"] == {"c_device": {"phone": 1.0}, "m_tags": {"a": 1.0}}


def test_days_audited_together_are_judged_each_by_itself_and_by_those_before(
    spark: SparkSession, tmp_path: Path
) -> None:
    before, day = DAY - timedelta(days=1), DAY
    few = staged(spark, {"sample_id": "s5"}).withColumn("ds", F.lit(str(day))).limit(8)
    watches = staged(spark, *[{"c_device": "watch"}] * 15).withColumn("ds", F.lit(str(before)))

    found = suite.audit(watches.unionByName(few), SPEC, [before, day], {}, tmp_path)

    assert found[before].passed
    assert found[before].measures["tokens"]["c_device"] == {"watch": 0.75, "phone": 0.25}
    assert [(one.check, one.subject) for one in found[day].findings] == [
        ("key-unique", "sample_id"),
        ("volume", "samples"),
        ("category-drift", "c_device"),
    ]
    alone = audit(few, SPEC, day, [found[before].measures], tmp_path)
    assert alone == found[day]


BROKEN: dict[str, tuple[list[dict[str, Any]], set[str]]] = {
    "repeated ids": ([{"sample_id": "s5"}], {"key-unique sample_id"}),
    "an empty scenario": (
        [{"scenario": "feed"}] * 20,
        {"volume live"},
    ),
    "rates, counts, ages and numbers out of range": (
        [
            {"n_rate_click_user_id_all": 1.2},
            {"n_count_user_id_all": -1.0},
            {"n_recency_user_id": -0.1},
            {"n_price": float("nan")},
        ],
        {
            "feature-range n_rate_click_user_id_all",
            "feature-range n_count_user_id_all",
            "feature-range n_recency_user_id",
            "feature-range n_price",
        },
    ),
    "an open window's label that is known": (
        [{"label_buy": False, "mature_buy": True}],
        {"maturity buy"},
    ),
    "a closed window's label that is not": ([{"label_click": None}], {"maturity click"}),
    "a label the scenario has not": ([{}, {"label_buy": True}], {"maturity buy"}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_day_that_breaks_a_rule_is_stopped_with_its_finding(
    spark: SparkSession, tmp_path: Path, case: str
) -> None:
    changes, expected = BROKEN[case]

    found = audit(staged(spark, *changes), SPEC, DAY, [], tmp_path)

    assert not found.passed
    assert {f"{one.check} {one.subject}" for one in found.findings} == expected


def test_a_window_that_closed_by_the_day_of_building_wants_its_label(
    spark: SparkSession, tmp_path: Path
) -> None:
    rebuilt = staged(spark).withColumn("as_of", F.lit("2026-03-10"))

    found = audit(rebuilt, SPEC, DAY, [], tmp_path)

    assert [one.message for one in found.findings] == [
        "10 rows have a buy label before its window closed, or none after"
    ]


def test_columns_other_than_the_spec_s_stop_the_day(spark: SparkSession, tmp_path: Path) -> None:
    wrong = staged(spark).drop("n_price").withColumn("c_device", F.lit(1))

    found = audit(wrong, SPEC, DAY, [], tmp_path)

    assert not found.passed
    assert [one.message for one in found.findings] == [
        "column n_price is missing; column c_device is int instead of string"
    ]


def test_a_day_unlike_those_before_is_stopped_or_warned_about(
    spark: SparkSession, good: AuditResult, tmp_path: Path
) -> None:
    before = [{**good.measures, "rows": 80}] * 3
    changed = [{"c_device": "watch", "n_price": None}] * 20

    found = audit(staged(spark, *changed), SPEC, DAY, before, tmp_path)

    assert [(one.severity, one.check, one.subject) for one in found.findings] == [
        ("stop", "volume", "samples"),
        ("warn", "category-drift", "c_device"),
        ("warn", "null-rate", "n_price"),
    ]
    assert not found.passed


def test_the_pages_tell_of_every_day_and_a_day_judged_again_replaces_its_page(
    spark: SparkSession, good: AuditResult, tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    frame = staged(spark, {"n_price": float("nan")})

    first = audit(frame, SPEC, date(2026, 3, 8), [good.measures], docs)
    second = audit(frame, SPEC, DAY, [good.measures], docs)
    again = audit(staged(spark), SPEC, DAY, [good.measures], docs)

    assert first.docs != second.docs == again.docs
    assert first.docs.is_relative_to(docs)
    page = first.docs.read_text(encoding="utf-8")
    assert "Every n_price is finite or null" in page
    index = (docs / "index.html").read_text(encoding="utf-8")
    assert [index.count(f">{day}<") > 0 for day in ("2026-03-08", "2026-03-09")] == [True, True]
    assert len(list(docs.glob("validations/**/*.html"))) == 2
    assert page.count("://") == index.count("://") == 0, "a page loads something from elsewhere"
