"""Following runs to their end: a line for every task that moves, a sentence for one that fails."""

import logging
import time
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from features.errors import ServiceError, UserError
from jobs.airflow.client import ENDED, Client
from jobs.airflow.echo import Echo

POLL = 0.5
"""Seconds between two looks at a run that moves."""
LONGEST_POLL = 2.0
"""Seconds between two looks at a run whose tasks take long."""
HANDOVER = 180.0
"""Seconds the training's run may take to appear after the samples were announced."""

log = logging.getLogger(__name__)


class JobFailed(UserError):
    """A task of the night that failed, with the sentence its job ended with."""

    def __init__(self, sentence: str, code: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.code = code
        self.exit_code = exit_code


class NoWorkerError(ServiceError):
    """A task that waited in a queue which no worker serves."""

    code = "no-worker"


@dataclass
class Night:
    """What is known of the runs being followed."""

    client: Client
    echo: Echo
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """``<dag>.<task>`` → its state and seconds."""

    def follow(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Watch a run until it ends, or until all that is left of it waits for a person."""
        pause = POLL
        while True:
            run = self.client.run(dag_id, run_id)
            tasks = self.client.tasks(dag_id, run_id)
            moved = self._look(tasks, run.get("partition_key") or run_id)
            if run["state"] in ENDED or waits(tasks):
                return run
            # A long task is looked at less often: each look costs the busy machine something.
            pause = POLL if moved else min(pause * 1.5, LONGEST_POLL)
            time.sleep(pause)

    def results(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return task → what its job said, of the tasks that said something."""
        said = {}
        for task in self.client.tasks(dag_id, run_id):
            if task["state"] == "success":
                result = self.client.xcom(dag_id, run_id, task["task_id"], "return_value")
                if result:
                    said[task["task_id"]] = result
        return said

    def raise_failure(self, dag_id: str, run_id: str) -> None:
        """Raise the sentence of the first task of a run that failed by itself.

        Raises:
            JobFailed: with the job's own sentence, kind and exit code.
            NoWorkerError: when no worker took the task.
            ServiceError: when the task failed without saying why.
        """
        failed = [task for task in self.client.tasks(dag_id, run_id) if task["state"] == "failed"]
        for task in failed:
            said = self.client.xcom(dag_id, run_id, task["task_id"], "failure")
            if said:
                raise JobFailed(said["message"], said["error"], _exit_code(said["status"]))
            if not task["hostname"]:  # Airflow dates the start of what it fails itself, too
                queue = task["queue"]
                raise NoWorkerError(
                    f"{dag_id}: no worker took {task['task_id']} from the queue '{queue}' in time; "
                    f"start one (airflow celery worker --queues {queue}) and run the night again"
                )
        names = ", ".join(task["task_id"] for task in failed) or "the run"
        raise ServiceError(
            f"{dag_id}: {names} failed in Airflow itself; see the log of run {run_id}"
        )

    def _look(self, tasks: list[dict[str, Any]], key: str) -> bool:
        """Say what has changed; return whether anything has."""
        moved = False
        for task in tasks:
            name = f"{key} {task['dag_id']}.{task['task_id']}"
            state, seconds = task["state"], round(task["duration"] or 0.0, 1)
            before = self.tasks.get(name, {}).get("state")
            self.tasks[name] = {"state": state, "seconds": seconds}
            for line in self.echo.lines(task) if state else ():
                log.info("  %s", line)
            if state != before and state in _SAID:
                spent = f" ({seconds:.0f} s)" if state in _TIMED else ""
                log.info("%s %s%s", name, _SAID[state], spent)
            moved = moved or state != before
        return moved


WAITING = "awaiting_input"
_SAID = {
    "running": "runs",
    "success": "is done",
    "failed": "failed",
    "skipped": "is skipped",
    "up_for_retry": "broke off and will be tried again",
    "upstream_failed": "can't run: a task before it failed",
    WAITING: "waits for a person: autoifs models approve, or Browse → Required Actions",
}
_TIMED = ("success", "failed", "up_for_retry")


def waits(tasks: list[dict[str, Any]]) -> bool:
    """Return whether a run waits for a person, with no task left that could go on."""
    states = {task["state"] for task in tasks}
    return WAITING in states and not states & {"running", "queued", "scheduled", "up_for_retry"}


def appearing(client: Client, dag_id: str, day: date, known: set[str]) -> str:
    """Return the id of the run of ``day`` that is not among the ``known``, once it appears.

    Raises:
        ServiceError: when none appears.
    """
    deadline = time.monotonic() + HANDOVER
    while time.monotonic() < deadline:
        for run in client.runs(dag_id):
            if run["partition_key"] == day.isoformat() and run["dag_run_id"] not in known:
                return str(run["dag_run_id"])
        time.sleep(POLL)
    raise ServiceError(f"{dag_id} did not start for {day}; is it paused in Airflow?")


def run_ids(client: Client, dag_id: str) -> set[str]:
    """Return the ids of a DAG's latest runs."""
    return {str(run["dag_run_id"]) for run in client.runs(dag_id)}


def _exit_code(status: int) -> int:
    """Return the status to end with: the job's own, or 1 where a signal ended it."""
    return status if status > 0 else 1
