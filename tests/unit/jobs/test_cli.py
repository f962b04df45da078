"""The command line's promises: one JSON line, one sentence, a status."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from features.errors import AuditError, UserError
from jobs import cli

RUNNER = CliRunner()


def last_line(output: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(output.splitlines()[-1])
    return said


def test_a_command_ends_with_one_json_line() -> None:
    done = RUNNER.invoke(cli.app, ["spec", "check", "--spec", "bazaar"])

    assert done.exit_code == 0
    assert last_line(done.stdout)["ok"] is True
    assert last_line(done.stdout)["scenarios"] == ["feed", "search", "live", "deals"]


def test_a_spec_that_is_not_there_is_a_sentence_and_status_2() -> None:
    done = RUNNER.invoke(cli.app, ["spec", "check", "--spec", "nowhere.yaml"])

    assert done.exit_code == 2
    assert last_line(done.stdout) == {
        "ok": False,
        "command": "spec check",
        "error": "spec",
        "message": "spec 'nowhere.yaml' not found; give a path, or one of: bazaar, kuairand",
        "status": 2,
    }


def test_a_range_that_ends_before_it_starts_is_refused(tmp_path: Path) -> None:
    words = ["samples", "run", "--from", "2026-01-02", "--to", "2026-01-01"]
    done = RUNNER.invoke(cli.app, [*words, "--home", str(tmp_path)])

    assert done.exit_code == 2
    assert "swap them" in last_line(done.stdout)["message"]


@pytest.mark.parametrize(
    ("error", "status", "code", "words"),
    [
        (UserError("a is wrong; do b"), 2, "input", "a is wrong; do b"),
        (AuditError("too few rows"), 3, "audit", "too few rows"),
        (ZeroDivisionError("by zero\nsecond line"), 1, "internal", "ZeroDivisionError: by zero;"),
    ],
)
def test_every_way_to_fail_has_its_status_and_no_trace(
    error: Exception,
    status: int,
    code: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(name: str) -> None:
        raise error

    monkeypatch.setattr("jobs.commands.spec.load_spec", fail)
    done = RUNNER.invoke(cli.app, ["spec", "check"])

    assert done.exit_code == status
    said = last_line(done.stdout)
    assert (said["ok"], said["error"]) == (False, code)
    assert words in said["message"]
    assert "Traceback" not in done.output


def test_debug_shows_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("jobs.commands.spec.load_spec", fail)
    done = RUNNER.invoke(cli.app, ["spec", "check", "--debug"])

    assert "Traceback" in done.output


def test_the_schema_for_editors_knows_every_section() -> None:
    done = RUNNER.invoke(cli.app, ["spec", "schema"])

    sections = last_line(done.stdout)["schema"]["properties"]
    assert {"sources", "scenarios", "tasks", "features", "training", "gate"} <= set(sections)
