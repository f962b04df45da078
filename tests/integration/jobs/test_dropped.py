"""Events and attributes that can't be used are counted, said and warned of; the rest counts."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from features.lake import Lake
from features.spec.load import parse_spec
from jobs import samples
from jobs.home import Home
from tests.conftest import cache
from tests.integration.jobs.conftest import TEXT, Shop, at, days, view

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

ONE, TWO = days(2)


def test_what_can_t_be_used_is_counted_on_the_day_whose_file_brought_it(
    spark: "SparkSession", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = "{path: items.csv, key: item_id, contract: {missing_column: discard}}"
    text = TEXT.replace("{path: items.csv, key: item_id}", items)
    text = text.replace("window: 2d", "window: 1d, where: item_id IS NULL OR item_id <> 'i9'")
    home = Home(root=tmp_path, cache=cache())
    lake = Lake(str(tmp_path / "lake"), "shop")
    shop = Shop(parse_spec(text, "shop.yaml"), lake, home, tmp_path / "raw")
    good = f"u0,i0,{at(ONE, 9)}"
    no_time = ["u0,i0,soon", "u0,i0,", f"u0,i0,{10**18}"]
    unasked = [f"nobody,i0,{at(ONE, 9)}", f"u0,i9,{at(ONE, 9)}"]  # the second counts for no task
    sales = [good, *no_time, "u0,i9,soon", *unasked]
    shop.write(ONE, [view(ONE, n) for n in range(20)], sales)
    late = f",i0,{at(ONE, 10)}"
    shop.write(TWO, [view(TWO, n) for n in range(20)], [late, f"u0,,{at(TWO, 9)}", "u0"])
    (shop.source / "items.csv").write_text("item_id,colour\ni0,red\ni1,blue\n")

    with caplog.at_level(logging.WARNING, "jobs"):
        found = samples.run(**shop.places, first=ONE, last=TWO)

    lost = {"missing-column": 2}
    one = {"items": lost, "sales": {"no-impression": 1, "no-time": 3}}
    two = {"items": lost, "sales": {"null-key": 2, "unparseable": 1}}
    assert [day["dropped"] for day in found["days"]] == [one, two]
    assert (lake.commit_of("samples", TWO) or {})["dropped"] == two
    assert "shop 2026-01-01: rows of sales are not used: 3 no-time" in caplog.text
    assert "no-impression" not in caplog.text, "people buy what nobody showed them"
    rows = {row["sample_id"]: row for row in shop.rows("samples", ONE)}
    assert rows[f"{ONE}-15"]["label_sale"], "a good event among them counts"
    assert {row["c_items_colour"] for row in rows.values()} == {None}
