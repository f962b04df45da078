"""An ``encoded`` table as the samples room writes it, with a signal a model can learn."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from features.days import span
from features.lake import Lake, _history
from features.spec import Layout, Spec, layout_of
from features.spec.load import parse_spec
from jobs.home import Home
from training.registry import Registry

SHOP = """
product: shop
sources:
  log: {path: "log/{ds}.parquet", time: {column: event_time}}
  buys: {path: "buys/{ds}.parquet", time: {column: event_time}}
impression: {source: log, key: id, user: user_id}
scenarios: {column: place, values: {feed: feed, search: search}}
tasks:
  click: {label: clicked = 1}
  buy: {source: buys, on: id, window: 2d, scenarios: [feed]}
features:
  ids: [user_id, item_id]
  categories: [place, {column: tags, multi: true}]
  numbers: [{column: price, scale: log1p}, age, flat]
training:
  epochs: 1
  batch: 128
  network: {trunk: [16], scenario: [8], rank: 2}
  search: {epochs: 2, rewind: 0.5, shrink: [0, 1], every: 3}
"""
SIZES = {"c_user_id": 200, "c_item_id": 100, "c_place": 3, "m_tags": 12}


@pytest.fixture
def shop() -> Spec:
    return parse_spec(SHOP, "shop.yaml")


@pytest.fixture(scope="session", autouse=True)
def no_pool() -> Iterator[None]:
    """Let MLflow keep no connection to a database that is put back between tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
        yield


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without a version: making its tables takes seconds, copying it none."""
    folder = tmp_path_factory.mktemp("empty-store")
    with Registry(f"sqlite:///{folder}/mlflow.db", "shop", folder)._mlflow():
        pass
    return folder / "mlflow.db"


def stored_home(root: Path, empty_store: Path) -> Home:
    """Return a home whose store is ready for its first version."""
    (root / "mlflow").mkdir()
    shutil.copy(empty_store, root / "mlflow" / "mlflow.db")
    return Home(root=root, cache=root / "cache")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path, cache=tmp_path / "cache")


@pytest.fixture
def store(home: Home, empty_store: Path) -> Path:
    """The store of ``home``, ready for its first version."""
    return stored_home(home.root, empty_store).mlflow / "mlflow.db"


@pytest.fixture
def shop_lake(home: Home, shop: Spec) -> Lake:
    """Days 1 to 8 of March 2026, of which the last two have no mature ``buy``."""
    lake = home.lake("shop")
    write_march(lake, shop)
    return lake


@pytest.fixture
def rewrite(shop_lake: Lake, shop: Spec) -> Callable[..., None]:
    """Replace one day of March by another draw, or by one that ``edit`` changed."""

    def replace(day: int, **changed: Any) -> None:
        given = {"rows": 400, "mature": {"click": True, "buy": True}, **changed}
        write_day(shop_lake, shop, SIZES, date(2026, 3, day), **given)

    return replace


@pytest.fixture(scope="session")
def judged_market(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Any:
    """A market with a week of days, whose first night was trained, registered and judged."""
    from tests.integration.training.market import FIRST, SECOND, Market

    market = Market(stored_home(tmp_path_factory.mktemp("market"), empty_store))
    market.write(date(2026, 3, 1), SECOND)
    market.judged(FIRST)
    return market


@pytest.fixture
def market(judged_market: Any, tmp_path: Path) -> Iterator[Any]:
    """The same, to be spoiled."""
    with put_back(judged_market.home, tmp_path):
        yield judged_market


@contextmanager
def put_back(home: Home, scratch: Path) -> Iterator[None]:
    """Let a home be changed, and put it back in its place: models know where they lie."""
    shutil.copytree(home.root, scratch / "kept")
    yield
    shutil.rmtree(home.root)
    shutil.copytree(scratch / "kept", home.root)
    _history.cache_clear()  # a table that is put back has other commits under the same numbers


def write_vocabulary(lake: Lake, sizes: dict[str, int]) -> None:
    rows = [(name, f"t{i}", i) for name, size in sizes.items() for i in range(1, size)]
    table = pa.table(
        {
            "feature": [name for name, _, _ in rows],
            "token": [token for _, token, _ in rows],
            "index": pa.array([index for _, _, index in rows], pa.int32()),
            "ds": ["2026-03-01"] * len(rows),
        }
    )
    Path(lake.path("vocabulary")).parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(lake.path("vocabulary"), table, partition_by=["feature"], mode="overwrite")


def write_march(lake: Lake, shop: Spec) -> None:
    """Write days 1 to 8, of which the last two have no mature ``buy``."""
    write_vocabulary(lake, SIZES)
    for day in span(date(2026, 3, 1), date(2026, 3, 8)):
        mature = {"click": True, "buy": day <= date(2026, 3, 6)}
        write_day(lake, shop, SIZES, day, rows=400, mature=mature)


def write_day(
    lake: Lake,
    spec: Spec,
    sizes: dict[str, int],
    day: date,
    *,
    rows: int,
    mature: dict[str, bool],
    seed: int = 0,
    edit: Callable[[dict[str, pa.Array]], None] | None = None,
) -> None:
    """Write one partition: a click depends on the numbers, the item and the scenario."""
    layout = layout_of(spec)
    random = np.random.default_rng([seed, day.toordinal()])
    columns = _columns(layout, spec, sizes, day, rows, mature, random)
    if edit is not None:
        edit(columns)
    said = {"ds": day.isoformat(), "rows": rows, "content_hash": f"{day}-{seed}-{edit is not None}"}
    write_deltalake(
        lake.path("encoded"),
        pa.table(columns),
        partition_by=["ds"],
        mode="overwrite",
        predicate=f"ds = '{day}'" if lake.exists("encoded") else None,
        commit_properties=CommitProperties(custom_metadata={"userMetadata": json.dumps(said)}),
    )


def _columns(
    layout: Layout,
    spec: Spec,
    sizes: dict[str, int],
    day: date,
    n: int,
    mature: dict[str, bool],
    random: np.random.Generator,
) -> dict[str, pa.Array]:
    scenario = random.choice(len(layout.scenarios), n).astype(np.int32)
    found: dict[str, pa.Array] = {
        "ds": pa.array([day.isoformat()] * n),
        "sample_id": pa.array([f"{day}-{i:06d}" for i in range(n)]),
        "scenario": pa.array(scenario),
        "user": pa.array(random.integers(-(2**62), 2**62, n)),
    }
    signal = np.zeros(n)
    for column in layout.of("category"):
        tokens = random.integers(0, sizes[column.name], n).astype(np.int32)
        signal += 0.5 * np.sin(tokens)
        found[column.name] = pa.array(tokens)
    for column in layout.of("multi"):
        # Each token once and in order, as days are encoded.
        drawn = [random.integers(1, sizes[column.name], random.integers(0, 4)) for _ in range(n)]
        bags = [sorted(set(bag.tolist())) for bag in drawn]
        found[column.name] = pa.array(bags, pa.list_(pa.int32()))
    for column in layout.of("number"):
        values = random.normal(size=n)
        if column.scale == "log1p":
            values = np.exp(values)
        signal += 0.3 * np.where(np.isfinite(values), np.clip(values, -3, 3), 0)
        found[column.name] = pa.array(values.astype(np.float32), mask=random.random(n) < 0.05)
    for place, task in enumerate(layout.tasks):
        logit = signal - 1 + 0.5 * scenario * (1 if place else -1)
        label = (random.random(n) < 1 / (1 + np.exp(-logit))).astype(np.float32)
        has = np.array([spec.has(k, task) for k in layout.scenarios])[scenario]
        found[f"y_{task}"] = pa.array(label, mask=~has | (not mature[task]))
    return found
