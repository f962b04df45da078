"""Airflow's REST interface, as far as this product speaks it."""

import time
from collections.abc import Container
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from features.errors import ServiceError

TIMEOUT = 30.0
"""Seconds to wait for one answer: the api-server shares two cores with Spark."""
ENDED = ("success", "failed")
PAGE = 100
"""Runs that Airflow lists at once."""


class Client:
    """Talks to one Airflow, whose tasks write their logs into a folder of this machine."""

    def __init__(self, url: str, user: str, password: str, logs: Path) -> None:
        self.url = url
        self.logs = logs
        self._login = {"username": user, "password": password}
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=False)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def healthy(self) -> bool:
        """Return whether the api-server answers, with its scheduler and DAG processor alive."""
        try:
            said = self._http.get("/api/v2/monitor/health", timeout=2).json()
        except (httpx.HTTPError, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "dag_processor")
        return all((said.get(part) or {}).get("status") == "healthy" for part in parts)

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """Return a DAG's row, or none while it is not parsed."""
        answer = self._send("GET", f"/dags/{dag_id}")
        return None if answer.status_code == 404 else _content(answer)

    def import_errors(self) -> list[str]:
        """Return why DAG files can't be read, the last line of each traceback."""
        found = _content(self._send("GET", "/importErrors"))["import_errors"]
        return [str(error["stack_trace"]).strip().splitlines()[-1] for error in found]

    def make_pool(self, name: str, description: str) -> None:
        """Create a pool of one slot, unless there is one."""
        body = {"name": name, "slots": 1, "description": description, "include_deferred": False}
        answer = self._send("POST", "/pools", json=body)
        if answer.status_code != 409:
            _content(answer)

    def trigger(self, dag_id: str, day: date, conf: dict[str, Any]) -> str:
        """Start a run of a partitioned DAG for ``day``; return its id."""
        body = {"logical_date": None, "partition_key": day.isoformat(), "conf": conf}
        return str(_content(self._send("POST", f"/dags/{dag_id}/dagRuns", json=body))["dag_run_id"])

    def runs(self, dag_id: str, **query: Any) -> list[dict[str, Any]]:
        """Return a DAG's latest runs, the newest first, ``PAGE`` of them at most."""
        query = {"order_by": "-id", "limit": PAGE, **query}
        found = _content(self._send("GET", f"/dags/{dag_id}/dagRuns", params=query))["dag_runs"]
        return list(found)

    def new_runs(self, dag_id: str, known: Container[str]) -> list[dict[str, Any]]:
        """Return the runs that came after the ``known`` ones, however many, the newest first."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.runs(dag_id, offset=len(found))
            fresh = [run for run in page if run["dag_run_id"] not in known]
            found += fresh
            if len(fresh) < PAGE:
                return found

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return one run."""
        return _content(self._send("GET", f"/dags/{dag_id}/dagRuns/{run_id}"))

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """End a run: its tasks are killed and it counts as failed."""
        self._send("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        found = _content(self._send("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"))
        return list(found["task_instances"])

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str) -> dict[str, Any]:
        """Return what a task left under ``key``, or nothing."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self._send("GET", path, params={"deserialize": True})
        value = None if answer.status_code == 404 else _content(answer)["value"]
        return value if isinstance(value, dict) else {}

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer what a task asks a person."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
        body = {"chosen_options": [option], "params_input": {}}
        _content(self._send("PATCH", path, json=body))

    def start_backfill(
        self, dag_id: str, first: date, last: date, conf: dict[str, Any], reprocess: str
    ) -> int:
        """Start a backfill, one day at a time, the oldest first; return its id."""
        body = {
            "dag_id": dag_id,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T00:00:00Z",
            "dag_run_conf": conf,
            "reprocess_behavior": reprocess,
            "max_active_runs": 1,
        }
        return int(_content(self._send("POST", "/backfills", json=body))["id"])

    def backfills(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the DAG's backfills that have not ended."""
        found = _content(self._send("GET", "/backfills", params={"dag_id": dag_id}))["backfills"]
        return [entry for entry in found if entry["completed_at"] is None]

    def end_backfill(self, backfill_id: int) -> None:
        """Let a backfill be over now; runs that are still queued fail."""
        self._send("PUT", f"/backfills/{backfill_id}/cancel")

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the answer, logging in when needed; a question without an answer is repeated."""
        for attempt in range(5):
            try:
                if "Authorization" not in self._http.headers:
                    self._log_in()
                answer = self._http.request(method, f"/api/v2{path}", **options)
            except httpx.TransportError:
                if method != "GET":
                    break
                time.sleep(2**attempt)
                continue
            if answer.status_code != 401:
                return answer
            self._http.headers.pop("Authorization")
        raise ServiceError(f"Airflow at {self.url} does not answer; see its logs or start it again")

    def _log_in(self) -> None:
        answer = self._http.post("/auth/token", json=self._login)
        if answer.status_code >= 400:
            raise ServiceError(
                f"Airflow at {self.url} refuses this home's password; it belongs to another home"
            )
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def _content(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code >= 400:
        said = answer.json().get("detail") if _is_json(answer) else answer.text
        raise ServiceError(f"Airflow refused {answer.request.url.path}: {said}")
    found: dict[str, Any] = answer.json()
    return found


def _is_json(answer: httpx.Response) -> bool:
    return "json" in answer.headers.get("content-type", "")
