"""What the environment decides: which products there are, whether nights start by themselves."""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

SPECS = Path(__file__).resolve().parents[1] / "infra" / "specs"
NEVER = datetime(2000, 1, 1, tzinfo=UTC)


def products() -> dict[str, str]:
    """Return product → what ``autoifs --spec`` is given for it.

    ``AUTOIFS_SPECS`` lists names or paths, separated by commas or the system's path separator;
    unset, every file in ``infra/specs`` is a product. A spec's file is named after its product and
    is not opened here: parsing stays quick, and a broken spec fails its own night only.
    """
    listed = re.split(rf"[,{os.pathsep}]", os.environ.get("AUTOIFS_SPECS", ""))
    given = [item.strip() for item in listed if item.strip()]
    names = given or sorted(path.stem for path in SPECS.glob("*.yaml"))
    return {Path(name).stem: name for name in names}


def schedule_end() -> datetime | None:
    """Return the end of the schedule: none, or long ago when ``AUTOIFS_SCHEDULE`` is ``off``.

    A schedule that ended never starts a run by itself, while runs by hand and backfills go on:
    they carry a partition key and no logical date, the only thing an end date is compared with.
    Switching a DAG off by pausing it would stop those too, and unpausing it would at once start
    the night before.
    """
    return NEVER if os.environ.get("AUTOIFS_SCHEDULE", "midnight") == "off" else None


def gpu_options() -> dict[str, Any]:
    """Return where a task that wants GPUs runs; nothing on a laptop, which has one place.

    ``AUTOIFS_GPU_EXECUTOR`` names one of Airflow's executors, ``AUTOIFS_GPU_QUEUE`` a queue that
    workers with GPUs serve, ``AUTOIFS_GPU_POD`` a file with the pod in which Kubernetes is to run
    the task (what it leaves out is as for every other task).
    """
    names = {"executor": "AUTOIFS_GPU_EXECUTOR", "queue": "AUTOIFS_GPU_QUEUE"}
    options: dict[str, Any] = {
        option: os.environ[name] for option, name in names.items() if os.environ.get(name)
    }
    pod = os.environ.get("AUTOIFS_GPU_POD")
    if pod:
        from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

        options["executor_config"] = {"pod_override": PodGenerator.deserialize_model_file(pod)}
    return options


def train_ranks() -> int:
    """Return how many processes train together (``AUTOIFS_TRAIN_RANKS``)."""
    return int(os.environ.get("AUTOIFS_TRAIN_RANKS", "1"))


def deadline_hours() -> float:
    """Return after how many hours a run is late (``AUTOIFS_DEADLINE_HOURS``); 0: never."""
    return float(os.environ.get("AUTOIFS_DEADLINE_HOURS", "6"))


def task_defaults() -> dict[str, Any]:
    """Return what every job's task gets: an owner, retries, a limit of time."""
    return {
        "owner": "autoifs",
        "retries": int(os.environ.get("AUTOIFS_RETRIES", "2")),
        "retry_delay": timedelta(seconds=float(os.environ.get("AUTOIFS_RETRY_SECONDS", "120"))),
        "execution_timeout": timedelta(hours=6),
    }
