"""What the jobs say while they run, read from the tasks' logs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOGGER = "JobOperator"
"""Lines of other loggers are Airflow's own."""
_TIME = re.compile(r"^\d\d:\d\d:\d\d ")


class Echo:
    """Reads each task's log from where it stopped reading it before."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._read: dict[Path, int] = {}

    def lines(self, task: dict[str, Any]) -> Iterator[str]:
        """Yield the lines that a task's job has said since the last call."""
        log = (
            self._logs
            / f"dag_id={task['dag_id']}"
            / f"run_id={task['dag_run_id']}"
            / f"task_id={task['task_id']}"
            / f"attempt={task['try_number']}.log"
        )
        for line in self._fresh(log):
            entry = json.loads(line)
            if str(entry.get("logger", "")).endswith(LOGGER):
                yield _TIME.sub("", str(entry["event"]))

    def _fresh(self, log: Path) -> Iterator[str]:
        """Yield the whole lines that were added to a log; a half-written one waits."""
        if not log.exists():
            return
        with log.open("rb") as stream:
            stream.seek(self._read.get(log, 0))
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._read[log] = self._read.get(log, 0) + len(line)
                yield line.decode(errors="replace")
