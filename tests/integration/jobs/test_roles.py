"""Four roles with real credentials on the object store and in the database: each may do its own
work and no other."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from features import tables
from features.errors import RegistryError, StoreError
from features.lake import Lake
from features.lease import acquire
from features.objects import Objects
from features.spec.load import parse_spec
from jobs.cluster.cluster import INFRA, ROLES, policy
from jobs.cluster.login import Login, new_login
from jobs.cluster.postgres import Postgres
from jobs.cluster.store import Store
from tests.unit.features.test_tables import TEXT
from training.registry import Registry

BUCKET = "roles"
PAGE = "published/shop/reports/page.html"
DAY = {"ds": "2026-01-01"}
ROWS = pa.table({"ds": ["2026-01-01"], "step": ["train"]})


@pytest.fixture(scope="module")
def keys(store: Store) -> dict[str, Login]:
    """Role → its own access key; the tables are there and hold a row each."""
    store.client().create_bucket(Bucket=BUCKET)
    made = {role: store.add_user(f"{role}-of-roles", policy(role, BUCKET)) for role in ROLES}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment().items():
            patch.setenv(name, value)
        tables.ensure(lake(), parse_spec(TEXT, "shop.yaml"))
        for table in ("audits", "metrics", "runs"):
            lake().replace(table, DAY, ROWS)
        for key in (
            "raw/day.csv",
            "work/shop/result",
            "published/shop/reports/page.html",
            "mlflow/model",
        ):
            store.client().put_object(Bucket=BUCKET, Key=key, Body=b"there")
    return made


@pytest.fixture
def role(
    store: Store, keys: dict[str, Login], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Return a function that gives this process the key of a role."""

    def become(name: str) -> None:
        for variable, value in store.environment(keys[name]).items():
            monkeypatch.setenv(variable, value)

    return become


def lake() -> Lake:
    return Lake(f"s3a://{BUCKET}/lake", "shop")


def objects() -> Objects:
    return Objects(f"s3://{BUCKET}")


def write(table: str) -> Callable[[], object]:
    return lambda: lake().replace(table, DAY, ROWS)


def put(key: str) -> Callable[[], object]:
    return lambda: objects().upload(key, Path(__file__))


def get(key: str) -> Callable[[], object]:
    return lambda: objects().get(key)


def read(table: str) -> Callable[[], object]:
    return lambda: lake().open(table).to_pyarrow_table()


def remove_commit(table: str) -> Callable[[], object]:
    return lambda: objects().remove([f"lake/shop/{table}/_delta_log/00000000000000000000.json"])


WORK: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "read samples": (read("samples"), ROLES),
    "read metrics": (read("metrics"), ROLES),
    "read raw logs": (get("raw/day.csv"), ("builder",)),
    "write audits": (write("audits"), ("builder",)),
    "write metrics": (write("metrics"), ("trainer",)),
    "record a step": (write("runs"), ("builder", "trainer", "promoter")),
    "hand over a model": (put("work/shop/model"), ("trainer",)),
    "take over a model": (get("work/shop/result"), ("trainer", "promoter")),
    "lock a promotion": (
        lambda: acquire(objects(), "locks/shop", "test").release(),
        ("promoter",),
    ),
    "publish a page": (put(PAGE), ("promoter",)),
    "read a page": (get(PAGE), ("promoter", "reader")),
    "read models past MLflow": (get("mlflow/model"), ()),
    "write raw logs": (put("raw/day.csv"), ()),
    "take back a commit of metrics": (remove_commit("metrics"), ("trainer",)),
    "take back a commit of samples": (remove_commit("samples"), ("builder",)),
}
"""What is tried → how, and by whom it may be done. What destroys comes last."""


@pytest.mark.parametrize("name", ROLES)
@pytest.mark.parametrize("work", WORK)
def test_a_role_may_do_its_own_work_and_is_denied_all_other(
    role: Callable[[str], None], name: str, work: str
) -> None:
    attempt, allowed = WORK[work]
    role(name)
    if name in allowed:
        attempt()
        return
    with pytest.raises(StoreError, match="the object store denies it"):
        attempt()


@pytest.fixture(scope="module")
def entries(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Registry]:
    """Role → the registry as it sees it, where MLflow's database has two versions."""
    owner = new_login("mlflow")
    postgres.make_user(owner)
    postgres.make_database("mlflow", owner=owner.user)
    folder = tmp_path_factory.mktemp("artifacts")
    owned = Registry(postgres.url("mlflow", owner), "shop", folder)
    for ds in ("2026-01-01", "2026-01-02"):
        owned.register(parts={}, params={}, metrics=[], tags={"ds": ds})
    owned.promote("1", "none", who="anna")
    logins = {role: new_login(role) for role in ROLES}
    for login in logins.values():
        postgres.make_user(login)
    grants = (INFRA / "postgres" / "grants.sql").read_text(encoding="utf-8")
    postgres.ask(grants, "mlflow", owner)
    return {
        role: Registry(postgres.url("mlflow", login), "shop", folder)
        for role, login in logins.items()
    }


@pytest.mark.parametrize("name", ROLES)
def test_all_read_what_is_registered_and_only_the_promoter_changes_it(
    entries: dict[str, Registry], name: str
) -> None:
    registry = entries[name]
    assert [one.version for one in registry.list()] == ["2", "1"]
    if name == "promoter":
        registry.promote("2", "1", who=name)
        registry.tag("2", seen="yes")
        registry.rollback("2", who=name)
    else:
        for change in (
            lambda: registry.promote("2", "1", who=name),
            lambda: registry.tag("2", seen="no"),
        ):
            with pytest.raises(RegistryError, match=r"database refuses it \(permission denied for"):
                change()
    assert registry.held().champion == "1"
