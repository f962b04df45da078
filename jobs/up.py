"""Airflow and MLflow on 127.0.0.1, for a person to click in, until Ctrl-C."""

import logging
import os
import time
from contextlib import ExitStack
from typing import Any

from features.spec import spec_names
from jobs.airflow.server import Airflow
from jobs.airflow.settings import HOST, USER, passwords_file
from jobs.chain import Chain
from jobs.cluster.mlflow import SETTINGS
from jobs.home import Home
from jobs.process import Part, check_port, start, stop, stopped_by_sigterm

AIRFLOW_PORT = 8080
MLFLOW_PORT = 5000
LOOK = 1.0
"""Seconds between two looks at whether everything still runs."""

log = logging.getLogger(__name__)


def up(
    *,
    home: Home,
    schedule: bool = False,
    port: int = AIRFLOW_PORT,
    mlflow_port: int = MLFLOW_PORT,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Serve the web pages of Airflow and MLflow until the keyboard or a signal says stop.

    Meanwhile ``autoifs nightly`` and ``autoifs backfill`` of this home use this Airflow.

    Args:
        home: where everything lies.
        schedule: whether every product's night starts by itself at midnight (UTC).
        port: Airflow's.
        mlflow_port: MLflow's.
        seconds: how long to serve; left out: until stopped.

    Raises:
        ServiceError: when a port is taken or a part ends.
    """
    chains = [Chain(name) for name in spec_names()]
    with ExitStack() as stack:
        stack.enter_context(stopped_by_sigterm())
        airflow = Airflow(home, port=port, schedule=schedule, shared=True)
        stack.callback(airflow.stop)
        airflow.start()
        mlflow = _mlflow(home, mlflow_port)
        stack.callback(stop, [mlflow])
        client = airflow.wait([dag for chain in chains for dag in chain.dags])
        for chain in chains:
            chain.make_pools(client)
        _say(airflow, mlflow_port, home)
        _stay(airflow, mlflow, seconds)
    return {"airflow": airflow.url, "mlflow": f"http://{HOST}:{mlflow_port}"}


def _mlflow(home: Home, port: int) -> Part:
    check_port(HOST, port, "MLflow", "--mlflow-port")
    home.mlflow_artifacts.mkdir(parents=True, exist_ok=True)
    words = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    words += ["--allowed-hosts", f"{HOST}:{port},localhost:{port}"]
    words += ["--backend-store-uri", home.mlflow_uri, "--no-serve-artifacts"]
    words += ["--default-artifact-root", home.mlflow_artifacts.as_uri()]
    env = {**os.environ, **SETTINGS}
    return start("mlflow", words, env, home.root / "logs" / "mlflow.log")


def _say(airflow: Airflow, mlflow_port: int, home: Home) -> None:
    log.info("Airflow  %s  user %s, password in %s", airflow.url, USER, passwords_file(home))
    log.info("MLflow   http://%s:%d", HOST, mlflow_port)
    log.info("stop with Ctrl-C")


def _stay(airflow: Airflow, mlflow: Part, seconds: float | None) -> None:
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        while deadline is None or time.monotonic() < deadline:
            airflow.check()
            mlflow.check()
            time.sleep(LOOK)
    except KeyboardInterrupt:
        log.info("stopping")
