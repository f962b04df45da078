"""A backfill and two nights through a real scheduler, a real worker, real stores and databases."""

from typing import Any

import pytest

from tests.cluster.conftest import HISTORY, NIGHTS, Market, listening_elsewhere

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def nights(market: Market) -> list[dict[str, Any]]:
    """Three days of history and two nights: what the command said of each."""
    market.run("backfill", "--from", HISTORY[0], "--to", HISTORY[-1])
    return [market.run("nightly", "--ds", day) for day in NIGHTS]


def test_every_task_of_both_nights_succeeded(nights: list[dict[str, Any]]) -> None:
    for night in nights:
        states = {name: task["state"] for name, task in night["tasks"].items()}
        assert set(states.values()) <= {"success", "skipped"}, states
        assert states["bazaar_training.train"] == "success"


def test_training_ran_in_the_worker_of_the_gpu_queue_as_two_processes(
    market: Market, nights: list[dict[str, Any]]
) -> None:
    client = market.cluster.airflow.client()
    run = client.runs("bazaar_training")[0]
    tasks = {task["task_id"]: task for task in client.tasks("bazaar_training", run["dag_run_id"])}
    assert (tasks["train"]["queue"], tasks["train"]["executor"]) == ("gpu", "CeleryExecutor")
    assert "gpu" not in {task["queue"] for name, task in tasks.items() if name != "train"}
    assert nights[-1]["results"]["train"]["ranks"] == 2


def test_tables_and_models_lie_on_the_object_store_and_nowhere_else(
    market: Market, nights: list[dict[str, Any]]
) -> None:
    pages = market.cluster.store.client().get_paginator("list_objects_v2")
    keys = [
        found["Key"]
        for page in pages.paginate(Bucket="autoifs")
        for found in page.get("Contents", ())
    ]
    for table in ("samples", "encoded", "metrics", "masks", "runs"):
        assert any(key.startswith(f"lake/bazaar/{table}/_delta_log/") for key in keys), table
    assert any(key.startswith("mlflow/") and key.endswith(".safetensors") for key in keys)
    assert "published/bazaar/reports/latest.html" in keys
    assert "published/bazaar/models/champion.json" in keys
    assert not (market.cluster.home.root / "lake").exists()
    assert not (market.cluster.home.root / "mlflow").exists()


def test_the_same_days_alone_on_this_machine_have_the_same_content(
    market: Market, nights: list[dict[str, Any]]
) -> None:
    market.run_alone("samples", "run", "--from", HISTORY[0], "--to", HISTORY[-1])
    for day in NIGHTS:
        market.run_alone("samples", "night", "--ds", day)
    hashes = ("rows", "content_hash", "encoded_hash")
    for day in (*HISTORY, *NIGHTS):
        here = market.run_alone("samples", "show", "--ds", day)
        there = market.run("samples", "show", "--ds", day)
        assert {name: here[name] for name in hashes} == {name: there[name] for name in hashes}


def test_the_second_night_was_judged_against_the_first(nights: list[dict[str, Any]]) -> None:
    first, second = (night["results"]["gate"] for night in nights)
    assert first["verdict"] == "first"
    assert second["previous"] == first["version"]


def test_servers_listen_on_this_machine_alone(market: Market, nights: object) -> None:
    leaders = {part.process.pid for server in market.cluster.servers for part in server.parts}
    assert listening_elsewhere(leaders) == []
