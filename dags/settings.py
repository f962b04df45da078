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


def task_defaults() -> dict[str, Any]:
    """Return what every job's task gets: an owner, retries, a limit of time."""
    return {
        "owner": "autoifs",
        "retries": int(os.environ.get("AUTOIFS_RETRIES", "2")),
        "retry_delay": timedelta(seconds=float(os.environ.get("AUTOIFS_RETRY_SECONDS", "120"))),
        "execution_timeout": timedelta(hours=6),
    }
