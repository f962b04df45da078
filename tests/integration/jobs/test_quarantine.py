"""Refused rows: seeing them, knowing why, letting them in; restating a day and nothing else."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from features.errors import LakeError, UserError
from features.lake import Lake
from features.spec.load import parse_spec
from jobs import quarantine, samples
from jobs.plan import plan
from tests.integration.jobs.conftest import FIRST, TEXT, Shop, days

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def lenient(shop: Shop) -> Shop:
    """The shop with a rule that no longer refuses a price of -1."""
    text = TEXT.replace("price < 0", "price < -1")
    return replace(shop, spec=parse_spec(text, "shop.yaml"))


def test_show_counts_refused_rows_by_rule_and_prints_them_as_they_came(shop: Shop) -> None:
    shown = quarantine.show(spec=shop.spec, lake=shop.lake, day=FIRST)
    assert shown["rows"] == 4
    assert shown["rules"] == {
        "duplicate-key": 1,
        "duplicate-row": 1,
        "negative-price": 1,
        "null-key": 1,
    }
    (row,) = shown["examples"]["negative-price"]
    assert '"price":"-1"' in row["row"]
    assert (row["source_file"], row["line"]) == ("2026-01-01.csv", 34)
    (repeat,) = shown["examples"]["duplicate-row"]
    assert repeat["line"] == 32, "the repeat, not the row that stays in line 2"
    only = quarantine.show(spec=shop.spec, lake=shop.lake, day=FIRST, rule="null-key")
    assert (only["rows"], list(only["examples"])) == (1, ["null-key"])


def test_explain_says_what_a_rule_refuses_and_on_which_days_it_did(shop: Shop) -> None:
    own = quarantine.explain(spec=shop.spec, lake=shop.lake, rule="negative-price")
    assert own == {
        "rule": "negative-price",
        "declared": "in the spec",
        "refuses": "price < 0",
        "days": {"2026-01-01": 1},
    }
    built_in = quarantine.explain(spec=shop.spec, lake=shop.lake, rule="no-time")
    assert (built_in["declared"], built_in["days"]) == ("built in", {})
    with pytest.raises(UserError, match=r"no rule is called 'far'; known: .*negative-price"):
        quarantine.explain(spec=shop.spec, lake=shop.lake, rule="far")


def test_a_day_that_was_never_built_is_named(shop: Shop) -> None:
    with pytest.raises(LakeError, match="2026-02-01 was never built"):
        quarantine.show(spec=shop.spec, lake=shop.lake, day=date(2026, 2, 1))
    with pytest.raises(LakeError, match="2026-02-01 is not published"):
        samples.restate(**shop.places, day=date(2026, 2, 1))


def test_a_dry_run_says_what_would_be_built_and_writes_nothing(
    shop: Shop, lenient: Shop, tmp_path: Path
) -> None:
    span = {"first": FIRST, "last": days(4)[3]}
    version = shop.lake.open("samples").version()
    found = plan(**shop.places, **span)
    # The third day's files tell more of the second, whose window they close.
    assert [(day["do"], day["rows"]) for day in found["days"]] == [
        ("build", 35),
        ("build", 30),
        ("build", 30),
        ("build", 35),
    ]
    assert (found["build"], found["rows"]) == (4, 130)
    assert 0 < found["seconds"] < 600
    nothing = plan(**shop.places, first=FIRST, last=FIRST)
    assert (nothing["days"][0]["do"], nothing["build"], nothing["seconds"]) == ("nothing", 0, 0.0)
    assert plan(**lenient.places, first=FIRST, last=FIRST)["build"] == 1
    fresh = replace(shop, lake=Lake(str(tmp_path), "shop"))
    later = plan(**fresh.places, first=days(4)[3], last=date(2026, 1, 6))
    assert [day["do"] for day in later["days"]] == ["build", "fail"]
    assert "no file of 2026-01-05" in later["days"][1]["message"]
    assert later["seconds"] is None
    assert shop.lake.open("samples").version() == version


def test_a_changed_rule_lets_its_rows_in_and_touches_no_other_day(
    shop: Shop, lenient: Shop
) -> None:
    with pytest.raises(UserError, match="nothing of 2026-01-01 was released"):
        quarantine.release(**shop.places, day=FIRST)
    two = days(2)[1]
    kept = {table: shop.files(table, two) for table in ("samples", "encoded", "counts")}
    before = shop.lake.commit_of("samples", FIRST)

    found = quarantine.release(**lenient.places, day=FIRST)

    assert found["released"] == {"negative-price": 1}
    assert found["rows"] == 3
    assert found["restated"]["rows"] == 31
    assert found["restated"]["stale"] == [str(two)], "its rates were made of fewer impressions"
    assert {table: shop.files(table, two) for table in kept} == kept
    assert "2026-01-01-40" in {row["sample_id"] for row in shop.rows("samples", FIRST)}

    back = samples.restate(**shop.places, day=FIRST)
    assert before is not None
    assert back["days"][0]["content_hash"] == before["content_hash"]
