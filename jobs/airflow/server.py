"""Starting, finding and ending the Airflow of a home."""

import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from features.errors import ServiceError
from jobs.airflow.client import ENDED, Client
from jobs.airflow.follow import WAITING, waits
from jobs.airflow.settings import HOST, USER, environment, keys_of, write_private
from jobs.home import Home
from jobs.process import (
    Part,
    alive,
    birth,
    check_port,
    end_sessions,
    free_port,
    start,
    start_talking,
    stop,
    stopped_by_sigterm,
)

PARTS: tuple[tuple[str, ...], ...] = (
    ("api-server",),
    ("dag-processor",),
    ("scheduler", "--skip-serve-logs"),  # its log server would listen on all interfaces
)
PATIENCE = 180.0
"""Seconds until Airflow must be up: 20 on two idle cores, many more on busy ones."""

log = logging.getLogger(__name__)


@dataclass
class Airflow:
    """The api-server, DAG processor and scheduler of a home, on 127.0.0.1 with SQLite.

    One at a time and home: a lock is held from :meth:`start` to :meth:`stop`.
    """

    home: Home
    port: int | None = None
    """The api-server's port; none: any free one."""
    schedule: bool = False
    """Whether nights start by themselves at midnight."""
    shared: bool = False
    """Whether other commands of this home may use it (``autoifs up``)."""
    extra_spec: str = ""
    """Path of a spec that is not in ``infra/specs``."""
    parts: list[Part] = field(default_factory=list)
    _spark: Part | None = None
    _lock: IO[str] | None = None
    _started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def url(self) -> str:
        """Address of the web pages and the REST interface."""
        return f"http://{HOST}:{self.port}"

    @property
    def logs(self) -> Path:
        """Folder of the logs of Airflow's parts and tasks."""
        return self.home.airflow / "logs"

    def start(self) -> None:
        """Start all parts; they are ready after :meth:`wait`.

        Raises:
            ServiceError: when the port is taken or another command drives this home's Airflow.
        """
        self._lock = _lock(self.home)
        self._end_survivors()
        if self.port is None:
            self.port = free_port(HOST)
        check_port(HOST, self.port, "Airflow", "--port")
        env = environment(
            self.home, port=self.port, schedule=self.schedule, extra_spec=self.extra_spec
        )
        self._make_database(env)
        self._started = datetime.now(UTC)
        self._spark, said = self._start_spark(env)
        for words in PARTS:
            # The scheduler comes last: its workers hand on to the jobs where the JVM is.
            last = words is PARTS[-1]
            self.parts.append(self._part(words, {**env, **(_said(said) if last else {})}))
            self._write_state()

    def wait(self, dags: Sequence[str]) -> Client:
        """Return a client once Airflow is healthy and has read the DAGs anew.

        Raises:
            ServiceError: when a part ends, a DAG can't be read, or it takes too long.
        """
        keys = keys_of(self.home)
        client = Client(self.url, USER, keys.password, self.logs)
        deadline = time.monotonic() + PATIENCE
        while not (client.healthy() and parsed_since(client, dags, self._started)):
            for part in self.parts:
                part.check()
            if time.monotonic() > deadline:
                raise ServiceError(f"Airflow was not up after {PATIENCE:.0f} s; see {self.logs}")
            time.sleep(0.25)
        return client

    def check(self) -> None:
        """Raise when a part has ended."""
        for part in self.parts:
            part.check()

    def stop(self) -> None:
        """End all parts and what they run, and let go of the lock."""
        stop(self._everything())
        self.parts.clear()
        self._spark = None
        _state_file(self.home).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _write_state(self) -> None:
        write_state(self.home, self._everything(), url=self.url, shared=self.shared)

    def _end_survivors(self) -> None:
        """End what outlived a command that was killed: two schedulers must not share a database."""
        parts = _state(self.home).get("parts", {})
        ours = [
            int(pid) for pid, born in parts.items() if born and born.startswith(birth(int(pid)))
        ]
        end_sessions(ours)

    def _everything(self) -> list[Part]:
        return [*self.parts, *([self._spark] if self._spark else [])]

    def _start_spark(self, env: dict[str, str]) -> tuple[Part, IO[bytes]]:
        """Start the JVM that the jobs share; without it they start their own."""
        words = ["python", "-m", "features.keeper", str(self.home.cache), str(self.home.root)]
        return start_talking("spark", words, env, self.home.root / "logs" / "spark.log")

    def _part(self, words: Sequence[str], env: dict[str, str]) -> Part:
        return start(f"airflow {words[0]}", ["airflow", *words], env, self.logs / f"{words[0]}.log")

    def _make_database(self, env: dict[str, str]) -> None:
        """Create the metadata database; a fresh one of this version is kept in the cache."""
        database = self.home.airflow / "airflow.db"
        stamp = self.home.airflow / "version"
        installed = version("apache-airflow")
        if database.exists() and stamp.exists() and stamp.read_text() == installed:
            return
        fresh = self.home.cache / f"airflow-{installed}.db"
        if fresh.exists() and not database.exists():
            shutil.copy(fresh, database)
        else:
            keep = not database.exists()
            self._migrate(env)
            if keep:
                fresh.parent.mkdir(parents=True, exist_ok=True)
                partial = fresh.with_suffix(f".{os.getpid()}")
                shutil.copy(database, partial)
                partial.replace(fresh)
        stamp.write_text(installed)

    def _migrate(self, env: dict[str, str]) -> None:
        part = self._part(("db", "migrate"), env)
        self.parts.append(part)
        if part.process.wait() != 0:
            part.check()
        self.parts.remove(part)


