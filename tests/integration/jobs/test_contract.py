"""Days whose files changed overnight, through the jobs that build them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from features.errors import SourceError
from features.lake import Lake
from features.spec.load import parse_spec
from jobs import samples
from jobs.home import Home
from tests.conftest import cache
from tests.integration.jobs.conftest import TEXT, VIEWS, Shop, days, view

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

ONE, TWO = days(2)


def under(shop: Shop, contract: str) -> Shop:
    """Return the shop whose views come under a contract, in one file a day or several."""
    views = '{path: "views/{ds}*.csv", time: {column: at}, late: 1d, contract: CONTRACT}'
    text = TEXT.replace('{path: "views/{ds}.csv", time: {column: at}, late: 1d}', views)
    return replace(shop, spec=parse_spec(text.replace("CONTRACT", contract), "shop.yaml"))


@pytest.fixture(scope="module")
def changed(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose first day is published, and whose second has a new column, and a bad part."""
    root = tmp_path_factory.mktemp("changed")
    home = Home(root=root, cache=cache())
    made = Shop(parse_spec(TEXT, "shop.yaml"), Lake(str(root / "lake"), "shop"), home, root / "raw")
    for day in (ONE, TWO):
        made.write(day, [view(day, number) for number in range(20)], [])
    (made.source / "items.csv").write_text("item_id,colour,tags\ni0,red,a|b\n")
    samples.run(**under(made, "freeze").places, first=ONE, last=ONE)
    whole = made.source / "views" / f"{TWO}.csv"
    header, *lines = whole.read_text().split()
    whole.write_text("\n".join([f"{header},extra", *(f"{line},7" for line in lines), ""]))
    return made


def run(shop: Shop, **more: Any) -> dict[str, Any]:
    (day,) = samples.run(**shop.places, first=TWO, last=TWO, **more)["days"]
    return day


def test_a_frozen_source_refuses_a_change_until_it_was_let_in_once(changed: Shop) -> None:
    frozen, open_ = under(changed, "freeze"), under(changed, "evolve")
    with pytest.raises(SourceError, match=f"'views': {TWO}.csv has a new column 'extra'"):
        run(frozen)
    assert changed.lake.days("samples") == [str(ONE)]

    let_in = run(open_)

    assert run(frozen)["skipped"], "what was published stays as it is"
    again = run(frozen, force=True)
    assert (again["skipped"], again["content_hash"]) == (False, let_in["content_hash"])
    said = changed.lake.commit_of("samples", TWO)
    assert said is not None
    assert list(said["columns"]["views"]) == [*VIEWS.split(","), "extra"]
    assert said["columns"]["items"] == {"item_id": "string", "colour": "string", "tags": "string"}


def test_rows_of_a_file_that_lacks_a_column_are_refused_and_the_rest_is_published(
    changed: Shop,
) -> None:
    part = changed.source / "views" / f"{TWO}-b.csv"
    part.write_text(
        "\n".join([VIEWS.replace(",device", ""), "z1,u1,i1,feed,9,1767312000000,1", ""])
    )
    default = under(changed, "{}")
    with pytest.raises(SourceError, match=f"{TWO}-b.csv has no column 'device', which features"):
        run(default)

    found = run(under(changed, "{missing_column: discard, new_column: discard}"))

    assert found["quarantined"] == {"missing-column": 1}
    assert (found["rows"], found["input"]) == (20, 21)
    (row,) = changed.rows("quarantine", TWO)
    assert (row["sample_id"], row["source_file"]) == ("z1", f"{TWO}-b.csv")
    Path(part).unlink()
    alone = run(default)
    assert alone["content_hash"] == found["content_hash"]
