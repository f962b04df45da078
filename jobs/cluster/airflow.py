"""Airflow as separate processes, with PostgreSQL, Redis and a worker for the queue ``gpu``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from jobs.airflow.client import Client
from jobs.airflow.server import parsed_since, write_state
from jobs.airflow.settings import USER, environment, keys_of
from jobs.cluster.server import HOST, Server
from jobs.home import Home
from jobs.process import Part, start

PARTS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    "scheduler": ("scheduler", "--skip-serve-logs"),
}
TELLER = "reader"
"""Whose rights an alert has, which any of Airflow's processes may send."""
QUEUE = "gpu"
WORKER = ("celery", "worker", "--queues", QUEUE, "--concurrency", "1", "--skip-serve-logs")


@dataclass(kw_only=True)
class ClusterAirflow(Server):
    """Airflow's processes; each role's rights are in the environment of those that use them."""

    home: Home
    database: str
    """SQLAlchemy's address of its own database."""
    broker: str
    """Celery's address of Redis."""
    jobs: Mapping[str, str]
    """What every job finds in its environment: the lake's address, Spark's master …"""
    rights: Mapping[str, Mapping[str, str]]
    """Role → what lets a job in where the role may go."""
    queued: int
    """Seconds a task may wait for a worker of its queue, twice, before it fails and says so."""
    _since: datetime = field(default_factory=lambda: datetime.now(UTC))

    def start(self) -> None:
        """Start all processes, the worker last."""
        self._since = datetime.now(UTC)
        self._migrate()
        for name in PARTS:
            self.start_part(name)
        self.start_worker()
        self._write_state()

    def start_part(self, name: str) -> Part:
        """Start one of Airflow's own processes; tasks that need no GPU run under the scheduler."""
        tasks = ("builder", "trainer", "promoter") if name == "scheduler" else ()
        return self._part(name, PARTS[name], (*tasks, TELLER))

    def start_worker(self) -> Part:
        """Start the worker for trainings: who trains there may read what others wrote, no more."""
        return self._part("worker", WORKER, ("trainer", TELLER))

    def answers(self) -> bool:
        """Return whether the processes are well."""
        return self.client().healthy()

    def client(self) -> Client:
        """Return a client of the REST interface."""
        return Client(f"http://{HOST}:{self.port}", USER, keys_of(self.home).password, self.logs)

    @property
    def logs(self) -> Path:
        """Folder of the logs of processes and tasks; on this machine all share it."""
        return self.home.airflow / "logs"

    def _part(self, name: str, words: Sequence[str], roles: Sequence[str]) -> Part:
        env = {**self._environment(), **{_connection(role): self._extra(role) for role in roles}}
        log = self.home.airflow / "logs" / f"{name}.log"
        part = start(f"airflow {name}", ["airflow", *words], env, log, lasting=self.lasting)
        self.parts.append(part)
        return part

    def _extra(self, role: str) -> str:
        return json.dumps({"conn_type": "generic", "extra": dict(self.rights[role])})

    def _migrate(self) -> None:
        part = self._part("migrate", ("db", "migrate"), ())
        if part.process.wait() != 0:
            part.check()
        self.parts.remove(part)

    def _write_state(self) -> None:
        """Let this home's commands find us, as they find ``autoifs up``."""
        write_state(self.home, self.parts, url=f"http://{HOST}:{self.port}", shared=True)

    def _environment(self) -> dict[str, str]:
        ours = environment(self.home, port=self.port, schedule=False)
        return {
            **ours,
            **self.jobs,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.database,
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor,CeleryExecutor",
            "AIRFLOW__CELERY__BROKER_URL": self.broker,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{self.database}",
            # A task that was handed over while Redis was away, or whose worker is gone, comes back.
            "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": str(self.queued),
            "AIRFLOW__SCHEDULER__NUM_STUCK_IN_QUEUED_RETRIES": "1",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "90",
        }

    def await_dags(self, dags: Sequence[str]) -> Client:
        """Return a client once the DAGs have been read anew.

        Raises:
            ServiceError: when a process ends or a DAG can't be read.
        """
        client = self.client()
        self.wait_for(lambda: parsed_since(client, dags, self._since))
        return client


def _connection(role: str) -> str:
    return f"AIRFLOW_CONN_AUTOIFS_{role.upper()}"
