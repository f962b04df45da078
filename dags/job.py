"""The operator that runs a job: one ``autoifs`` command in a process group of its own."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseOperator, Connection
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)
from airflow.sdk.log import mask_secret

from dags.day import day_of, is_backfill

USER_ERRORS = (2, 3)
"""Exit codes that say a person must act: trying again would end the same way."""
GRACE = 45.0
"""Seconds a job has to end by itself before it is killed: a training writes a checkpoint in 30."""
RESTARTS = 3
"""How often a training of several processes starts again when one of them dies."""
XCOM_LIMIT = 20_000
"""Characters of a result that are kept whole; of a longer one its plain values are."""

Arguments = Callable[[Any], list[str]]
log = logging.getLogger(__name__)


def one_day(context: Any) -> list[str]:
    """Return the arguments of a command about one day."""
    return ["--ds", day_of(context)]


class JobOperator(BaseOperator):
    """Runs ``autoifs <command> <arguments> --spec <spec>`` and returns the result it prints.

    With ``ranks`` the command is started so many times by torchrun, as one training. With a
    ``role`` the job gets that role's rights (:func:`rights`), where roles have any of their own.

    The job is a process of its own, so that Spark and torch never live in Airflow's. Its lines on
    stderr are the task's log; its last line on stdout is the task's XCom. A failed job's sentence
    is the exception's text and the XCom ``failure``. With ``ends_backfill`` the tasks after it are
    skipped in a backfill, without a process that would say so. With ``only_with`` it is skipped
    where that variable of the environment is not set.
    """

    def __init__(
        self,
        *,
        command: str,
        spec: str,
        role: str = "",
        arguments: Arguments = one_day,
        ends_backfill: bool = False,
        ranks: int = 1,
        only_with: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.role, self.ranks = role, ranks
        self.ends_backfill = ends_backfill
        self.only_with = only_with
        self.command = command
        self.spec = spec
        self.arguments = arguments

    def execute(self, context: Any) -> dict[str, Any]:
        """Run the job to its end.

        Raises:
            AirflowFailException: when a person must act; it is not retried.
            AirflowException: when the job broke off otherwise; it is retried.
            DownstreamTasksSkipped: when it succeeded and is all that a backfill wants.
            AirflowSkipException: when what it is for is not set up here.
        """
        if self.only_with and not os.environ.get(self.only_with):
            raise AirflowSkipException(f"{self.only_with} is not set")
        words = [*self.command.split(), *self.arguments(context), "--spec", self.spec]
        self.log.info("autoifs %s", " ".join(words))
        status, result = self._run(words, context["run_id"])
        # torchrun ends with 1 whatever its processes ended with; they say it themselves.
        status = result.get("status", status) if status else status
        if status == 0 and result.get("ok"):
            return self._hand_on(compact(result), context)
        sentence = result.get("message") or f"autoifs {self.command} ended with status {status}"
        failure = {"message": sentence, "error": result.get("error", "crash"), "status": status}
        context["ti"].xcom_push(key="failure", value=failure)
        raise (AirflowFailException if status in USER_ERRORS else AirflowException)(sentence)

    def _hand_on(self, result: dict[str, Any], context: Any) -> dict[str, Any]:
        if self.ends_backfill and is_backfill(context):
            context["ti"].xcom_push(key="return_value", value=result)
            after = sorted(self.downstream_task_ids)
            raise DownstreamTasksSkipped(tasks=after)  # type: ignore[no-untyped-call]
        return result

    def _run(self, words: Sequence[str], run_id: str) -> tuple[int, dict[str, Any]]:
        process = subprocess.Popen(  # noqa: S603 (a list of words, no shell)
            [*together(self.ranks), *executable(), *words],
            env={**job_environment(run_id), **rights(self.role)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._process = process
        assert process.stdout is not None and process.stderr is not None  # noqa: S101 (PIPE)
        talk = threading.Thread(target=self._pass_on, args=(process.stderr,), daemon=True)
        talk.start()
        last = self._pass_on(process.stdout)
        status = process.wait()
        talk.join(GRACE)
        return status, as_result(last)

    def _pass_on(self, stream: IO[str]) -> str:
        """Write the stream's lines to the task's log; return the last one, which may be JSON."""
        last = ""
        for line in stream:
            if last:
                self.log.info("%s", last)
            last = line.rstrip()
        if last and not as_result(last):
            self.log.info("%s", last)
        return last

    def on_kill(self) -> None:
        """End the job and everything it started (the JVM, data loaders)."""
        process = getattr(self, "_process", None)
        if process is None or process.poll() is not None:
            return
        signal_group(process.pid, signal.SIGTERM)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            signal_group(process.pid, signal.SIGKILL)


def executable() -> list[str]:
    """Return the words that start ``autoifs``: ``AUTOIFS_BIN``, else beside this Python.

    Where Linux offers it, the job is ended with the task's process: a task killed with -9 must not
    leave a training behind that writes beside its retry.
    """
    program = os.environ.get("AUTOIFS_BIN") or str(Path(sys.executable).with_name("autoifs"))
    return [*_ending_with_us(), program]


def _ending_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def together(ranks: int) -> list[str]:
    """Return the words that start ``ranks`` processes as one training; none for a single one.

    When one dies, torchrun starts all of them again, and they go on from their last checkpoint.
    """
    if ranks == 1:
        return []
    torchrun = str(Path(sys.executable).with_name("torchrun"))
    many = [f"--nproc-per-node={ranks}", f"--max-restarts={RESTARTS}"]
    return [*_ending_with_us(), torchrun, "--standalone", *many, "--no-python"]


def rights(role: str) -> dict[str, str]:
    """Return the environment that gives a job the rights of its role, and of no other.

    With ``AUTOIFS_ROLES=connections`` they are the extra of Airflow's connection
    ``autoifs_<role>``, which may lie in any secrets backend: names and values of environment
    variables, such as ``AWS_ACCESS_KEY_ID``. Otherwise a job has those of the worker it runs on.

    Raises:
        AirflowFailException: when there is no such connection.
    """
    if not role or os.environ.get("AUTOIFS_ROLES") != "connections":
        return {}
    name = f"autoifs_{role}"
    try:
        found = Connection.get(name)
    except AirflowNotFoundException:
        raise AirflowFailException(
            f"there is no connection {name}, which says what the role may do; add it"
        ) from None
    given = {key: str(value) for key, value in found.extra_dejson.items()}
    for value in given.values():
        mask_secret(value)
        # Of an address also the password alone, as an error may quote it.
        mask_secret(urlsplit(value).password)
    return given


def job_environment(run_id: str) -> dict[str, str]:
    """Return the job's environment: ours without Airflow's settings, some of which are keys."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.lstrip("_").startswith("AIRFLOW")
    }
    return {**ours, "AUTOIFS_RUN_ID": run_id}


def as_result(line: str) -> dict[str, Any]:
    """Return the JSON object in ``line``, or an empty one.

    >>> as_result('{"ok": true}'), as_result("not JSON")
    ({'ok': True}, {})
    """
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def compact(result: dict[str, Any]) -> dict[str, Any]:
    """Return ``result`` as it fits in the metadata database: the whole lies in the table runs."""
    if len(json.dumps(result)) <= XCOM_LIMIT:
        return result
    return {key: value for key, value in result.items() if not isinstance(value, list | dict)}


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process group that may have ended already."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        log.debug("process group %d has ended", pid)