def parsed_since(client: Client, dags: Sequence[str], moment: datetime) -> bool:
    """Return whether every DAG has been read since ``moment``.

    Raises:
        ServiceError: when one can't be read.
    """
    for complaint in client.import_errors():
        raise ServiceError(f"Airflow can't read the DAGs: {complaint}")
    for dag_id in dags:
        found = client.dag(dag_id)
        parsed = (found or {}).get("last_parsed_time")
        if not parsed or datetime.fromisoformat(parsed) < moment:
            return False
    return True


def write_state(home: Home, parts: Sequence[Part], *, url: str, shared: bool) -> None:
    """Write down where Airflow is and what was started, for other commands and for a successor."""
    state = {
        "pid": parts[0].process.pid,
        "url": url,
        "shared": shared,
        "parts": {part.process.pid: birth(part.process.pid) for part in parts},
    }
    write_private(_state_file(home), json.dumps(state))


@contextmanager
def connect(home: Home, dags: Sequence[str], extra_spec: str = "") -> Iterator[Client]:
    """Talk to the Airflow that ``autoifs up`` serves, or to one started for this block."""
    served = _served(home)
    if served:
        client = Client(served, USER, keys_of(home).password, home.airflow / "logs")
        for dag_id in dags:
            if client.dag(dag_id) is None:
                raise ServiceError(
                    f"the Airflow at {served} has no DAG {dag_id}; end `autoifs up`, or start it "
                    "again with AUTOIFS_SPECS naming the spec"
                )
        yield client
        return
    airflow = Airflow(home, extra_spec=extra_spec)
    with stopped_by_sigterm():
        try:
            log.info("starting Airflow")
            airflow.start()
            client = airflow.wait(dags)
            log.info("Airflow is up at %s", airflow.url)
            clear_leftovers(client, dags)
            yield client
        finally:
            airflow.stop()


def answer_open_question(home: Home, product: str, ds: str, option: str) -> bool:
    """Answer what the night of ``ds`` asks in the Airflow that ``autoifs up`` serves, if it does.

    Args:
        home: whose Airflow.
        product: whose night.
        ds: its day.
        option: ``Approve`` or ``Reject``.
    """
    served = _served(home)
    if served is None:
        return False
    client = Client(served, USER, keys_of(home).password, home.airflow / "logs")
    dag_id = f"{product}_training"
    for run in client.runs(dag_id):
        if run.get("partition_key") != ds or run["state"] in ENDED:
            continue
        for task in client.tasks(dag_id, run["dag_run_id"]):
            if task["state"] == WAITING:
                client.answer(dag_id, run["dag_run_id"], task["task_id"], option)
                return True
    return False


def clear_leftovers(client: Client, dags: Sequence[str]) -> None:
    """End what a command that was killed left behind; nobody else drives a private Airflow."""
    for dag_id in dags:
        for backfill in client.backfills(dag_id):
            client.end_backfill(backfill["id"])
        for run in client.runs(dag_id):
            if run["state"] not in ENDED and not waits(client.tasks(dag_id, run["dag_run_id"])):
                log.info("ending a run left behind: %s", run["dag_run_id"])
                client.fail_run(dag_id, run["dag_run_id"])


def _said(stream: IO[bytes]) -> dict[str, str]:
    """Return where the JVM is; nothing when it did not start, which a job will explain."""
    line = stream.readline()
    found: dict[str, str] = json.loads(line) if line.strip() else {}
    return found


def _served(home: Home) -> str | None:
    """Return the address of the Airflow that ``autoifs up`` serves, if it still does."""
    state = _state(home)
    if not state or not state["shared"] or not alive(state["pid"]):
        return None
    return str(state["url"])


def _state(home: Home) -> dict[str, Any]:
    """Return what a command wrote down of the Airflow it started, unless it ended as it should."""
    file = _state_file(home)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def _state_file(home: Home) -> Path:
    return home.airflow / "server.json"


def _lock(home: Home) -> IO[str]:
    """Return the held lock of the home's Airflow; the system lets go of it should we be killed."""
    home.airflow.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (home.airflow / "lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ServiceError(
            f"another command is running the Airflow of {home.root}; wait for it to end"
        ) from None
    return file
