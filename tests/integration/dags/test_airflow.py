"""The DAGs in a real Airflow; a script that keeps what it was asked stands in for the jobs."""

import json
import os
import sys
import time
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import httpx
import pytest

from features.errors import ServiceError, UserError
from jobs.airflow import Airflow
from jobs.airflow.server import answer_open_question
from jobs.airflow.settings import keys_of
from jobs.backfill import backfill
from jobs.home import Home
from jobs.nightly import nightly
from jobs.process import members

pytestmark = [pytest.mark.airflow, pytest.mark.slow]

DAGS = ("bazaar_samples", "bazaar_training")
MISSING = date(2026, 1, 31)
APPROVAL = date(2026, 2, 1)
BROKEN_GATE = date(2026, 2, 2)
REFUSED = date(2026, 2, 3)
MENDED = date(2026, 2, 12)
"""Fails in a backfill while the home has a file ``broken``."""
PARKED = 6
"""Seconds from a question to its answer: one that comes at once fails the task in Airflow 3.3."""

JOB = f"""#!{sys.executable}
import json, os, sys
words = sys.argv[1:]
with open(os.environ["AUTOIFS_HOME"] + "/asked", "a") as file:
    file.write(json.dumps(words) + "\\n")
def end(status=0, **result):
    print(json.dumps({{"ok": status == 0, **result}}))
    sys.exit(status)
if "{MISSING}" in words and "night" in words:
    end(2, error="missing-day", message="no raw data of {MISSING}; deliver it")
broken = os.path.exists(os.environ["AUTOIFS_HOME"] + "/broken")
if broken and words[1:4] == ["ahead", "--ds", "{MENDED}"]:
    end(2, error="source", message="a file of {MENDED} is broken; deliver it again")
if words[0] == "gate" and "{BROKEN_GATE}" in words:
    end(3, error="registry", message="the champion changed")
if words[0] == "gate" and "{APPROVAL}" in words:
    asks = {{"approval_seconds": 600, "approval_otherwise": "reject"}}
    end(verdict="waiting", version="8", previous="7", **asks)
if words[0] == "gate" and "{REFUSED}" in words:
    end(verdict="rejected", version="9", previous="8")
if words[0] == "gate":
    end(verdict="promoted", version="3", previous=None)
if words[0] == "evaluate":
    end(drift={{"findings": [{{"severity": "warn", "text": "x"}}] if "{REFUSED}" in words else []}})
if words[0] == "report":
    end(message="**bazaar** is better in 3 cells")
end()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home whose Airflow runs, open to the commands as ``autoifs up`` would have it."""
    with serving(tmp_path_factory.mktemp("home"), JOB) as found:
        yield found


@contextmanager
def serving(root: Path, script: str, **environment: str):
    """Serve an Airflow during the block, whose jobs are a script; yield its home."""
    job = root / "autoifs"
    job.write_text(script)
    job.chmod(0o755)
    cache = Path(os.environ.get("AUTOIFS_CACHE", root / "cache"))
    found = Home(root=root, cache=cache)
    with pytest.MonkeyPatch.context() as patch:
        settings = {"AUTOIFS_BIN": str(job), "AUTOIFS_RETRIES": "0", **environment}
        for name, value in settings.items():
            patch.setenv(name, value)
        airflow = Airflow(found, shared=True)
        try:
            airflow.start()
            airflow.wait(DAGS).close()
            yield found
        finally:
            leaders = [part.process.pid for part in airflow.parts]
            airflow.stop()
            assert not members(leaders)


@pytest.fixture
def asked(home):
    """Return a function that says what the jobs were asked since the test began."""
    return asked_of(home)


def asked_of(home: Home):
    file = home.root / "asked"
    before = len(file.read_text().splitlines()) if file.exists() else 0

    def since() -> list[str]:
        return [" ".join(json.loads(line)) for line in file.read_text().splitlines()[before:]]

    return since


