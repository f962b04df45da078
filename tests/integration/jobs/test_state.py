"""The state that sums up old days gives what summing them all again gives."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from features import tables
from features.days import DAY
from features.history import has_state
from features.lake import Lake
from features.spec.load import parse_spec
from jobs import samples, state
from tests.integration.jobs.conftest import FIRST, TEXT, Shop, at, days, view

pytestmark = [pytest.mark.spark, pytest.mark.slow]

LAST = days(17)[-1]
EVERY_KIND = TEXT.replace(
    "  sequences:",
    """  facts: {cost: ln(price), dear: price > 10}
  residuals: [{of: [click, cost], by: user_id, against: device, days: [3, all]}]
  sequences:""",
).replace("of: [click, sale], by", "half_life: 2, of: [click, sale, cost, dear], by")
"""The shop with every kind of feature that looks back; facts fade over longer than a state."""


@pytest.fixture(scope="module")
def long_shop(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Seventeen small days: fifteen built together, the last two each by itself."""
    root = tmp_path_factory.mktemp("long")
    spec, lake = parse_spec(EVERY_KIND, "shop.yaml"), Lake(str(root / "lake"), "shop")
    made = replace(shop, spec=spec, source=root / "raw", lake=lake)
    for number, day in enumerate(days(17)):
        sales = [f"u1,i1,{at(day, 9)}"] if number % 3 else []
        made.write(day, [view(day, n) for n in range(number % 5, 9)], sales)
    table = "item_id,colour,tags\ni0,red,a|b\ni1,blue,\n"
    (made.source / "items.csv").write_text(table)
    samples.run(**made.places, first=FIRST, last=LAST - 2 * DAY)
    for day in (LAST - DAY, LAST):
        samples.run(**made.places, first=day, last=day, as_of=LAST)
    return made


def rows(shop: Shop, day: date) -> list[tuple[object, ...]]:
    return sorted(tuple(map(str, row.values())) for row in shop.rows("state", day))


def test_a_night_that_reads_the_state_makes_what_one_without_any_makes(
    long_shop: Shop, tmp_path: Path
) -> None:
    assert state.last(long_shop.lake, LAST) is not None
    fresh = replace(long_shop, lake=Lake(str(tmp_path), "shop"))
    built = samples.run(**fresh.places, first=FIRST, last=LAST)["days"]
    for result in built[-2:]:
        said = long_shop.lake.commit_of("samples", date.fromisoformat(result["ds"]))
        assert said is not None
        assert said["content_hash"] == result["content_hash"]


def test_every_seventh_day_has_a_state_and_it_is_rebuilt_exactly(long_shop: Shop) -> None:
    due = [day for day in days(17) if has_state(day)]
    assert [str(day) for day in due] == long_shop.lake.days("state")
    assert len(due) >= 2
    before = {day: rows(long_shop, day) for day in due}
    assert any(row[2] == "u1" for row in before[due[0]])
    found = state.rebuild(
        spec=long_shop.spec, lake=long_shop.lake, home=long_shop.home, first=FIRST
    )
    assert found["states"] == [str(day) for day in due]
    assert {day: rows(long_shop, day) for day in due} == before


def test_a_state_made_of_other_counts_than_are_there_is_passed_over(
    long_shop: Shop, spark: object
) -> None:
    first, second = [day for day in days(17) if has_state(day)][:2]
    between = first + DAY
    said = long_shop.lake.commit_of("counts", between)
    assert said is not None
    kept = tables.read(spark, long_shop.lake, "counts", str(between), str(between))  # type: ignore[arg-type]
    assert state.last(long_shop.lake, LAST) == second
    tables.replace_days(kept, long_shop.lake, "counts", {between: {"fingerprint": "other"}})
    assert state.last(long_shop.lake, LAST) == first
    tables.replace_days(kept, long_shop.lake, "counts", {between: said})
    assert state.last(long_shop.lake, LAST) == second
