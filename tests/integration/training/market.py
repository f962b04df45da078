"""A product of three places whose nights run from training to the gate."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from features.spec import Spec, layout_of
from features.spec.load import parse_spec
from jobs.evaluate import evaluate
from jobs.gate import gate
from jobs.home import Home
from jobs.register import register
from jobs.runs import record
from jobs.train import train
from tests.integration.training.conftest import write_day, write_vocabulary
from training.data import Dataset, read_days

MARKET = """
product: shop
sources: {log: {path: "log/{ds}.parquet", time: {column: event_time}}}
impression: {source: log, key: id, user: user_id}
scenarios: {column: place, values: {feed: feed, search: search, live: live}}
tasks: {click: {label: clicked = 1}}
features:
  categories: [place, item_id]
  numbers: [price, age]
training:
  {model: mlp_per_cell, epochs: 3, batch: 256, learning_rate: 0.01, window: 5d,
   network: {trunk: [16], scenario: [8]}}
gate: {mode: enforce, tolerance: 0.005}
"""
SIZES = {"c_place": 4, "c_item_id": 12}
SMALLEST = 2
FIRST, SECOND, THIRD = (date(2026, 3, day) for day in (6, 7, 8))


def smaller(columns: dict[str, pa.Array]) -> None:
    """Leave one in five of the smallest scenario's rows, and let the price decide a click."""
    scenario = columns["scenario"].to_numpy()
    price = columns["n_price"].fill_null(0).to_numpy()
    luck = np.random.default_rng(int(1e6 * abs(price[0]))).random(len(price))
    clicked = luck < 1 / (1 + np.exp(-2 * price))
    columns["y_click"] = pa.array(clicked.astype(np.float32))
    kept = pa.array((scenario != SMALLEST) | (np.arange(len(scenario)) % 5 == 0))
    for name, column in columns.items():
        columns[name] = column.filter(kept)


def shuffled(columns: dict[str, pa.Array]) -> None:
    """The same, with the smallest scenario's labels given to each other's rows."""
    smaller(columns)
    rows = np.flatnonzero(columns["scenario"].to_numpy() == SMALLEST)
    labels = columns["y_click"].to_numpy(zero_copy_only=False).copy()
    labels[rows] = labels[np.random.default_rng(1).permutation(rows)]
    columns["y_click"] = pa.array(labels)


class Market:
    """A product whose days can be written, and whose nights run from training to the gate."""

    def __init__(self, home: Home) -> None:
        self.home, self.lake = home, home.lake("shop")
        self.spec = parse_spec(MARKET, "shop.yaml")
        write_vocabulary(self.lake, SIZES)

    def write(self, first: date, last: date, edit: Any = smaller) -> None:
        for day in (first + timedelta(n) for n in range((last - first).days + 1)):
            write_day(
                self.lake, self.spec, SIZES, day, rows=4500, mature={"click": True}, edit=edit
            )

    def judged(self, day: date, **changed: Any) -> dict[str, Any]:
        """Train, register and evaluate a night, keeping what the commands said."""
        place = self.place(day, **changed)
        for name, step in (("train", train), ("register", register), ("evaluate", evaluate)):
            said = step(**place)
            record(self.lake, day, name, 1.0, said)
        return said

    def gated(self, day: date, **changed: Any) -> dict[str, Any]:
        said = gate(**self.place(day, **changed))
        if not said.get("skipped"):
            record(self.lake, day, "gate", 1.0, said)
        return said

    def rows(self, day: date) -> Dataset:
        version = self.lake.open("encoded").version()
        return read_days(self.lake, layout_of(self.spec), [day], version)

    def place(self, day: date, **changed: Any) -> dict[str, Any]:
        rules = self.spec.gate.model_copy(update=changed)
        spec: Spec = self.spec.model_copy(update={"gate": rules})
        return {"spec": spec, "lake": self.lake, "home": self.home, "day": day}