def test_a_night_goes_through_both_dags(home, asked):
    found = nightly(spec_name="bazaar", day=date(2026, 1, 9), home=home, retrain=True)
    assert {name: task["state"] for name, task in found["tasks"].items()} == {
        "bazaar_samples.make": "success",
        "bazaar_samples.announce": "success",
        "bazaar_training.train": "success",
        "bazaar_training.register": "success",
        "bazaar_training.evaluate": "success",
        "bazaar_training.gate": "success",
        "bazaar_training.report": "success",
        "bazaar_training.needs_approval": "success",
        "bazaar_training.publish": "skipped",
        "bazaar_training.approve": "skipped",
        "bazaar_training.answer": "skipped",
    }
    assert found["results"]["gate"]["version"] == "3"
    assert not found["waiting"]
    assert asked() == [
        "samples night --ds 2026-01-09 --spec bazaar",
        "train --ds 2026-01-09 --retrain --spec bazaar",
        "register --ds 2026-01-09 --spec bazaar",
        "evaluate --ds 2026-01-09 --spec bazaar",
        "gate --ds 2026-01-09 --spec bazaar",
        "report --ds 2026-01-09 --spec bazaar",
    ]


def test_a_missing_day_ends_the_night_with_the_jobs_sentence(home, asked):
    with pytest.raises(UserError, match=f"^no raw data of {MISSING}; deliver it$") as told:
        nightly(spec_name="bazaar", day=MISSING, home=home)
    assert (told.value.code, told.value.exit_code) == ("missing-day", 2)
    assert [words.partition(" --")[0] for words in asked()] == ["samples night", "alert"]


def test_a_backfill_goes_day_by_day_oldest_first_and_starts_no_training(home, asked):
    found = backfill(
        spec_name="bazaar",
        first=date(2026, 1, 1),
        last=date(2026, 1, 3),
        home=home,
        source=Path("/raw"),
    )
    assert list(found["days"]) == ["2026-01-01", "2026-01-02", "2026-01-03"]
    end = "--to 2026-01-03 --source /raw --spec bazaar"
    assert asked() == [
        f"samples ahead --ds 2026-01-01 {end}",
        f"samples ahead --ds 2026-01-02 {end}",
        f"samples ahead --ds 2026-01-03 {end}",
    ]
    states = {name: task["state"] for name, task in found["tasks"].items()}
    assert states["2026-01-03 bazaar_samples.announce"] == "skipped"
    time.sleep(3)
    assert len(asked()) == 3


def test_a_backfill_looks_again_at_the_days_that_it_is_told_to(home, asked):
    days = [date(2026, 2, 11), MENDED]

    def looked_at(reprocess: str) -> list[str]:
        before = len(asked())
        backfill(spec_name="bazaar", first=days[0], last=days[1], home=home, reprocess=reprocess)
        return [words.split()[3] for words in asked()[before:] if "ahead" in words]

    broken = home.root / "broken"
    broken.touch()
    with pytest.raises(UserError, match=f"a file of {MENDED} is broken"):
        looked_at("none")
    broken.unlink()
    assert looked_at("none") == []
    assert looked_at("failed") == [str(MENDED)]
    assert looked_at("failed") == []
    assert looked_at("completed") == [str(day) for day in days]


def test_a_gate_that_breaks_fails_the_night_but_not_its_report(home, asked):
    with pytest.raises(UserError, match="the champion changed") as told:
        nightly(spec_name="bazaar", day=BROKEN_GATE, home=home)
    assert told.value.exit_code == 3
    assert f"report --ds {BROKEN_GATE} --spec bazaar" in asked()


def test_a_refused_model_and_drift_are_told_and_fail_nothing(home, asked):
    nightly(spec_name="bazaar", day=REFUSED, home=home)
    alerts = [words.partition(" --link ") for words in asked() if words.startswith("alert")]
    assert [words for words, *_ in alerts] == [
        f"alert --spec bazaar --event drift --ds {REFUSED}",
        f"alert --spec bazaar --event rejection --ds {REFUSED}",
    ]
    server = json.loads((home.airflow / "server.json").read_text())["url"]
    assert alerts[1][2].startswith(f"{server}/dags/bazaar_training/runs/")
    assert alerts[1][2].endswith("/tasks/gate")


