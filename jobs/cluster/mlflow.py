"""MLflow's server: its database in PostgreSQL, its files on the object store, its door locked."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from jobs.cluster.login import Login, new_login
from jobs.cluster.postgres import Postgres
from jobs.cluster.server import HOST, Server

CONFIG = Path(__file__).resolve().parents[2] / "infra" / "mlflow" / "auth.ini"
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # It would run evaluations of chat agents: nine more processes, 25 s of a core at the start.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
"""Environment of every MLflow server that is started here."""


@dataclass(kw_only=True)
class Mlflow(Server):
    """The server; whoever has a login may read, and write what was granted."""

    postgres: Postgres
    database: Login
    """Whose databases ``mlflow`` and ``mlflow_auth`` are."""
    artifacts: str
    """Address of the models' files."""
    store: dict[str, str]
    """How the server enters the object store (``AWS_*``)."""
    login: Login = field(default_factory=lambda: new_login("admin"))
    key: str
    """Signs the sessions of its pages."""

    @property
    def url(self) -> str:
        """What ``MLFLOW_TRACKING_URI`` is."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Start the server; it makes its tables at the first start."""
        env = {
            **os.environ,
            **self.store,
            "MLFLOW_BACKEND_STORE_URI": self.postgres.url("mlflow", self.database),
            "MLFLOW_ARTIFACTS_DESTINATION": self.artifacts,
            "MLFLOW_S3_ENDPOINT_URL": self.store["AWS_ENDPOINT_URL"],
            "MLFLOW_AUTH_CONFIG_PATH": str(CONFIG),
            "MLFLOW_AUTH_ADMIN_USERNAME": self.login.user,
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.login.secret,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.key,
            **SETTINGS,
            **self.postgres.variables(self.database),
        }
        words = ["mlflow", "server", "--host", HOST, "--port", str(self.port), "--workers", "1"]
        words += ["--allowed-hosts", f"{HOST}:{self.port}", "--app-name", "basic-auth"]
        self._run("mlflow", words, env)

    def answers(self) -> bool:
        """Return whether the server is up."""
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def add_user(self, login: Login) -> None:
        """Let someone in, who may then read everything and own what he makes."""
        answer = httpx.post(
            f"{self.url}/api/2.0/mlflow/users/create",
            auth=(self.login.user, self.login.secret),
            json={"username": login.user, "password": login.secret},
            trust_env=False,
            timeout=30,
        )
        if "RESOURCE_ALREADY_EXISTS" not in answer.text:
            answer.raise_for_status()
