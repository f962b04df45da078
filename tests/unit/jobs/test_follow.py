import pytest

from jobs.airflow.echo import Echo
from jobs.airflow.follow import JobFailed, Night, NoWorkerError


class Airflow:
    """Answers as Airflow's REST interface does about one failed task."""

    def __init__(self, hostname, said):
        self.hostname, self.said = hostname, said

    def tasks(self, dag_id, run_id):
        return [
            {"task_id": "train", "state": "failed", "queue": "gpu", "hostname": self.hostname},
            {"task_id": "register", "state": "upstream_failed", "hostname": ""},
        ]

    def xcom(self, dag_id, run_id, task_id, key):
        return self.said


def raise_failure(client, tmp_path):
    Night(client, Echo(tmp_path)).raise_failure("shop_training", "run")


def test_a_task_that_no_worker_took_is_told_with_its_queue_and_what_to_start(tmp_path):
    with pytest.raises(NoWorkerError, match=r"no worker took train from the queue 'gpu'") as told:
        raise_failure(Airflow("", {}), tmp_path)
    assert "airflow celery worker --queues gpu" in str(told.value)
    assert (told.value.code, told.value.exit_code) == ("no-worker", 2)


def test_a_task_that_ran_is_told_in_its_job_s_words(tmp_path):
    said = {"message": "days are missing", "error": "training", "status": 2}
    with pytest.raises(JobFailed, match="days are missing"):
        raise_failure(Airflow("worker-1", said), tmp_path)
