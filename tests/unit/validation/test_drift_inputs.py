"""Input drift: days that only vary say nothing, a day that is different says what moved."""

import numpy as np
import pytest

from features.spec.load import parse_spec
from validation.drift.buckets import Buckets, number_buckets, relabel, token_buckets
from validation.drift.inputs import input_drift, label_drift
from validation.drift.profile import Feature, edge, grid, profile_of, read_profile

SHOP = """
product: shop
sources: {log: {path: "log.csv", time: {column: at}}}
impression: {source: log, key: [user_id, at]}
scenarios: {column: place, values: {feed: feed, live: live}}
tasks: {click: {label: clicked = 1}}
features: {categories: [device], numbers: [price]}
"""
SPEC = parse_spec(SHOP, "shop.yaml")
NAMES = ("feed", "live")


def day(seed, n=4000, shares=(0.5, 0.3, 0.2), price=0.0, live=0.25, fresh=0, known=True):
    """Return a made-up day: a device and a price a sample; ``fresh`` devices are new that day."""
    rng = np.random.default_rng(seed)
    scenario = (rng.random(n) < live).astype(np.int64)
    device = rng.choice(len(shares), n, p=shares) + 1
    device[scenario == 1] = rng.choice(len(shares), (scenario == 1).sum(), p=shares) + 1
    device[:fresh] = 90
    cost = np.exp(rng.normal(price, 1, n)).astype(np.float32)
    cost[rng.random(n) < 0.05] = np.nan
    features = [
        Feature(
            name="c_device",
            values=device,
            scenario=scenario,
            tokens=True,
            first_new=90 if known else None,
        ),
        Feature(name="n_price", values=cost, scenario=scenario, tokens=False),
    ]
    return profile_of(features, scenario, NAMES, {})


WEEK = [day(seed) for seed in range(7)]


def found(today, before=WEEK, spec=SPEC):
    readings = input_drift(spec, today, before, {"c_device"})
    return {(one.measure, one.scenario, one.subject): one for one in readings}


def test_a_day_like_the_others_has_a_row_for_everything_and_no_finding():
    readings = found(day(99))
    assert set(readings) == {
        *(("volume", name, "") for name in NAMES),
        *(("psi", name, feature) for name in NAMES for feature in ("c_device", "n_price")),
        *(("oov", name, "c_device") for name in NAMES),
    }
    assert [one for one in readings.values() if one.severity] == []


def test_alike_days_of_a_small_scenario_rarely_cry_wolf():
    cries = 0
    for run in range(40):
        days = [day(1000 * run + seed, n=400, live=0.2) for seed in range(8)]
        cries += sum(bool(one.severity) for one in found(days[-1], days[:-1]).values())
    assert cries <= 8, "of 320 readings"


def test_a_token_that_became_frequent_is_named_with_both_shares():
    one = found(day(99, shares=(0.2, 0.3, 0.5)))["psi", "feed", "c_device"]
    assert one.severity == "warn"
    assert "c_device in feed: token " in one.text and " before, " in one.text
    assert one.value > one.limit >= 0.1


def test_numbers_that_grew_are_told_by_the_range_that_moved_most():
    one = found(day(99, price=1.0))["psi", "live", "n_price"]
    assert one.severity == "warn"
    assert "n_price in live: from " in one.text or "n_price in live: below " in one.text


def test_tokens_never_seen_before_are_counted_in_their_scenario():
    one = found(day(99, fresh=400))["oov", "feed", "c_device"]
    assert one.severity == "warn"
    assert one.value == pytest.approx(0.1, abs=0.02)
    assert one.usual == 0


def test_new_tokens_are_no_surprise_while_nobody_knows_how_many_are_usual():
    blind = [day(seed, known=False) for seed in range(7)]
    assert found(day(99, fresh=400), blind)["oov", "feed", "c_device"].severity == ""
    assert ("oov", "feed", "c_device") not in found(day(99, known=False))


def test_a_scenario_that_shrank_is_told_though_the_whole_did_not():
    readings = found(day(99, live=0.1))
    assert readings["volume", "live", ""].severity == "warn"
    assert readings["volume", "feed", ""].severity == ""


def test_a_declared_limit_stops_and_a_null_silences():
    spec = parse_spec(SHOP + "drift: {stop: {psi: 0.2}, warn: {volume: null}}\n", "shop.yaml")
    readings = found(day(99, shares=(0.1, 0.2, 0.7), live=0.1), spec=spec)
    assert readings["psi", "feed", "c_device"].severity == "stop"
    assert readings["volume", "live", ""].severity == ""
    assert readings["volume", "live", ""].limit is None


def test_nothing_is_said_of_a_first_day():
    assert input_drift(SPEC, day(1), [], {"c_device"}) == []


def test_a_profile_comes_back_from_its_rows():
    whole = day(3)
    assert read_profile(list(whole.table())) == whole


def test_the_grid_is_finer_than_a_fifth_and_its_edges_are_its_numbers():
    values = np.array([0.001, 0.02, 0.5, 3.0, 1e6, -0.5])
    lowest = np.array([edge(one) for one in grid(values)])
    assert (np.abs(lowest) <= np.abs(values) + 1e-12).all()
    assert (np.abs(values - lowest) <= 0.19 * np.abs(values) + 0.19 / 1024).all()


def test_parts_of_numbers_hold_about_a_tenth_each_and_take_values_never_seen():
    usual = {str(one): 10 for one in range(100)}
    buckets = number_buckets(usual)
    shares = buckets.shares(usual)
    assert max(shares.values()) < 0.13
    assert buckets.shares({"-500": 5, "900": 5})["9"] > 0.3


def test_rare_tokens_share_a_bucket():
    usual = {str(token): 100 - token for token in range(1, 60)}
    assert len(token_buckets(usual).names) == 22
    assert Buckets(tokens=("1",)).shares({"7": 3, "new": 2})["other"] == pytest.approx(3.5 / 4.5)


def test_a_sentence_gets_the_tokens_text():
    assert relabel("tag in feed: token 7 1%", {"7": "cats"}) == "tag in feed: 'cats' 1%"
    assert relabel("price in feed: below 3 1%", {"7": "cats"}) == "price in feed: below 3 1%"


def test_label_rates_are_compared_in_each_cell_and_small_ones_may_be_off_by_chance():
    def cells(feed, live):
        return {
            "feed/click": {"known": 5000, "positives": feed},
            "live/click": {"known": 40, "positives": live},
        }

    past = [cells(1000 + 5 * n, 10) for n in range(7)]
    readings = label_drift(SPEC, {"click": cells(1500, 14)}, {"click": past})
    feed, live = readings
    assert (feed.severity, live.severity) == ("warn", "")
    assert feed.text.startswith("click in feed: 30.0% are positive, before 20.3%")
