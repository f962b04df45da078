"""A small shop whose days the jobs of samples build."""

import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from features.lake import Lake
from features.spec.load import parse_spec
from features.spec.model import Spec
from jobs import samples
from jobs.home import Home
from tests.conftest import cache

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST = date(2026, 1, 1)
TEXT = """
product: shop
sources:
  views: {path: "views/{ds}.csv", time: {column: at}, late: 1d}
  sales: {path: "sales/{ds}.csv", time: {column: at}, late: 1d}
  items: {path: items.csv, key: item_id}
impression: {source: views, key: view_id, user: user_id}
scenarios: {column: place, values: {feed: feed, search: search}, other: history}
tasks:
  click: {label: clicked = 1}
  sale: {source: sales, on: [user_id, item_id], window: 2d}
features:
  ids: [{column: item_id, min_count: 1}]
  categories:
    - {column: items.tags, multi: true, separator: "|"}
    - {column: price, edges: [5, 20]}
    - device
    - items.colour
  numbers: [price]
  rates: [{of: [click, sale], by: [user_id, items.colour], days: [1, all]}]
  sequences: [{of: item_id, by: user_id, last: 2}]
rules: [{id: negative-price, reject: price < 0}]
"""
VIEWS = "view_id,user_id,item_id,place,device,price,at,clicked"
SALES = "user_id,item_id,at"


def at(day: date, hour: int, minute: int = 0) -> int:
    return round(
        datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC).timestamp() * 1000
    )


def view(day: date, number: int, **cells: object) -> str:
    row = {
        "view_id": f"{day}-{number}",
        "user_id": f"u{number % 5}",
        "item_id": f"i{number % 3}",
        "place": ("feed", "search")[number % 2],
        "device": "phone",
        "price": 1 + number,
        "at": at(day, 1, number),
        "clicked": int(number % 3 == 0),
        **cells,
    }
    return ",".join("" if value is None else str(value) for value in row.values())


@dataclass(frozen=True)
class Shop:
    spec: Spec
    lake: Lake
    home: Home
    source: Path

    @property
    def places(self) -> dict[str, Any]:
        return {
            "spec": self.spec,
            "spec_file_name": "shop.yaml",
            "lake": self.lake,
            "home": self.home,
            "source": self.source,
        }

    def write(self, day: date, views: list[str], sales: list[str]) -> None:
        for name, header, lines in (("views", VIEWS, views), ("sales", SALES, sales)):
            path = self.source / name / f"{day}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([header, *lines, ""]))

    def files(self, table: str, day: date) -> set[str]:
        return {uri for uri in self.lake.open(table).file_uris() if f"ds={day}" in uri}

    def rows(self, table: str, day: date) -> list[dict[str, Any]]:
        opened = self.lake.open(table).to_pyarrow_table(filters=[("ds", "=", str(day))])
        found: list[dict[str, Any]] = opened.to_pylist()
        return found


def days(count: int) -> list[date]:
    return [FIRST + timedelta(days=n) for n in range(count)]


def shop_in(root: Path) -> Shop:
    home = Home(root=root, cache=cache())
    return Shop(parse_spec(TEXT, "shop.yaml"), Lake(str(root / "lake"), "shop"), home, root / "raw")


@pytest.fixture(scope="session")
def two_nights(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a shop that modules copy: made once, as its two nights take a quarter minute."""
    made = shop_in(tmp_path_factory.mktemp("two-nights"))
    one, two, three, _ = days(4)
    for day in days(4):
        plain = [view(day, number) for number in range(30)]
        odd = [
            view(day, 0),
            view(day, 1, price=99),
            view(day, 40, price=-1),
            view(day, 41, place="moon"),
            view(day, 42, user_id=None),
        ]
        made.write(day, plain + odd, [])
    made.write(
        two, [view(two, n) for n in range(30)], [f"u0,i0,{at(two, 9)}", f"u1,i1,{at(one, 9)}"]
    )
    made.write(three, [view(three, n) for n in range(30)], [f"u2,i2,{at(two, 9)}"])
    (made.source / "items.csv").write_text("item_id,colour,tags\ni0,red,a|b\ni1,blue,\n")
    for day in (one, two):
        samples.run(**made.places, first=day, last=day)
    return made.home.root


@pytest.fixture(scope="module")
def shop(two_nights: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Four days of raw files, and the first two published on their own nights."""
    root = tmp_path_factory.mktemp("shop")
    shutil.copytree(two_nights, root, dirs_exist_ok=True)
    return shop_in(root)
