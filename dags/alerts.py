"""What is told of a night that failed, was refused, drifted or is late, by ``autoifs alert``.

Telling changes nothing: an alert that can't be sent is logged.
"""

import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import quote

from airflow.sdk import BaseNotifier
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from airflow.sdk.exceptions import AirflowFailException

from dags.job import executable, job_environment, rights
from dags.settings import deadline_hours

READER = "reader"
TIMEOUT = 60
"""Seconds for one alert."""
log = logging.getLogger(__name__)

Words = list[str] | None
"""Arguments of ``autoifs alert``; None when there is nothing to tell."""


class Alert(BaseNotifier):
    """Tells the spec's channel of what a task's end means: a failure, a refusal, drift."""

    def __init__(self, spec: str, event: Literal["failure", "rejection", "drift"]) -> None:
        super().__init__()
        self.spec, self.event = spec, event

    def notify(self, context: Any) -> None:
        """Send the alert, if there is something to tell."""
        words = _WORDS[self.event](context, self.spec)
        if words is not None:
            send(self.spec, self.event, [*words, *_link(context)], context["run_id"])


def send(spec: str, event: str, words: Sequence[str], run_id: str) -> None:
    """Run ``autoifs alert``, with the rights of who may read the tables."""
    try:
        allowed = rights(READER)
    except AirflowFailException as missing:
        # A failure can be told without the tables.
        log.warning("%s", missing)
        allowed = {}
    ended = subprocess.run(  # noqa: S603 (a list of words, no shell)
        [*executable(), "alert", "--spec", spec, "--event", event, *words],
        env={**job_environment(run_id), **allowed},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if ended.returncode:
        log.warning("the alert was not sent: %s", ended.stderr.strip())


def deadlines(spec: str) -> list[DeadlineAlert]:
    """Return the deadline of a DAG's runs, counted from when a run was queued."""
    hours = deadline_hours()
    if not hours:
        return []
    told = SyncCallback(late, kwargs={"spec": spec, "hours": hours})
    queued = DeadlineReference.DAGRUN_QUEUED_AT  # a partitioned run has no logical date
    return [DeadlineAlert(reference=queued, interval=timedelta(hours=hours), callback=told)]


def late(spec: str, hours: float, context: Any) -> None:
    """Tell that a run has not ended in time; a backfill takes what it takes.

    Args:
        spec: what ``autoifs --spec`` is given.
        hours: the deadline that was missed.
        context: Airflow's: the run as its REST interface shows it.
    """
    run = context["dag_run"]
    day = run.get("partition_key")
    if run.get("run_type") == "backfill" or not day:
        return
    text = f"{run['dag_id']} of {day} has not ended {hours:g} hours after it was queued"
    words = ["--ds", day, "--text", text, "--then", f"autoifs nightly --ds {day} --spec {spec}"]
    send(spec, "late", [*words, *_run_link(run["dag_id"], run["dag_run_id"])], run["dag_run_id"])


def _failure(context: Any, spec: str) -> Words:
    ti, task = context["ti"], context.get("task")
    day = context["dag_run"].partition_key or "no day"
    told = _failed(context)
    text = f"{ti.dag_id} {ti.task_id} of {day} failed: {told['message']}"
    words = ["--text", text, "--error", told["error"]]
    if day != "no day":
        words += ["--ds", day]
    command = getattr(task, "command", None)
    if command:
        try:
            again = " ".join(["autoifs", command, *task.arguments(context), "--spec", spec])
        except Exception:
            log.debug("the command of %s can't be told", ti.task_id, exc_info=True)
        else:
            words += ["--then", again]
    return words


def _failed(context: Any) -> dict[str, str]:
    """Return what the job said of its failure; of one that was killed, what kind it was."""
    ti = context["ti"]
    try:
        said = ti.xcom_pull(task_ids=ti.task_id, key="failure")
    except Exception:
        # Told by the scheduler, of a task that died: there the task's own words are out of reach.
        log.debug("what %s said of its failure can't be read", ti.task_id, exc_info=True)
        said = None
    if said:
        return {"message": str(said["message"]), "error": str(said["error"])}
    if not getattr(ti, "hostname", "not told"):
        queue = getattr(context.get("task"), "queue", "default")
        sentence = f"no worker took it from the queue '{queue}' in time; start one"
        return {"message": sentence, "error": "no-worker"}
    return {"message": type(context.get("exception")).__name__, "error": "crash"}


def _rejection(context: Any, spec: str) -> Words:
    decision = _result(context)
    if decision.get("verdict") != "rejected" or decision.get("skipped"):
        return None
    return ["--ds", context["dag_run"].partition_key]


def _drift(context: Any, spec: str) -> Words:
    said = _result(context)
    # A long result comes without what was found; the command looks it up in the tables.
    found = said.get("drift")
    if said.get("skipped") or (found is not None and not found.get("findings")):
        return None
    return ["--ds", context["dag_run"].partition_key]


_WORDS: dict[str, Callable[[Any, str], Words]] = {
    "failure": _failure,
    "rejection": _rejection,
    "drift": _drift,
}


def _result(context: Any) -> dict[str, Any]:
    ti = context["ti"]
    return ti.xcom_pull(task_ids=ti.task_id) or {}


def _link(context: Any) -> list[str]:
    ti = context["ti"]
    found = _run_link(ti.dag_id, context["run_id"])
    return [found[0], f"{found[1]}/tasks/{ti.task_id}"] if found else []


def _run_link(dag_id: str, run_id: str) -> list[str]:
    """Return the option that says where a run can be looked at, when Airflow's address is known."""
    base = os.environ.get("AUTOIFS_AIRFLOW_URL") or os.environ.get("AIRFLOW__API__BASE_URL")
    if not base:
        return []
    return ["--link", f"{base.rstrip('/')}/dags/{dag_id}/runs/{quote(run_id, safe='')}"]
