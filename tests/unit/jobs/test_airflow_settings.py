import json
import os

import pytest

from jobs.airflow.settings import environment, keys_of, passwords_file
from jobs.home import Home


@pytest.fixture
def home(tmp_path):
    return Home(root=tmp_path / "home", cache=tmp_path / "cache")


def test_keys_are_made_once_and_are_their_owners_alone(home):
    assert keys_of(home) == keys_of(home)
    for file in (home.airflow / "keys.json", passwords_file(home)):
        assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(passwords_file(home).read_text()) == {"admin": keys_of(home).password}


def test_two_homes_have_different_keys(home, tmp_path):
    other = Home(root=tmp_path / "other", cache=tmp_path / "cache")
    assert not set(vars(keys_of(home)).values()) & set(vars(keys_of(other)).values())


def test_everything_listens_on_this_machine_alone(home):
    env = environment(home, port=4711, schedule=False)
    assert env["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:4711/execution/"
    assert "0.0.0.0" not in " ".join(env.values())  # noqa: S104 (what must not be there)


def test_airflow_lies_in_the_home(home):
    env = environment(home, port=4711, schedule=False)
    assert env["AIRFLOW_HOME"] == str(home.root / "airflow")
    assert env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"sqlite:///{home.root}/airflow/airflow.db"
    assert env["AUTOIFS_HOME"] == str(home.root)


def test_another_airflows_settings_are_not_inherited(home, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", "redis://elsewhere")
    env = environment(home, port=4711, schedule=False)
    assert env["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "AIRFLOW__CELERY__BROKER_URL" not in env


@pytest.mark.parametrize(("schedule", "expected"), [(True, "midnight"), (False, "off")])
def test_nights_start_by_themselves_only_when_asked(home, schedule, expected):
    assert environment(home, port=4711, schedule=schedule)["AUTOIFS_SCHEDULE"] == expected


def test_a_spec_of_ones_own_joins_the_shipped_ones(home, monkeypatch):
    monkeypatch.delenv("AUTOIFS_SPECS", raising=False)
    env = environment(home, port=4711, schedule=False, extra_spec="/mine/shop.yaml")
    assert env["AUTOIFS_SPECS"].split(os.pathsep) == ["bazaar", "kuairand", "/mine/shop.yaml"]
