"""Promotions that race, are killed, or lose MLflow: on SQLite and on PostgreSQL, through a server
and without one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from features.errors import MlflowError, RegistryError, VersionInUseError
from jobs.cluster.mlflow import SETTINGS
from jobs.cluster.postgres import USER, Postgres
from jobs.cluster.server import HOST, Server, tried
from jobs.cluster.store import Store
from training.registry import DATABASE, Registry
from training.versions import Held

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]

PROMOTERS = """
import json, os, signal, sys, time
from pathlib import Path
import mlflow.tracking  # six seconds, once for all promoters: each is a fork of this process
from features.errors import RegistryError
from training import locks, promotion
from training.registry import Registry

locks.EXPIRY = 6.0  # a killed one's lease is waited for

def struck_after(place, name, call, victim):
    real, calls = getattr(place, name), []
    def wrapped(*args, **kwargs):
        said = real(*args, **kwargs)
        calls.append(1)
        if len(calls) == call:
            os.kill(victim or os.getpid(), signal.SIGKILL)
            time.sleep(0.3)
        return said
    setattr(place, name, wrapped)

def promote(uri, product, version, expect, moment, victim, go, out):
    registry = Registry(uri, product, Path("/nowhere"))
    registry.held()
    if moment:
        name, call = moment.split(":")
        place = promotion if hasattr(promotion, name) else registry.store.client
        struck_after(place, name, int(call), victim)
    Path(out).touch()
    while not Path(go).exists():
        time.sleep(0.001)
    try:
        done = registry.promote(version, expect, who="racer")
        said = {"won": done is not None}
    except RegistryError as refused:
        said = {"won": False, "code": refused.code, "message": str(refused)}
    Path(out).write_text(json.dumps(said))

for line in sys.stdin:
    word, said = json.loads(line)
    if word == "wait":
        print(os.waitstatus_to_exitcode(os.waitpid(said, 0)[1]), flush=True)
        continue
    promoter = os.fork()
    if promoter:
        print(promoter, flush=True)
        continue
    failed = 1
    try:
        os.environ.update(said.pop("environment"))
        promote(**said)
        failed = 0
    finally:
        os._exit(failed)
