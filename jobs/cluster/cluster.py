"""All servers of the profile ``cluster``, on this machine: started in order, found again, ended."""

import json
import logging
import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from features.spec import spec_names
from jobs.airflow.settings import write_private
from jobs.chain import Chain
from jobs.cluster.airflow import ClusterAirflow
from jobs.cluster.login import Login, new_login
from jobs.cluster.mlflow import Mlflow
from jobs.cluster.postgres import Postgres
from jobs.cluster.redis import Redis
from jobs.cluster.server import Server
from jobs.cluster.spark import Spark
from jobs.cluster.store import Store
from jobs.home import Home
from jobs.process import birth, end_sessions

INFRA = Path(__file__).resolve().parents[2] / "infra"
BUCKET = "autoifs"
ROLES = ("builder", "trainer", "promoter", "reader")

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Cluster:
    """The servers of one home; what they hold lies in its folder ``cluster``."""

    home: Home
    lasting: bool = False
    """Whether they outlive this process."""
    queued: int = 120
    """Seconds a training may wait for a worker, twice, before it fails and says so."""
    logins: dict[str, Login] = field(default_factory=dict)
    """Everybody's, by the name of server and user."""

    def __post_init__(self) -> None:
        self.logins = _logins(self.folder / "logins.json")
        place: Any = {"cache": self.home.cache, "lasting": self.lasting}
        known = self.logins
        self.store = Store(folder=self.folder / "store", login=known["store root"], **place)
        self.postgres = Postgres(
            folder=self.folder / "postgres", login=known["postgres autoifs"], **place
        )
        self.redis = Redis(folder=self.folder / "redis", login=known["redis default"], **place)
        self.spark = Spark(folder=self.folder / "spark", **place)

    @property
    def folder(self) -> Path:
        """Where all servers keep what they hold."""
        return self.home.root / "cluster"

    @property
    def servers(self) -> list[Server]:
        """Those that run, in the order in which they were started."""
        later = [getattr(self, name, None) for name in ("mlflow", "airflow")]
        first: list[Server] = [self.store, self.postgres, self.redis, self.spark]
        return [*first, *(one for one in later if one is not None)]

    def start(self) -> None:
        """Start everything; when it returns, nights can be run.

        Raises:
            ServiceError: when a program is missing or a server does not come up.
        """
        end(self.home)  # what a command that was killed left behind
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for server in self.servers:
            server.start()
            self._write_state()
        for server in self.servers:
            server.wait()
        log.info("object store, PostgreSQL, Redis and Spark are up")
        self._fill_store()
        self._fill_postgres()
        self._start_mlflow()
        self._start_airflow()

    def stop(self) -> None:
        """End everything, the last first."""
        for server in reversed(self.servers):
            server.stop()
        _state_file(self.home).unlink(missing_ok=True)

    def chains(self) -> list[Chain]:
        """Return the DAGs of every shipped product."""
        return [Chain(name) for name in spec_names()]

    def addresses(self) -> dict[str, str]:
        """Return where a person finds the servers; the passwords are in ``logins.json``."""
        return {
            "airflow": f"http://127.0.0.1:{self.airflow.port}",
            "mlflow": self.mlflow.url,
            "store": self.store.url,
            "spark": f"http://127.0.0.1:{self.spark.page}",
            "logins": str(self.folder / "logins.json"),
        }

    def job_environment(self) -> dict[str, str]:
        """Return what every job of this cluster finds in its environment; no secret is in it."""
        store = self.store.environment()
        return {
            **profile("cluster", self.home),
            **{name: value for name, value in store.items() if "KEY" not in name},
            "AUTOIFS_LAKE": f"s3a://{BUCKET}/lake",
            "AUTOIFS_WORK": f"s3://{BUCKET}/work",
            "AUTOIFS_LOCKS": f"s3://{BUCKET}/locks",
            "AUTOIFS_PUBLISH": f"s3://{BUCKET}/published",
            "AUTOIFS_SPARK_MASTER": self.spark.url,
            "SPARK_CONF_DIR": str(self.spark.settings),
            "MLFLOW_TRACKING_URI": self.mlflow.url,
        }

    def rights(self, role: str) -> dict[str, str]:
        """Return what lets a job in where ``role`` may go."""
        key, user = self.logins[f"store {role}"], self.logins[f"mlflow {role}"]
        return {
            "AWS_ACCESS_KEY_ID": key.user,
            "AWS_SECRET_ACCESS_KEY": key.secret,
            "MLFLOW_TRACKING_USERNAME": user.user,
            "MLFLOW_TRACKING_PASSWORD": user.secret,
            "AUTOIFS_MLFLOW_DATABASE": self.postgres.url("mlflow", self.logins[f"postgres {role}"]),
        }

    def _fill_store(self) -> None:
        """Make the bucket, and a user for each policy in ``infra/iam``, unless they are there."""
        from botocore.exceptions import ClientError

        with suppress(ClientError):
            self.store.client().create_bucket(Bucket=BUCKET)
        for role in (*ROLES, "mlflow"):
            if f"store {role}" not in self.logins:
                self.logins[f"store {role}"] = self.store.add_user(role, policy(role))
        self._keep_logins()

    def _fill_postgres(self) -> None:
        for name in ("airflow", "mlflow"):
            self.postgres.make_user(self._login(f"postgres {name}"))
            self.postgres.make_database(name, owner=name)
        self.postgres.make_database("mlflow_auth", owner="mlflow")
        self._keep_logins()

    def _start_mlflow(self) -> None:
        self.mlflow = Mlflow(
            folder=self.folder / "mlflow",
            cache=self.home.cache,
            lasting=self.lasting,
            postgres=self.postgres,
            database=self.logins["postgres mlflow"],
            artifacts=f"s3://{BUCKET}/mlflow",
            store=self.store.environment(self.logins["store mlflow"]),
            login=self._login("mlflow admin"),
            key=self._login("mlflow sessions").secret,
        )
        self.mlflow.start()
        self._write_state()
        self.mlflow.wait()
        for role in ROLES:
            self.mlflow.add_user(self._login(f"mlflow {role}"))
            self.postgres.make_user(self._login(f"postgres {role}"))
        grants = (INFRA / "postgres" / "grants.sql").read_text(encoding="utf-8")
        self.postgres.ask(grants, "mlflow", self.logins["postgres mlflow"])
        self._keep_logins()
        log.info("MLflow is up at %s", self.mlflow.url)

    def _start_airflow(self) -> None:
        database = self.postgres.url("airflow", self.logins["postgres airflow"])
        self.airflow = ClusterAirflow(
            folder=self.home.airflow,
            cache=self.home.cache,
            lasting=self.lasting,
            home=self.home,
            database=database,
            broker=self.redis.url,
            jobs=self.job_environment(),
            rights={role: self.rights(role) for role in ROLES},
            queued=self.queued,
        )
        self.airflow.start()
        self._write_state()
        self.airflow.wait()
        client = self.airflow.await_dags([dag for one in self.chains() for dag in one.dags])
        for chain in self.chains():
            chain.make_pools(client)
        client.close()
        log.info("Airflow is up at http://127.0.0.1:%d", self.airflow.port)

    def _login(self, name: str) -> Login:
        """Return the login of ``<server> <user>``, made when it is first asked for."""
        return self.logins.setdefault(name, new_login(name.partition(" ")[2]))

    def _keep_logins(self) -> None:
        said = {name: [one.user, one.secret] for name, one in self.logins.items()}
        write_private(self.folder / "logins.json", json.dumps(said))

    def _write_state(self) -> None:
        """Write down what was started, for ``cluster down`` and for a successor."""
        pids = [part.process.pid for server in self.servers for part in server.parts]
        write_private(_state_file(self.home), json.dumps({pid: birth(pid) for pid in pids}))


