"""Which state a night may start from, and which days it reads beside it."""

from datetime import date, timedelta
from itertools import pairwise

from features.history import EVERY, first_needed, has_state, last_state, state_fingerprint
from features.spec import Spec
from features.spec.load import parse_spec

DAYS = [date(2026, 1, 1) + timedelta(days=n) for n in range(30)]
COUNTS = {str(day): {"fingerprint": f"of {day}"} for day in DAYS}
TEXT = """
product: shop
sources: {views: {path: "v/{ds}.csv", time: {column: at}}}
impression: {source: views, key: view_id, user: user_id}
scenarios: {column: place, values: {feed: feed}}
tasks: {click: {label: clicked = 1}}
features: {rates: [{of: click, by: [user_id], days: DAYS}]}
"""


def spec(days: str) -> Spec:
    return parse_spec(TEXT.replace("DAYS", days), "shop.yaml")


def states(*days: date) -> dict[str, dict[str, str]]:
    return {str(day): {"fingerprint": state_fingerprint(COUNTS, day)} for day in days}


def test_one_day_in_seven_has_a_state() -> None:
    due = [day for day in DAYS if has_state(day)]
    assert {(later - one).days for one, later in pairwise(due)} == {EVERY}


def test_the_newest_state_before_the_day_counts() -> None:
    found = states(DAYS[3], DAYS[10], DAYS[17])
    assert last_state(found, COUNTS, DAYS[17]) == DAYS[10]
    assert last_state(found, COUNTS, DAYS[18]) == DAYS[17]
    assert last_state(found, COUNTS, DAYS[3]) is None


def test_a_state_is_not_used_once_a_day_it_sums_up_was_counted_anew_or_added() -> None:
    found = states(DAYS[3], DAYS[10])
    anew = {**COUNTS, str(DAYS[5]): {"fingerprint": "other"}}
    assert last_state(found, anew, DAYS[20]) == DAYS[3]
    added = {**COUNTS, "2025-12-31": {"fingerprint": "older"}}
    assert last_state(found, added, DAYS[20]) is None


def test_beside_a_state_a_day_reads_the_days_since_and_those_in_its_windows() -> None:
    assert first_needed(spec("[1, all]"), DAYS[20], None) is None
    assert first_needed(spec("[1, all]"), DAYS[20], DAYS[17]) == DAYS[18]
    assert first_needed(spec("[7, all]"), DAYS[20], DAYS[17]) == DAYS[13]
    assert first_needed(spec("all"), DAYS[20], DAYS[17]) == DAYS[18]
