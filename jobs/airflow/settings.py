"""Airflow's configuration, by environment variables alone; the keys it needs, made once a home."""

import json
import os
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

from features.spec import spec_names
from jobs.home import Home

HOST = "127.0.0.1"
USER = "admin"
DAGS = Path(__file__).resolve().parents[2] / "dags"


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What signs Airflow's tokens and opens its door; lies in a file only its owner reads."""

    fernet: str
    jwt: str
    session: str
    password: str


def keys_of(home: Home) -> Keys:
    """Return the home's keys, made at the first call."""
    file = home.airflow / "keys.json"
    if not file.exists():
        made = Keys(
            fernet=urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            jwt=secrets.token_hex(32),
            session=secrets.token_hex(32),
            password=secrets.token_urlsafe(12),
        )
        write_private(file, json.dumps(vars(made)))
    keys = Keys(**json.loads(file.read_text(encoding="utf-8")))
    write_private(passwords_file(home), json.dumps({USER: keys.password}))
    return keys


def passwords_file(home: Home) -> Path:
    """Return the file in which a person finds the password of the user ``admin``."""
    return home.airflow / "passwords.json"


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read, never visible to others in between."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)


def environment(home: Home, *, port: int, schedule: bool, extra_spec: str = "") -> dict[str, str]:
    """Return the environment of Airflow's processes and, through them, of the jobs.

    Args:
        home: where the database, the logs and the keys lie.
        port: the api-server's, on 127.0.0.1.
        schedule: whether nights start by themselves at midnight.
        extra_spec: path of a spec that is not in ``infra/specs``.
    """
    keys = keys_of(home)
    specs = os.environ.get("AUTOIFS_SPECS") or os.pathsep.join(
        [*spec_names(), *([extra_spec] if extra_spec else [])]
    )
    return {
        **_inherited(),
        "AUTOIFS_HOME": str(home.root),
        "AUTOIFS_CACHE": str(home.cache),
        "AUTOIFS_SPECS": specs,
        "AUTOIFS_SCHEDULE": "midnight" if schedule else "off",
        # A person waits: one quick retry, not the cluster's two slow ones.
        "AUTOIFS_RETRIES": os.environ.get("AUTOIFS_RETRIES", "1"),
        "AUTOIFS_RETRY_SECONDS": os.environ.get("AUTOIFS_RETRY_SECONDS", "5"),
        "AIRFLOW_HOME": str(home.airflow),
        "PYTHONUNBUFFERED": "1",
        # Compiled modules are kept: without them each of Airflow's processes compiles 1,200 files.
        "PYTHONPYCACHEPREFIX": str(home.cache / "pycache"),
        **_lean(),
        **_places(home, port),
        **_locks(home, keys),
    }


def _inherited() -> dict[str, str]:
    """Return our environment without what would turn Airflow into another one than this home's."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AIRFLOW") and name != "PYTHONDONTWRITEBYTECODE"
    }


def _places(home: Home, port: int) -> dict[str, str]:
    logs = home.airflow / "logs"
    return {
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home.airflow / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home.airflow / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(logs),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(logs / "dag_processor"),
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://{HOST}:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{HOST}:{port}/execution/",
    }


def _locks(home: Home, keys: Keys) -> dict[str, str]:
    return {
        "AIRFLOW__CORE__FERNET_KEY": keys.fernet,
        "AIRFLOW__API_AUTH__JWT_SECRET": keys.jwt,
        "AIRFLOW__API__SECRET_KEY": keys.session,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file(home)),
    }


def _lean() -> dict[str, str]:
    """Return what makes Airflow small and quick on a laptop's two cores."""
    return {
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",  # the executor forks this many workers at once
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True",
        # A busy api-server (two cores, a training) must not cost a running task its life, and a
        # task that did die must be noticed before a person gives up.
        "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "180",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "SCARF_ANALYTICS": "false",
        "DO_NOT_TRACK": "1",
    }
