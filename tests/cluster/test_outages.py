"""What breaks while nights run, each by a real kill or stop: a run ends well all the same, or says
in one sentence what it wants of a person."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from jobs.cluster.airflow import QUEUE
from jobs.cluster.server import HOST, Server
from jobs.process import Part, members
from tests.cluster.conftest import DISTURBED, Market

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

MINUTE = 60.0


def kill(server: Server, part: Part) -> None:
    """Kill a process and all it started, as a lost machine does."""
    for pid in members([part.process.pid]):
        os.kill(pid, signal.SIGKILL)
    part.process.wait()
    server.parts.remove(part)


def named(server: Server, name: str) -> Part:
    return next(part for part in server.parts if part.name.endswith(name))


def await_(condition: Callable[[], Any], patience: float = 900.0) -> Any:
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited for {patience:.0f} s"
        time.sleep(0.5)
    return found


class Watched:
    """A night that runs while we break things."""

    def __init__(self, market: Market, *words: str) -> None:
        self.market, self.client = market, market.cluster.airflow.client()
        known = {name: self._ids(name) for name in ("bazaar_samples", "bazaar_training")}
        self.known, self.process = known, market.start("nightly", *words)

    def state(self, dag: str, task: str) -> tuple[str | None, int]:
        """Return a task's state and how often it was tried."""
        for run in self.client.runs(dag):
            if run["dag_run_id"] in self.known[dag]:
                continue
            for one in self.client.tasks(dag, run["dag_run_id"]):
                if one["task_id"] == task:
                    return one["state"], one["try_number"]
        return None, 0

    def await_state(self, dag: str, task: str, *states: str) -> None:
        def there() -> bool:
            assert self.process.poll() is None, "the night ended too early"
            return self.state(dag, task)[0] in states

        await_(there)

    def ended(self) -> tuple[int, dict[str, Any], str]:
        out, errors = self.process.communicate(timeout=1200)
        return self.process.returncode, json.loads(out.splitlines()[-1]), errors

    def _ids(self, dag: str) -> set[str]:
        return {run["dag_run_id"] for run in self.client.runs(dag)}


def executors(market: Market) -> int:
    """Return how many executors work for applications of Spark's master."""
    spark = market.cluster.spark
    said = httpx.get(f"http://{HOST}:{spark.page}/json/", trust_env=False, timeout=5).json()
    return sum(worker["coresused"] for worker in said["workers"] if worker["state"] == "ALIVE")


@pytest.fixture(scope="module")
def disturbed(market: Market) -> tuple[int, dict[str, Any], str]:
    """A night in which Spark, the store, Redis, the training's worker and MLflow go away in turn;
    how it ended."""
    cluster = market.cluster
    night = Watched(market, "--ds", DISTURBED)

    night.await_state("bazaar_samples", "make", "running")
    await_(lambda: executors(market) == cluster.spark.workers)
    kill(cluster.spark, named(cluster.spark, "worker-1"))
    kill(cluster.spark, named(cluster.spark, "master"))
    cluster.spark.start_master()
    cluster.spark.start_worker(1)
    assert night.state("bazaar_samples", "make") == ("running", 1), "it was not struck in time"
    cluster.store.stop()
    time.sleep(10)
    cluster.store.start()
    cluster.store.wait()

    night.await_state("bazaar_samples", "make", "success")
    cluster.redis.stop()
    cluster.redis.start()
    cluster.redis.wait()

    night.await_state("bazaar_training", "train", "running")
    time.sleep(5)
    assert night.state("bazaar_training", "train") == ("running", 1)
    kill(cluster.airflow, named(cluster.airflow, "worker"))
    cluster.airflow.start_worker()

    night.await_state("bazaar_training", "train", "success")
    cluster.mlflow.stop()
    time.sleep(MINUTE)
    cluster.mlflow.start()
    cluster.mlflow.wait()
    return night.ended()


def test_a_night_in_which_everything_went_away_for_a_moment_ends_well(
    disturbed: tuple[int, dict[str, Any], str],
) -> None:
    status, said, errors = disturbed
    assert status == 0, errors[-4000:]
    states = {name: task["state"] for name, task in said["tasks"].items()}
    assert set(states.values()) <= {"success", "skipped"}, states
    assert said["results"]["gate"]["verdict"] in ("promoted", "rejected")


def test_nothing_of_that_night_was_lost(
    market: Market, disturbed: tuple[int, dict[str, Any], str]
) -> None:
    market.run_alone("samples", "night", "--ds", DISTURBED)
    hashes = ("rows", "content_hash", "encoded_hash")
    here = market.run_alone("samples", "show", "--ds", DISTURBED)
    there = market.run("samples", "show", "--ds", DISTURBED)
    assert {name: here[name] for name in hashes} == {name: there[name] for name in hashes}
    assert [one["ds"] for one in market.run("models", "list")["versions"]].count(DISTURBED) == 1


def test_without_a_worker_a_training_fails_after_the_declared_time_and_says_so(
    market: Market, disturbed: tuple[int, dict[str, Any], str]
) -> None:
    airflow = market.cluster.airflow
    kill(airflow, named(airflow, "worker"))
    began = time.monotonic()
    try:
        status, said, errors = Watched(market, "--ds", DISTURBED, "--retrain").ended()
    finally:
        airflow.start_worker()
    assert time.monotonic() - began < 2 * airflow.queued + 4 * MINUTE
    assert (status, said["error"]) == (2, "no-worker"), errors[-4000:]
    assert f"no worker took train from the queue '{QUEUE}' in time" in said["message"]


def test_a_role_that_the_store_denies_is_told_in_one_sentence(market: Market) -> None:
    words = ("samples", "run", "--from", DISTURBED, "--to", DISTURBED, "--force")
    status, said, _ = market.attempt(*words, role="trainer")
    assert (status, said["error"]) == (2, "store"), said
    assert "the object store denies it" in said["message"]


def test_whoever_may_not_promote_is_refused_in_one_sentence(market: Market) -> None:
    champion = market.run("models", "list")["champion"]
    for role in ("builder", "trainer", "reader"):
        status, said, _ = market.attempt("models", "promote", "1", "--why", "a try", role=role)
        assert (status, said["error"]) == (2, "registry"), said
        assert re.search(r"MLflow's database refuses it|MLflow at \S+ refused", said["message"])
    assert market.run("models", "list")["champion"] == champion
    assert market.attempt("models", "promote", "1", "--why", "allowed", role="promoter")[0] == 0
    market.run("models", "promote", champion, "--why", "back", role="promoter")
