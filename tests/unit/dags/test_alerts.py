"""What is told of a night, to which command, and what is not."""

import json
import sys
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dags.alerts import Alert, late, send
from dags.job import JobOperator


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Return a function that gives the words of every alert that was sent."""
    file, script = tmp_path / "told", tmp_path / "autoifs"
    file.touch()
    script.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"open({str(file)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("AUTOIFS_BIN", str(script))
    monkeypatch.setenv("AUTOIFS_AIRFLOW_URL", "http://airflow:8080/")
    return lambda: [json.loads(line) for line in file.read_text().splitlines()]


def context(task_id="make", exception=None, **xcom):
    kept = {"return_value": None, **xcom}
    ti = SimpleNamespace(
        dag_id="shop_samples",
        task_id=task_id,
        xcom_pull=lambda task_ids, key="return_value": kept.get(key),
    )
    task = JobOperator(task_id=task_id, command="samples night", spec="shop")
    run = SimpleNamespace(partition_key="2026-11-10")
    return {
        "ti": ti,
        "task": task,
        "run_id": "manual__1+00:00",
        "dag_run": run,
        "params": {},
        "exception": exception,
    }


LINK = ["--link", "http://airflow:8080/dags/shop_samples/runs/manual__1%2B00%3A00/tasks/"]


def test_a_failure_names_task_day_reason_code_and_what_to_run_again(told):
    failure = {"message": "no raw data of 2026-11-10; deliver it", "error": "missing-day"}
    Alert("shop", "failure").notify(context(exception=AirflowException("x"), failure=failure))
    text = "shop_samples make of 2026-11-10 failed: no raw data of 2026-11-10; deliver it"
    again = "autoifs samples night --ds 2026-11-10 --spec shop"
    words = ["alert", "--spec", "shop", "--event", "failure", "--text", text]
    words += ["--error", "missing-day", "--ds", "2026-11-10", "--then", again]
    assert told() == [[*words, LINK[0], LINK[1] + "make"]]


def test_of_a_task_that_was_killed_only_its_kind_is_told(told):
    Alert("shop", "failure").notify(context(exception=AirflowException("row u17 is broken")))
    (words,) = told()
    assert "shop_samples make of 2026-11-10 failed: AirflowException" in words
    assert words[words.index("--error") + 1] == "crash"
    assert "u17" not in " ".join(words)


@pytest.mark.parametrize(
    ("result", "sent"),
    [
        ({"verdict": "rejected"}, True),
        ({"verdict": "rejected", "skipped": True}, False),
        ({"verdict": "promoted"}, False),
        ({"verdict": "waiting"}, False),
        (None, False),
    ],
)
def test_a_refused_model_is_told_once(told, result, sent):
    Alert("shop", "rejection").notify(context("gate", return_value=result))
    words = ["alert", "--spec", "shop", "--event", "rejection", "--ds", "2026-11-10"]
    assert told() == ([[*words, LINK[0], LINK[1] + "gate"]] if sent else [])


@pytest.mark.parametrize(
    ("result", "sent"),
    [
        ({"drift": {"findings": [{"severity": "warn", "text": "x"}]}}, True),
        ({"probe_rows": 5}, True),
        ({"drift": {"findings": []}}, False),
        ({"drift": {"findings": [1]}, "skipped": True}, False),
    ],
)
def test_drift_is_told_when_there_is_any_or_the_result_was_too_long_to_say(told, result, sent):
    Alert("shop", "drift").notify(context("evaluate", return_value=result))
    assert bool(told()) == sent


def test_an_alert_that_can_not_be_sent_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOIFS_BIN", "/bin/false")
    Alert("shop", "failure").notify(context(exception=AirflowException("x")))


def test_an_alert_is_sent_with_the_readers_rights_or_without_any(told, monkeypatch, tmp_path):
    script = tmp_path / "autoifs"
    script.write_text(
        f"#!{sys.executable}\nimport os\n"
        f"open({str(tmp_path / 'who')!r}, 'a').write(os.environ.get('WHO', '-'))\n"
    )
    monkeypatch.setattr("dags.alerts.rights", lambda role: {"WHO": role})
    send("shop", "failure", [], "1")

    def missing(role):
        raise AirflowFailException(f"there is no connection autoifs_{role}")

    monkeypatch.setattr("dags.alerts.rights", missing)
    send("shop", "failure", [], "1")
    assert (tmp_path / "who").read_text() == "reader-"


def run(**changed):
    return {
        "dag_id": "shop_training",
        "dag_run_id": "asset__1",
        "partition_key": "2026-11-10",
        "run_type": "asset_triggered",
        **changed,
    }


def test_a_late_run_is_told_with_its_deadline(told):
    late(spec="shop", hours=6.0, context={"dag_run": run()})
    text = "shop_training of 2026-11-10 has not ended 6 hours after it was queued"
    words = ["alert", "--spec", "shop", "--event", "late", "--ds", "2026-11-10", "--text", text]
    words += ["--then", "autoifs nightly --ds 2026-11-10 --spec shop"]
    link = "http://airflow:8080/dags/shop_training/runs/asset__1"
    assert told() == [[*words, "--link", link]]


@pytest.mark.parametrize("changed", [{"run_type": "backfill"}, {"partition_key": None}])
def test_a_backfill_takes_what_it_takes(told, changed):
    late(spec="shop", hours=6.0, context={"dag_run": run(**changed)})
    assert told() == []
