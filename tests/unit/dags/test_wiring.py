import os
import subprocess
import sys
from pathlib import Path

import pytest

from dags.factory import maintenance_dag, samples_dag, training_dag
from dags.settings import NEVER, products

CHECKOUT = Path(__file__).resolve().parents[3]
DAGS = {
    dag.dag_id: dag
    for dag in (make("shop", "shop") for make in (samples_dag, training_dag, maintenance_dag))
}
TASKS = [task for dag in DAGS.values() for task in dag.tasks]
JOBS = [task for task in TASKS if type(task).__name__ == "JobOperator"]


@pytest.mark.parametrize("dag", DAGS.values(), ids=DAGS)
def test_a_dag_says_what_it_does_and_whose_it_is(dag):
    assert dag.description and "shop" in dag.doc_md
    assert {"autoifs", "shop"} <= set(dag.tags)
    assert not dag.catchup


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.task_id)
def test_a_task_has_an_owner_retries_a_word_and_an_alert(task):
    assert task.owner == "autoifs"
    assert task.retries == 2
    assert task.doc_md
    assert [callback.event for callback in task.on_failure_callback] == ["failure"]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.task_id)
def test_no_task_may_run_or_wait_for_ever(task):
    assert task.execution_timeout or task.response_timeout


def test_the_tasks_follow_each_other_as_a_night_does():
    after = {task.task_id: sorted(task.downstream_task_ids) for task in TASKS}
    assert after == {
        "make": ["announce"],
        "announce": [],
        "train": ["register"],
        "register": ["evaluate"],
        "evaluate": ["gate", "report"],
        "gate": ["needs_approval", "report"],
        "report": ["approve", "publish"],
        "publish": [],
        "needs_approval": ["approve"],
        "approve": ["answer"],
        "answer": [],
        "maintain": [],
    }


def test_the_report_is_written_when_the_gate_breaks():
    rule = DAGS["shop_training"].get_task("report").trigger_rule
    assert rule.value == "all_done_min_one_success"


def test_a_refusal_and_drift_are_told_by_the_task_that_finds_them():
    told = {
        task.task_id: [callback.event for callback in task.on_success_callback]
        for task in TASKS
        if task.on_success_callback
    }
    assert told == {"evaluate": ["drift"], "gate": ["rejection"]}


@pytest.mark.parametrize(("hours", "late"), [("6", 6.0), ("0.5", 0.5), ("0", None)])
def test_a_night_has_a_deadline_from_when_it_was_queued(monkeypatch, hours, late):
    monkeypatch.setenv("AUTOIFS_DEADLINE_HOURS", hours)
    for make in (samples_dag, training_dag):
        found = make("shop", "shop").deadline or []
        assert [one.interval.total_seconds() / 3600 for one in found] == ([late] if late else [])
        assert all(one.reference.reference_name == "DagRunQueuedAtDeadline" for one in found)
        assert all(one.callback.path == "dags.alerts.late" for one in found)
    assert not maintenance_dag("shop", "shop").deadline


def test_only_the_announcement_carries_the_asset_that_starts_training():
    outlets = {task.task_id: [asset.name for asset in task.outlets] for task in TASKS}
    assert {name: found for name, found in outlets.items() if found} == {
        "announce": ["shop_samples"]
    }
    wanted = DAGS["shop_training"].timetable.asset_condition
    assert wanted.name == "shop_samples"


def test_every_job_waits_in_a_pool_of_one_slot():
    assert {task.task_id: task.pool for task in JOBS} == {
        "make": "lake_shop",
        "train": "train",
        "register": "train",
        "evaluate": "train",
        "gate": "train",
        "report": "train",
        "publish": "train",
        "answer": "train",
        "maintain": "lake_shop",
    }


def test_every_job_has_the_rights_of_one_role():
    assert {task.task_id: task.role for task in JOBS} == {
        "make": "builder",
        "maintain": "builder",
        "train": "trainer",
        "evaluate": "trainer",
        "register": "promoter",
        "gate": "promoter",
        "report": "promoter",
        "publish": "promoter",
        "answer": "promoter",
    }


def test_training_alone_goes_where_gpus_are(monkeypatch):
    for name, value in {"EXECUTOR": "CeleryExecutor", "QUEUE": "gpu"}.items():
        monkeypatch.setenv(f"AUTOIFS_GPU_{name}", value)
    monkeypatch.setenv("AUTOIFS_TRAIN_RANKS", "2")
    tasks = training_dag("shop", "shop").tasks
    assert {task.task_id for task in tasks if task.executor == "CeleryExecutor"} == {"train"}
    assert {task.task_id for task in tasks if task.queue == "gpu"} == {"train"}
    assert [task.ranks for task in tasks if task.task_id == "train"] == [2]


def test_a_partition_is_a_day_that_starts_at_midnight():
    timetable = DAGS["shop_samples"].timetable
    assert (timetable.expression, timetable.run_offset, timetable.key_format) == (
        "0 0 * * *",
        -1,
        "%Y-%m-%d",
    )


def test_a_schedule_that_is_off_has_ended(monkeypatch):
    assert samples_dag("shop", "shop").end_date is None
    monkeypatch.setenv("AUTOIFS_SCHEDULE", "off")
    assert samples_dag("shop", "shop").end_date == NEVER


def test_the_products_are_the_files_in_infra_specs(monkeypatch):
    monkeypatch.delenv("AUTOIFS_SPECS", raising=False)
    assert products() == {"bazaar": "bazaar", "kuairand": "kuairand"}


@pytest.mark.parametrize("separator", [",", os.pathsep, " , "])
def test_the_environment_lists_products_by_name_or_path(monkeypatch, separator):
    monkeypatch.setenv("AUTOIFS_SPECS", separator.join(["bazaar", "/specs/shop.yaml"]))
    assert products() == {"bazaar": "bazaar", "shop": "/specs/shop.yaml"}


def test_reading_the_dags_is_quick_and_imports_no_room_and_no_heavy_library():
    script = (
        "import sys, time; import airflow.sdk\n"
        "from airflow.sdk import DAG, BaseOperator\n"
        "from airflow.providers.standard.operators import hitl\n"
        "before = set(sys.modules); started = time.process_time()\n"
        "import dags.nightly\n"
        "print(time.process_time() - started)\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "rooms = {'features', 'validation', 'training', 'jobs'}\n"
        "heavy = {'pyspark', 'delta', 'torch', 'mlflow', 'great_expectations', 'yaml'}\n"
        "print(sorted(new & (rooms | heavy)))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said[-1] == "[]"
    assert float(said[-2]) < 1.0