@pytest.mark.parametrize(("option", "word"), [("Reject", "reject"), ("Approve", "approve")])
def test_a_person_sees_the_reports_summary_and_the_answer_is_carried_out(home, asked, option, word):
    found = nightly(spec_name="bazaar", day=APPROVAL, home=home)
    assert found["waiting"]
    assert f"report --ds {APPROVAL} --spec bazaar" in asked()
    assert not [words for words in asked() if words.startswith("models")]
    time.sleep(PARKED)
    with _interface(home) as http:
        runs = http.get("/api/v2/dags/bazaar_training/dagRuns?order_by=-id").json()["dag_runs"]
        run = runs[0]["dag_run_id"]
        path = f"/api/v2/dags/bazaar_training/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
        question = http.get(path).json()
        assert question["subject"] == "Make version 8 the champion?"
        assert question["body"].startswith("**bazaar** is better in 3 cells")
        assert question["defaults"] == ["Reject"]
        answer = http.patch(path, json={"chosen_options": [option], "params_input": {}})
        assert answer.status_code == 200
        wanted = f"models {word} 8 --why answered in Airflow by admin --spec bazaar"
        deadline = time.monotonic() + 90
        while wanted not in asked():
            assert time.monotonic() < deadline, asked()
            time.sleep(0.5)


def test_an_answer_on_the_command_line_answers_the_question_in_airflow_too(home, asked):
    nightly(spec_name="bazaar", day=APPROVAL, home=home)
    time.sleep(PARKED)
    assert answer_open_question(home, "bazaar", str(APPROVAL), "Approve")
    deadline = time.monotonic() + 90
    while not [words for words in asked() if words.startswith("models approve 8")]:
        assert time.monotonic() < deadline, asked()
        time.sleep(0.5)
    assert not answer_open_question(home, "bazaar", str(APPROVAL), "Approve"), "nothing is asked"
    assert not answer_open_question(home, "bazaar", "2020-01-01", "Approve")


def test_nothing_starts_by_itself_when_the_schedule_is_off(home):
    with _interface(home) as http:
        for dag in DAGS:
            found = http.get(f"/api/v2/dags/{dag}").json()
            assert not found["is_paused"]
            assert found["next_dagrun_run_after"] is None
            runs = http.get(f"/api/v2/dags/{dag}/dagRuns?limit=100").json()["dag_runs"]
            assert not [run for run in runs if run["run_type"] == "scheduled"]


def test_a_run_without_a_day_fails_in_its_first_task(home):
    with _interface(home) as http:
        path = "/api/v2/dags/bazaar_samples/dagRuns"
        run = http.post(path, json={"logical_date": None, "conf": {}}).json()["dag_run_id"]
        deadline = time.monotonic() + 60
        while (state := http.get(f"{path}/{run}").json()["state"]) in ("queued", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.5)
    assert state == "failed"


def test_a_second_airflow_of_the_same_home_is_refused(home):
    with pytest.raises(ServiceError, match="another command is running the Airflow of"):
        Airflow(home).start()


def test_passwords_and_keys_are_their_owners_alone(home):
    for name in ("keys.json", "passwords.json", "server.json"):
        assert (home.airflow / name).stat().st_mode & 0o077 == 0
    keys = keys_of(home)
    for log in (home.airflow / "logs").rglob("*.log"):
        text = log.read_text(errors="replace")
        assert not [key for key in vars(keys).values() if key in text], log


@contextmanager
def _interface(home):
    url = json.loads((home.airflow / "server.json").read_text())["url"]
    login = {"username": "admin", "password": keys_of(home).password}
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
        token = http.post("/auth/token", json=login).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        yield http
