"""What happens by the clock in a real Airflow: a missed deadline, a question nobody answers."""

import sys
import time
from collections.abc import Callable
from datetime import date

import pytest

from jobs.nightly import nightly
from tests.integration.dags.test_airflow import asked_of, serving

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.long]

SLOW, SILENT = date(2026, 3, 1), date(2026, 3, 2)
DEADLINE_HOURS = 20 / 3600
JOB = f"""#!{sys.executable}
import json, os, sys, time
words = sys.argv[1:]
with open(os.environ["AUTOIFS_HOME"] + "/asked", "a") as file:
    file.write(json.dumps(words) + "\\n")
if words[0] == "train" and "{SLOW}" in words:
    time.sleep(60)
said = {{"ok": True}}
if words[0] == "gate" and "{SILENT}" in words:
    said.update(verdict="waiting", version="8", previous="7", approval_seconds=5)
    said.update(approval_otherwise="reject")
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    hours = {"AUTOIFS_DEADLINE_HOURS": str(DEADLINE_HOURS)}
    with serving(tmp_path_factory.mktemp("home"), JOB, **hours) as found:
        yield found


def test_a_night_that_misses_its_deadline_is_told_while_it_runs(home):
    asked = asked_of(home)
    nightly(spec_name="bazaar", day=SLOW, home=home)
    late = [words for words in asked() if words.startswith("alert --spec bazaar --event late")]
    mine = [words for words in late if f"bazaar_training of {SLOW} has not ended" in words]
    assert len(mine) == 1, asked()
    assert f"--ds {SLOW}" in mine[0]
    assert f"--then autoifs nightly --ds {SLOW} --spec bazaar" in mine[0]
    assert "/dags/bazaar_training/runs/" in mine[0]


def test_a_question_that_nobody_answers_is_answered_as_the_spec_says(home):
    asked = asked_of(home)
    nightly(spec_name="bazaar", day=SILENT, home=home)
    wanted = "models reject 8 --why nobody answered in time --spec bazaar"
    _wait(lambda: wanted in asked(), asked)


def _wait(ready: Callable[[], bool], asked: Callable[[], list[str]]) -> None:
    deadline = time.monotonic() + 180
    while not ready():
        assert time.monotonic() < deadline, asked()
        time.sleep(0.5)
