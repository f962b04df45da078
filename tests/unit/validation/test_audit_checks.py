"""What the audit expects of a day's measures, without Spark."""

from typing import Any

import pytest

from features.spec.load import parse_spec
from validation.audit.bands import Past
from validation.audit.checks import Check, checks_of
from validation.stability import stability

SHOP = """
product: shop
sources: {log: {path: "log.csv", time: {column: at}}}
impression: {source: log, key: [user_id, at]}
scenarios: {column: place, values: {feed: feed, live: live}, optional: [live]}
tasks: {click: {label: clicked = 1}}
features:
  categories: [device]
  numbers: [price]
  rates: [{of: click, by: [user_id]}]
"""
SPEC = parse_spec(SHOP, "shop.yaml")
COLUMNS = ("c_device", "n_price", "n_count_user_id_all", "n_rate_click_user_id_all")


def measures(**changed: Any) -> dict[str, Any]:
    return {
        "schema": [],
        "rows": 1000,
        "duplicates": {"rows": 0, "example": None},
        "scenarios": {"feed": 1000},
        "cells": {"feed/click": {"known": 1000, "positives": 120}},
        "maturity": {"click": 0},
        "nulls": dict.fromkeys(COLUMNS, 0.05),
        "range": dict.fromkeys(COLUMNS[1:], 0),
        "tokens": {"c_device": {"phone": 0.7, "desk": 0.3}},
        **changed,
    }


def failed(today: dict[str, Any], history: list[dict[str, Any]]) -> dict[str, str]:
    return {
        f"{check.check} {check.subject}": check.broken
        for check in checks_of(SPEC, today, Past(recent=history, alike=history))
        if not within(check)
    }


def within(check: Check) -> bool:
    low = check.low is None or check.value >= check.low
    return low and (check.high is None or check.value <= check.high)


HISTORY = [measures(), measures(), measures(rows=1100)]

BROKEN = {
    "key-unique sample_id": (
        {"duplicates": {"rows": 2, "example": "u1:5"}},
        "2 rows repeat a sample_id, such as u1:5",
    ),
    "volume samples": (
        {"rows": 400},
        "400 samples are outside ±50% of the last 3 days' median of 1000",
    ),
    "volume feed": (
        {"scenarios": {"live": 1000}},
        "scenario feed has no sample; declare it in scenarios.optional if that may be",
    ),
    "label-rate feed/click": (
        {"cells": {"feed/click": {"known": 1000, "positives": 310}}},
        "click in feed is 0.3100, the last 3 days 0.1200 (limit ±0.0356)",
    ),
    "null-rate n_price": (
        {"nulls": {**dict.fromkeys(COLUMNS, 0.05), "n_price": 0.4}},
        "40.0% of n_price is null, the last 3 days 5.0% (limit 15.0%)",
    ),
    "feature-range n_rate_click_user_id_all": (
        {"range": {**dict.fromkeys(COLUMNS[1:], 0), "n_rate_click_user_id_all": 3}},
        "3 rows have a n_rate_click_user_id_all that is not in [0, 1]",
    ),
    "maturity click": (
        {"maturity": {"click": 9}},
        "9 rows have a click label before its window closed, or none after",
    ),
    "category-drift c_device": (
        {"tokens": {"c_device": {"phone": 0.2, "watch": 0.45, "desk": 0.35}}},
        "c_device has a stability index of 3.38 (limit 0.26); 'phone' went from 70.0% to 20.0%",
    ),
}


def test_a_day_like_those_before_passes_every_check() -> None:
    assert failed(measures(), HISTORY) == {}


@pytest.mark.parametrize("check", BROKEN)
def test_a_broken_day_fails_its_check_alone_and_says_why(check: str) -> None:
    changed, sentence = BROKEN[check]

    found = failed(measures(**changed), HISTORY)

    assert found == {check: sentence}


def test_a_day_without_history_is_judged_by_itself_alone() -> None:
    today = measures(rows=5, cells={"feed/click": {"known": 5, "positives": 5}})

    assert failed(today, []) == {}
    names = {check.check for check in checks_of(SPEC, today, Past(recent=[], alike=[]))}
    assert names == {"schema", "key-unique", "volume", "feature-range", "maturity"}


def test_a_broken_schema_is_the_only_finding() -> None:
    today = {"schema": ["column n_price is missing"], "rows": 3}

    assert failed(today, HISTORY) == {"schema samples": "column n_price is missing"}


def test_a_cell_of_few_rows_may_differ_by_chance() -> None:
    few = {"feed/click": {"known": 10, "positives": 3}}

    assert failed(measures(cells=few), HISTORY) == {}


def test_a_cell_without_known_labels_is_not_judged() -> None:
    immature = {"feed/click": {"known": 0, "positives": 0}}

    assert failed(measures(cells=immature), HISTORY) == {}
    assert failed(measures(), [measures(cells=immature)]) == {}


def test_a_feature_that_is_new_in_the_spec_has_no_history_to_compare_with() -> None:
    before = measures(nulls={}, tokens={}, cells={})

    assert failed(measures(nulls=dict.fromkeys(COLUMNS, 1.0)), [before]) == {}


def test_equal_shares_have_a_stability_index_of_zero() -> None:
    assert stability({"a": 0.25, "b": 0.5}, {"b": 0.5, "a": 0.25}) == 0.0
