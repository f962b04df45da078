"""Days from raw files to published, encoded samples, through the jobs themselves."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from features import session
from features.errors import AuditError, LakeError, MissingDayError, SpecError
from features.lake import Lake
from features.settle import PARTITIONS
from features.spec.load import parse_spec
from jobs import partition, samples
from jobs.show import show
from tests.integration.jobs.conftest import FIRST, TEXT, Shop, days, view

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

HASHES = ("content_hash", "encoded_hash")


def labels(shop: Shop, day: date) -> dict[str, tuple[bool | None, bool]]:
    return {
        row["sample_id"].rpartition("-")[2]: (row["label_sale"], row["mature_sale"])
        for row in shop.rows("samples", day)
    }


def test_every_raw_row_is_a_sample_quarantined_or_history(shop: Shop) -> None:
    said = shop.lake.commit_of("samples", FIRST)
    assert said is not None
    assert (said["input"], said["rows"], said["refused"], said["history"]) == (35, 30, 4, 1)
    assert len(shop.rows("samples", FIRST)) == 30
    broken = {tuple(row["rules"]): row["sample_id"] for row in shop.rows("quarantine", FIRST)}
    assert broken == {
        ("duplicate-row",): "2026-01-01-0",
        ("duplicate-key",): "2026-01-01-1",
        ("negative-price",): "2026-01-01-40",
        ("null-key",): "2026-01-01-42",
    }


def test_samples_carry_typed_features_of_their_tables_and_their_lineage(shop: Shop) -> None:
    rows = {row["sample_id"]: row for row in shop.rows("samples", FIRST)}
    first, second, third = (rows[f"2026-01-01-{n}"] for n in range(3))
    assert (first["c_items_colour"], first["m_items_tags"]) == ("red", ["a", "b"])
    assert (second["c_items_colour"], second["m_items_tags"]) == ("blue", None)
    assert (third["c_items_colour"], third["m_items_tags"]) == (None, None)
    assert (first["n_price"], first["user"], first["scenario"]) == (1.0, "u0", "feed")
    assert (first["label_click"], first["mature_click"]) == (True, True)
    assert (first["source_file"], first["as_of"]) == ("2026-01-01.csv", "2026-01-01")


def test_prices_lie_in_buckets_and_items_seen_before_come_as_indices_latest_first(
    shop: Shop,
) -> None:
    buckets = {row["n_price"]: row["c_price"] for row in shop.rows("samples", FIRST)}
    assert [buckets[price] for price in (1, 4, 5, 19, 20, 30)] == [
        *("<5", "<5", "5..20", "5..20", ">=20", ">=20")
    ]
    two = days(2)[1]
    column = "m_last_2_item_id_user_id"
    assert {row[column] for row in shop.rows("samples", FIRST)} == {None}
    seen = {row["user"]: row[column] for row in shop.rows("samples", two)}
    # Of u0's views 0, 5, …, 25 the last were of i1 (view 25) and i2 (view 20).
    assert seen["u0"] == ["i1", "i2"]
    opened = shop.lake.open("vocabulary").to_pyarrow_table().to_pylist()
    index = {row["token"]: row["index"] for row in opened if row["feature"] == "c_item_id"}
    encoded = {row["sample_id"]: row[column] for row in shop.rows("encoded", two)}
    assert encoded[f"{two}-0"] == [index["i1"], index["i2"]]


def test_the_first_day_has_no_history_and_the_second_only_the_first(shop: Shop) -> None:
    first, second = shop.rows("samples", FIRST), shop.rows("samples", days(2)[1])
    assert {row["n_count_user_id_all"] for row in first} == {0.0}
    # 30 samples of 5 users, and one row of another place that counts as history: u1's.
    counted = {row["user"]: row["n_count_user_id_all"] for row in second}
    assert counted == {"u0": 6.0, "u1": 7.0, "u2": 6.0, "u3": 6.0, "u4": 6.0}


def test_a_sale_is_counted_on_the_day_it_happened_for_the_impression_it_belongs_to(
    shop: Shop,
) -> None:
    counts = {(r["entity"], r["key"]): r for r in shop.rows("counts", days(2)[1])}
    # u0 bought i0 on the second day; u1's late row tells of a sale on the first.
    assert counts["", ""]["n_sale"] == 1
    assert counts["user_id", "u0"]["n_sale"] == 1
    assert counts["items.colour", "red"]["n_sale"] == 1
    assert counts["user_id", "u1"]["n_sale"] == 0


def test_an_up_to_date_day_is_skipped_without_starting_spark(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("Spark was started")

    monkeypatch.setattr("features.session.spark_session", refuse)
    result = samples.run(**shop.places, first=FIRST, last=FIRST)
    assert (result["built"], result["skipped"], result["rows"]) == (0, 1, 30)


def test_days_built_together_are_as_those_built_one_by_one(shop: Shop, tmp_path: Path) -> None:
    *_, last = whole = days(3)
    source = tmp_path / "raw"
    shutil.copytree(shop.source, source)
    (source / "items").mkdir()
    for colour, day in zip(("red", "blue", "green"), whole, strict=True):
        table = f"item_id,colour,tags\ni0,{colour},a|b\ni1,blue,\n"
        (source / "items" / f"{day}.csv").write_text(table)
    spec = parse_spec(TEXT.replace("items.csv", '"items/{ds}.csv"'), "shop.yaml")
    together = replace(shop, spec=spec, source=source, lake=Lake(str(tmp_path / "one"), "shop"))
    alone = replace(together, lake=Lake(str(tmp_path / "other"), "shop"))
    built = samples.run(**together.places, first=FIRST, last=last)["days"]
    single = [
        samples.run(**alone.places, first=day, last=day, as_of=last)["days"][0] for day in whole
    ]
    told = ("rows", "content_hash", "as_of", "input", "history", "refused", "quarantined", "audit")
    assert [[day[key] for key in told] for day in built] == [
        [day[key] for key in told] for day in single
    ]
    for day in whole:
        one, other = (each.lake.commit_of("samples", day) for each in (together, alone))
        assert one is not None
        assert other is not None
        assert one["fingerprint"] == other["fingerprint"]
        assert one["measures"] == other["measures"]
        for table in ("counts", "quarantine"):
            assert content(together, table, day) == content(alone, table, day)
    again = samples.run(**together.places, first=FIRST, last=last)
    assert (again["built"], again["skipped"]) == (0, 3)


def content(shop: Shop, table: str, day: date) -> list[str]:
    rows = shop.rows(table, day)
    return sorted(str({key: row[key] for key in row if key != "run_id"}) for row in rows)


def test_a_day_that_fails_keeps_none_before_it_from_being_published(
    shop: Shop, tmp_path: Path
) -> None:
    broken = replace(shop, lake=Lake(str(tmp_path), "shop"), source=tmp_path / "raw")
    shutil.copytree(shop.source, broken.source)
    one, two, three, _ = days(4)
    broken.write(two, [view(two, n, place="feed") for n in range(30)], [])
    with pytest.raises(SpecError, match="no row of 2026-01-02 has place = search"):
        samples.run(**broken.places, first=one, last=three)
    assert broken.lake.days("samples") == broken.lake.days("encoded") == [str(one)]
    (broken.source / "views" / f"{two}.csv").unlink()
    with pytest.raises(MissingDayError, match="no file of 2026-01-02"):
        samples.run(**broken.places, first=one, last=three, force=True)


def test_building_again_gives_the_same_content(shop: Shop) -> None:
    before = shop.lake.commit_of("samples", FIRST)
    again = samples.run(**shop.places, first=FIRST, last=FIRST, force=True)["days"][0]
    assert before is not None
    assert again["content_hash"] == before["content_hash"]


def test_a_day_spread_over_all_cores_has_the_content_of_one_that_is_not(
    shop: Shop, spark: "SparkSession", monkeypatch: pytest.MonkeyPatch
) -> None:
    small = show(spec=shop.spec, lake=shop.lake, day=FIRST)
    monkeypatch.setattr(partition, "BULK", 0)
    # Two hundred partitions, a large session's own, would only take longer.
    monkeypatch.setattr(session, "_LARGE", {PARTITIONS: "4"})
    before = str(spark.conf.get(PARTITIONS))
    try:
        samples.run(**shop.places, first=FIRST, last=FIRST, force=True)
        assert spark.conf.get(PARTITIONS) == "4"
    finally:
        spark.conf.set(PARTITIONS, before)
    large = show(spec=shop.spec, lake=shop.lake, day=FIRST)
    assert [large[name] for name in HASHES] == [small[name] for name in HASHES]


def test_show_tells_of_a_published_day(shop: Shop) -> None:
    shown = show(spec=shop.spec, lake=shop.lake, day=FIRST)
    assert (shown["rows"], shown["as_of"]) == (30, "2026-01-01")
    assert shown["labels"]["feed"]["click"] == {"positives": 5, "negatives": 10, "unknown": 0}
    assert shown["labels"]["feed"]["sale"] == {"positives": 0, "negatives": 0, "unknown": 15}
    assert shown["quarantined"]["duplicate-row"] == 1
    json.dumps(shown)


def test_a_night_restates_the_day_whose_window_closes_and_moves_no_other_file(
    shop: Shop,
) -> None:
    one, two, three, _ = days(4)
    assert set(labels(shop, one).values()) == {(None, False)}
    kept = {table: shop.files(table, two) for table in ("samples", "encoded", "counts")}
    counts = shop.files("counts", one)

    result = samples.night(**shop.places, day=three)

    assert [day["ds"] for day in result["days"]] == [str(one), str(three)]
    found = labels(shop, one)
    # u1's sale of i1 at nine belongs to its latest impression before, number 16 at 01:16.
    assert {number for number, label in found.items() if label == (True, True)} == {"16"}
    assert all(mature for _, mature in found.values())
    assert {table: shop.files(table, two) for table in kept} == kept
    assert shop.files("counts", one) == counts, "what had arrived by then never changes"


def test_a_day_delivered_late_is_built_by_the_next_night(shop: Shop, tmp_path: Path) -> None:
    one, two, three, four = days(4)
    source = tmp_path / "raw"
    shutil.copytree(shop.source, source)
    late = source / "views" / f"{two}.csv"
    late.rename(tmp_path / "late.csv")
    other = replace(shop, lake=Lake(str(tmp_path / "lake"), "shop"), source=source)
    assert made(samples.ahead(**other.places, day=one, last=four)) == [str(one)]
    with pytest.raises(MissingDayError, match=f"no file of {two}"):
        samples.night(**other.places, day=two)
    assert made(samples.night(**other.places, day=three)) == [str(three)]
    (tmp_path / "late.csv").rename(late)
    assert {str(two), str(four)} <= set(made(samples.night(**other.places, day=four)))
    assert other.lake.days("samples") == [str(day) for day in (one, two, three, four)]
    assert samples.ahead(**other.places, day=four, last=four)["skipped"] == 1


def test_a_backfill_goes_ahead_with_small_days_and_finds_them_done(
    shop: Shop, tmp_path: Path
) -> None:
    one, two, three, _ = days(4)
    other = replace(shop, lake=Lake(str(tmp_path / "lake"), "shop"))
    assert len(made(samples.ahead(**other.places, day=one, last=three))) == 3
    again = samples.ahead(**other.places, day=two, last=three)
    assert ([day["ds"] for day in again["days"]], made(again)) == ([str(two)], [])


def test_as_of_never_goes_back(shop: Shop) -> None:
    before = shop.lake.commit_of("samples", FIRST)
    result = samples.run(**shop.places, first=FIRST, last=FIRST, as_of=FIRST)
    assert before is not None
    assert result["days"][0]["skipped"]
    assert result["days"][0]["as_of"] == before["as_of"] == "2026-01-03"


def test_the_limits_of_an_audit_are_kept_with_the_days_they_were_learned_from(shop: Shop) -> None:
    one, two = days(2)
    kept = {(row["check"], row["subject"]): row for row in shop.rows("audits", two)}
    volume, unique = kept["volume", "samples"], kept["key-unique", "sample_id"]
    assert (volume["value"], volume["low"], volume["high"]) == (30, 15, 45)
    assert (volume["severity"], volume["passed"]) == ("stop", True)
    assert volume["learned_from"] == [str(one)]
    assert unique["learned_from"] == []


def test_a_failed_audit_says_why_and_leaves_what_was_published(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop.files("samples", FIRST)
    monkeypatch.setattr("validation.suite.audit", judged(passed=False))
    with pytest.raises(AuditError, match=r"2026-01-01 is not published: volume: too few rows"):
        samples.run(**shop.places, first=FIRST, last=FIRST, force=True)
    assert shop.files("samples", FIRST) == before


def test_the_steps_one_by_one_do_what_the_run_does(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = days(4)[3]
    with pytest.raises(LakeError, match="nothing is staged for 2026-01-04"):
        samples.audit(**shop.places, day=day)
    built = samples.build(**shop.places, day=day)
    with pytest.raises(AuditError, match="was not audited"):
        samples.publish(**shop.places, day=day)
    samples.audit(**shop.places, day=day)
    assert str(day) not in shop.lake.days("samples")
    published = samples.publish(**shop.places, day=day)
    assert published["content_hash"] == built["content_hash"]
    assert len(shop.rows("encoded", day)) == built["rows"]
    assert samples.run(**shop.places, first=day, last=day)["skipped"] == 1


def made(result: dict[str, Any]) -> list[str]:
    return [day["ds"] for day in result["days"] if not day["skipped"]]


def judged(*, passed: bool) -> Callable[..., Any]:
    """Return an audit with that verdict."""
    from validation.suite import AuditResult, Finding

    finding = Finding(
        check="volume", severity="stop", subject="samples", value=1.0, message="too few rows"
    )

    def audit(_frame: object, _spec: object, days: list[date], *_: object) -> object:
        failed = AuditResult(
            passed=passed, findings=(finding,), verdicts=(), docs=Path("x"), measures={}
        )
        return dict.fromkeys(days, failed)

    return audit