"""

IN_DATABASE = ["_write_event:1", "_write_alias:1"]
AFTER_COMMIT = ["_check:1"]
THROUGH_SERVER = ["set_registered_model_tag:1", "set_registered_model_alias:1"]


@dataclass(kw_only=True)
class Mlflow(Server):
    """MLflow's server over a database, with artifacts in a folder or a bucket."""

    database: str
    artifacts: str
    environment: dict[str, str]

    def start(self) -> None:
        words = ["mlflow", "server", "--host", HOST, "--port", str(self.port), "--workers", "1"]
        words += ["--backend-store-uri", self.database, "--no-serve-artifacts"]
        words += ["--default-artifact-root", self.artifacts]
        self._run("mlflow", words, {**os.environ, **SETTINGS, **self.environment})

    def answers(self) -> bool:
        import httpx

        return tried(lambda: httpx.get(f"{self.url}/health", trust_env=False), httpx.HTTPError)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A store of models: how the product reaches it, and what is behind."""

    uri: str
    environment: dict[str, str]
    server: Mlflow | None
    folder: Path
    promoters: "Promoters"

    def registry(self, product: str) -> Registry:
        return Registry(self.uri, product, self.folder / "artifacts")

    def race(self, product: str, starts: list[tuple[str, str]]) -> list[dict[str, Any]]:
        """Promote in processes of their own that begin at the same moment."""
        go = self.folder / f"go-{uuid4().hex}"
        racers = [self._start(product, version, expect, go) for version, expect in starts]
        _wait_for(lambda: all(racer.out.exists() for racer in racers))
        go.touch()
        assert [self.promoters.wait(racer.process) for racer in racers] == [0] * len(racers)
        return [json.loads(racer.out.read_text()) for racer in racers]

    def promote_killed(self, product: str, version: str, moment: str, victim: int = 0) -> str:
        """Promote, and at a moment kill the promoter or the ``victim``; return what it said."""
        go = self.folder / f"go-{uuid4().hex}"
        go.touch()
        one = self._start(product, version, "1", go, moment, victim)
        assert self.promoters.wait(one.process) == (0 if victim else -signal.SIGKILL)
        return one.out.read_text()

    def _start(
        self, product: str, version: str, expect: str, go: Path, moment: str = "", victim: int = 0
    ) -> "Promoter":
        out = self.folder / f"out-{uuid4().hex}"
        said = {
            "uri": self.uri,
            "product": product,
            "version": version,
            "expect": expect,
            "moment": moment,
            "victim": victim,
            "go": str(go),
            "out": str(out),
        }
        return Promoter(self.promoters.start({**said, "environment": self.environment}), out)


@dataclass(frozen=True)
class Promoter:
    """A process that promotes; ``out`` is there once it is ready, and holds what came of it."""

    process: int
    out: Path


class Promoters:
    """The process whose forks promote."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROMOTERS],
            env={**os.environ, **SETTINGS, "PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, said: dict[str, Any]) -> int:
        """Fork a promoter; return its process."""
        return self._ask("start", said)

    def wait(self, process: int) -> int:
        """Wait for a promoter's end; return its exit status, negative for a signal."""
        return self._ask("wait", process)

    def stop(self) -> None:
        self._process.communicate(timeout=60)

    def _ask(self, word: str, said: Any) -> int:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([word, said]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def promoters() -> Iterator[Promoters]:
    started = Promoters()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    """Return a function that serves the MLflow of a database, once."""
    served: dict[str, Mlflow] = {}

    def serve(kind: str) -> Mlflow:
        if kind in served:
            return served[kind]
        folder = tmp_path_factory.mktemp("mlflow")
        database, artifacts = f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts")
        environment: dict[str, str] = {}
        if kind == "postgresql":
            postgres: Postgres = request.getfixturevalue("postgres")
            postgres.make_database("promotions")
            database = postgres.url("promotions")
        if kind == "bucket":
            store: Store = request.getfixturevalue("store")
            store.client().create_bucket(Bucket="promotions")
            artifacts, environment = "s3://promotions/mlflow", store.environment()
        served[kind] = Mlflow(
            folder=folder,
            cache=folder,
            database=database,
            artifacts=artifacts,
            environment=environment,
        )
        served[kind].start()
        served[kind].wait()
        return served[kind]

    yield serve
    for one in served.values():
        one.stop()


@pytest.fixture(
    params=[
        *(
            f"{kind}, {way}"
            for kind in ("sqlite", "postgresql")
            for way in ("directly", "server and database", "server alone")
        ),
        "bucket, server alone",
    ]
)
def place(
    request: pytest.FixtureRequest,
    servers: Any,
    promoters: Promoters,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    kind, way = request.param.split(", ")
    server: Mlflow = servers(kind)
    environment = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", **server.environment}
    if way == "server and database":
        environment[DATABASE] = server.database
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Place(
        uri=server.database if way == "directly" else server.url,
        environment=environment,
        server=None if way == "directly" else server,
        folder=server.folder,
        promoters=promoters,
    )


@pytest.fixture
def product(place: Place) -> str:
    """A product with four versions, of which the first is champion."""
    name = f"shop-{uuid4().hex[:8]}"
    registry = place.registry(name)
    for ds in ("2026-03-08", "2026-03-09", "2026-03-10", "2026-03-11"):
        registry.register(parts={}, params={}, metrics=[], tags={"ds": ds})
    registry.promote("1", "none", who="anna")
    return name


def told(held: Held) -> list[tuple[str, str | None, str | None, str]]:
    return [(one.action, one.before, one.after, one.state) for one in held.trail]


def test_of_promotions_at_the_same_time_exactly_one_wins_and_the_others_say_so(
    place: Place, product: str
) -> None:
    said = place.race(product, [("2", "1"), ("3", "1"), ("4", "1")])
    won = [one for one in said if one["won"]]
    assert len(won) == 1, said
    held = place.registry(product).held()
    assert held.champion == str(said.index(won[0]) + 2)
    for loser in (one for one in said if not one["won"]):
        assert loser["code"] == "champion-changed"
        assert f"is version {held.champion} and not 1" in loser["message"]
    assert told(held) == [
        ("promote", None, "1", "done"),
        ("promote", "1", held.champion, "done"),
    ]


def test_a_promotion_killed_in_the_middle_leaves_the_old_champion_or_the_new_one(
    place: Place, product: str
) -> None:
    registry = place.registry(product)
    moments = THROUGH_SERVER if registry.database is None else IN_DATABASE
    for moment in moments:
        place.promote_killed(product, "2", moment)
        left = registry.held()
        written = registry.database is None and "alias" in moment
        assert left.champion == ("2" if written else "1")
        registry.promote("3", left.champion, who="bob")
        registry.promote("1", "3", who="bob")
        held = registry.held()
        assert held.champion == "1"
        assert not [one for one in held.trail if one.state == "begun"]
        moves = [one for one in held.trail if one.state == "done"]
        assert [one.before for one in moves[1:]] == [one.after for one in moves[:-1]]


def test_a_promotion_killed_after_it_was_done_has_happened_and_is_rolled_back_and_retired(
    place: Place, product: str
) -> None:
    place.promote_killed(product, "2", AFTER_COMMIT[0])
    registry = place.registry(product)
    assert registry.held().champion == "2"
    assert told(registry.held())[-1] == ("promote", "1", "2", "done")

    registry.tag("3", pinned="the holidays")
    needed = {
        "1": "a rollback goes back to it",
        "2": "it is the champion",
        "3": r"it is pinned \(the holidays\)",
        "4": "it is the challenger",
    }
    for number, reason in needed.items():
        with pytest.raises(VersionInUseError, match=reason):
            registry.retire(number, who="bob")
    assert registry.rollback("2", who="bob").after == "1"
    with pytest.raises(RegistryError, match="no earlier champion"):
        registry.rollback("1", who="bob")
    registry.retire("2", who="bob")
    held = registry.held()
    assert (held.champion, held.numbers) == ("1", ["4", "3", "1"])
    assert told(held)[-2:] == [("rollback", "2", "1", "done"), ("retire", None, None, "done")]


@pytest.mark.parametrize("place", ["sqlite, server alone"], indirect=True)
def test_an_mlflow_that_dies_in_the_middle_of_a_promotion_promotes_nothing(
    place: Place, product: str
) -> None:
    assert place.server is not None
    server = place.server.parts[0].process.pid
    group = -os.getpgid(server)
    said = json.loads(place.promote_killed(product, "2", THROUGH_SERVER[0], group))
    place.server.stop()
    assert not said["won"]
    assert said["code"] == "mlflow"
    assert said["message"].startswith(f"MLflow at {place.uri} answered: ")
    assert "autoifs models history" in said["message"]
    place.server.start()
    place.server.wait()
    registry = place.registry(product)
    assert registry.held().champion == "1"
    registry.promote("3", "1", who="bob")
    assert told(registry.held())[1:] == [
        ("promote", "1", "2", "dropped"),
        ("promote", "1", "3", "done"),
    ]


def test_a_postgresql_that_dies_in_the_middle_of_a_promotion_promotes_nothing(
    servers: Any, postgres: Postgres, promoters: Promoters, tmp_path: Path
) -> None:
    servers("postgresql")
    place = Place(
        uri=postgres.url("promotions"),
        environment={},
        server=None,
        folder=tmp_path,
        promoters=promoters,
    )
    name = f"shop-{uuid4().hex[:8]}"
    registry = place.registry(name)
    for ds in ("2026-03-08", "2026-03-09"):
        registry.register(parts={}, params={}, metrics=[], tags={"ds": ds})
    registry.promote("1", "none", who="anna")
    group = -os.getpgid(postgres.parts[0].process.pid)
    said = json.loads(place.promote_killed(name, "2", IN_DATABASE[1], group))
    postgres.stop()
    assert said["code"] == "mlflow"
    assert "nothing was changed" in said["message"]
    assert postgres.login.secret not in said["message"]
    with pytest.raises(MlflowError, match="nothing was changed"):
        registry.promote("2", "1", who="bob")
    postgres.start()
    postgres.wait()
    assert registry.held().champion == "1"
    assert registry.promote("2", "1", who="bob") is not None


@pytest.fixture
def small_disk(postgres: Postgres) -> Iterator[Path]:
    """A disk of 24 MB with a tablespace ``small``, which may hold the database ``full``."""
    # Not below a test's folder, which PostgreSQL's own user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="autoifs-disk-"))
    folder.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=777", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("no right to mount a small disk on this machine")
    tables = folder / "tables"
    tables.mkdir()
    shutil.chown(tables, USER, USER)
    postgres.ask(f"CREATE TABLESPACE small LOCATION '{tables}'")
    yield folder
    postgres.ask('DROP DATABASE IF EXISTS "full" WITH (FORCE)')
    postgres.ask("DROP TABLESPACE small")
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def test_a_database_whose_disk_is_full_registers_nothing_and_goes_on_once_there_is_space(
    servers: Any, postgres: Postgres, small_disk: Path, tmp_path: Path
) -> None:
    servers("postgresql").stop()
    # A database is copied while nobody is in it, and a pool of this process may be.
    postgres.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'promotions'"
    )
    postgres.ask('CREATE DATABASE "full" TEMPLATE promotions TABLESPACE small')
    servers("postgresql").start()
    registry = Registry(postgres.url("full"), "shop", tmp_path / "artifacts")
    registry.register(parts={}, params={}, metrics=[], tags={"ds": "2026-03-08"})
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    # What fits into no page that is there already.
    large = {f"p{number}": os.urandom(3000).hex() for number in range(50)}
    night = {"parts": {}, "params": large, "metrics": [], "tags": {"ds": "2026-03-09"}}
    with pytest.raises(MlflowError, match="No space left on device") as told:
        registry.register(**night)
    assert "\n" not in str(told.value) and postgres.login.secret not in str(told.value)
    assert told.value.exit_code == 75, "it is tried again"
    assert [one.version for one in registry.list()] == ["1"]
    filler.unlink()
    registry.register(**night)
    assert [one.version for one in registry.list()] == ["2", "1"]


def _wait_for(ready: Any) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < deadline, "waited for 120 s"
        time.sleep(0.01)
