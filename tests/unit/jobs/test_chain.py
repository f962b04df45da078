from datetime import date
from pathlib import Path

import pytest

from features.errors import ServiceError, UserError
from features.spec import specs_folder
from jobs.airflow import Client, follow
from jobs.airflow.client import PAGE
from jobs.airflow.echo import Echo
from jobs.airflow.follow import Night, appearing, waits
from jobs.chain import chain_of, run_options


class Airflow:
    """An Airflow that says what it was given to say."""

    def __init__(self, tasks=(), runs=(), said=None):
        self._tasks = [
            {"task_id": name, "state": state, "duration": 2.0, "hostname": "worker-1"}
            for name, state in tasks
        ]
        self._runs = list(runs)
        self._said = said or {}

    def tasks(self, dag_id, run_id):
        return self._tasks

    def runs(self, dag_id, **query):
        return self._runs

    def xcom(self, dag_id, run_id, task_id, key):
        return self._said.get((task_id, key), {})


class Paged(Client):
    """A client of an Airflow that holds these runs."""

    def __init__(self, held):
        self._held = [{"dag_run_id": number} for number in held]

    def runs(self, dag_id, offset=0, **query):
        return self._held[offset : offset + PAGE]


@pytest.mark.parametrize("new", [0, 3, PAGE, 2 * PAGE + 1])
def test_all_runs_of_a_long_backfill_are_found_and_none_before_it(new):
    known = {f"old {number}" for number in range(PAGE)}
    held = [*(f"new {number}" for number in range(new)), *known, "older"]
    found = [run["dag_run_id"] for run in Paged(held).new_runs("shop_samples", known)]
    assert found == held[:new]


def test_a_shipped_product_has_two_dags():
    chain, extra = chain_of("bazaar")
    assert (chain.dags, extra) == (("bazaar_samples", "bazaar_training"), "")


def test_a_spec_of_ones_own_is_passed_on_by_its_path(tmp_path):
    text = (specs_folder() / "bazaar.yaml").read_text().replace("product: bazaar", "product: shop")
    (tmp_path / "shop.yaml").write_text(text)
    chain, extra = chain_of(str(tmp_path / "shop.yaml"))
    assert (chain.samples, extra) == ("shop_samples", str(tmp_path / "shop.yaml"))


def test_a_spec_whose_file_is_called_otherwise_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text((specs_folder() / "bazaar.yaml").read_text())
    with pytest.raises(UserError, match=r"its product is 'bazaar'; name the file bazaar\.yaml"):
        chain_of(str(tmp_path / "mine.yaml"))


def test_only_options_that_were_given_reach_the_run():
    assert run_options(None, retrain=False, to="2026-01-08") == {"to": "2026-01-08"}
    assert run_options(Path("/raw"), retrain=True) == {"retrain": True, "source": "/raw"}


def test_a_failed_task_is_told_in_the_jobs_own_words():
    failure = {"message": "no raw data of 2026-01-03", "error": "missing-day", "status": 2}
    airflow = Airflow([("make", "failed")], said={("make", "failure"): failure})
    with pytest.raises(UserError, match=r"^no raw data of 2026-01-03$") as told:
        Night(airflow, Echo(Path("/logs"))).raise_failure("shop_samples", "1")
    assert (told.value.code, told.value.exit_code) == ("missing-day", 2)


def test_a_job_ended_by_a_signal_fails_the_command_with_status_1():
    failure = {"message": "ended with status -9", "error": "crash", "status": -9}
    airflow = Airflow([("make", "failed")], said={("make", "failure"): failure})
    with pytest.raises(UserError) as told:
        Night(airflow, Echo(Path("/logs"))).raise_failure("shop_samples", "1")
    assert told.value.exit_code == 1


def test_a_task_that_failed_without_a_word_is_named_with_its_run():
    airflow = Airflow([("make", "success"), ("announce", "failed")])
    with pytest.raises(ServiceError, match="shop_samples: announce failed in Airflow itself"):
        Night(airflow, Echo(Path("/logs"))).raise_failure("shop_samples", "1")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("success", "awaiting_input", None), True),
        (("running", "awaiting_input"), False),
        (("queued", "awaiting_input"), False),
        (("success", "success"), False),
    ],
)
def test_a_run_waits_for_a_person_when_nothing_else_can_go_on(states, expected):
    assert waits([{"state": state} for state in states]) is expected


def test_the_run_of_the_day_is_told_from_earlier_ones_of_the_same_day():
    runs = [
        {"partition_key": "2026-01-04", "dag_run_id": "other"},
        {"partition_key": "2026-01-03", "dag_run_id": "new"},
        {"partition_key": "2026-01-03", "dag_run_id": "old"},
    ]
    assert appearing(Airflow(runs=runs), "shop_training", date(2026, 1, 3), {"old"}) == "new"


def test_a_training_that_does_not_start_is_told_after_a_while(monkeypatch):
    monkeypatch.setattr(follow, "HANDOVER", 0.1)
    with pytest.raises(ServiceError, match="shop_training did not start for 2026-01-03"):
        appearing(Airflow(), "shop_training", date(2026, 1, 3), set())


def test_what_a_job_says_is_passed_on_once_and_without_airflows_own_lines(tmp_path):
    task = {"dag_id": "shop_samples", "dag_run_id": "1", "task_id": "make", "try_number": 1}
    log = tmp_path / "dag_id=shop_samples" / "run_id=1" / "task_id=make" / "attempt=1.log"
    log.parent.mkdir(parents=True)
    own = '{"event": "::group::Pre Execute", "logger": "task"}'
    said = '{"event": "06:14:16 read 20 rows", "logger": "airflow.task.dags.job.JobOperator"}'
    echo = Echo(tmp_path)
    assert list(echo.lines(task)) == []
    log.write_text(f"{own}\n{said}\n" + said[:30])
    assert list(echo.lines(task)) == ["read 20 rows"]
    log.write_text(f"{own}\n{said}\n{said}\n")
    assert list(echo.lines(task)) == ["read 20 rows"]
    assert list(echo.lines(task)) == []