def profile(name: str, home: Home) -> dict[str, str]:
    """Return what a profile in ``infra/profiles`` sets, as a shell reads it."""
    script = 'set -a; . "$1"; env -0'
    places = {"AUTOIFS_HOME": str(home.root), "AUTOIFS_CACHE": str(home.cache)}
    said = subprocess.run(  # noqa: S603 (our own file)
        ["/bin/bash", "-c", script, "profile", str(INFRA / "profiles" / f"{name}.env")],
        env={"PATH": os.environ["PATH"], **places},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = dict(entry.partition("=")[::2] for entry in said.split("\0") if entry)
    shells = ("PATH", "PWD", "SHLVL", "_", *places)
    return {key: value for key, value in found.items() if key not in shells}


def policy(role: str, bucket: str = BUCKET) -> dict[str, Any]:
    """Return what a role may do on the object store (``infra/iam``)."""
    text = (INFRA / "iam" / f"{role}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(Template(text).substitute(bucket=bucket))
    return found


def end(home: Home) -> int:
    """End what runs of a home's cluster, however it was started; return how many servers that were.

    Only processes that this home's cluster started: their numbers and births were written down.
    """
    file = _state_file(home)
    known: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    ours = [int(pid) for pid, born in known.items() if born and born.startswith(birth(int(pid)))]
    end_sessions(ours)
    file.unlink(missing_ok=True)
    return len(ours)


def _state_file(home: Home) -> Path:
    return home.root / "cluster" / "processes.json"


def _logins(file: Path) -> dict[str, Login]:
    """Return the logins of a home's servers; those that must be known before the first start."""
    said = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    known = {name: Login(*pair) for name, pair in said.items()}
    for name in ("store root", "postgres autoifs", "redis default"):
        known.setdefault(name, new_login(name.partition(" ")[2]))
    return known
