"""The runbook has an entry for everything that the product can report as wrong."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from features.spec.policy import AuditCheck, Event

CHECKOUT = Path(__file__).resolve().parents[2]
RUNBOOK = (CHECKOUT / "infra" / "RUNBOOK.md").read_text(encoding="utf-8")
ROOMS = ("features", "validation", "training", "jobs", "dags")
BROKEN_OFF = {"internal", "stopped", "crash"}
"""Codes that no class has: of a command that failed otherwise, was stopped, or said nothing."""


def trees() -> Iterator[ast.Module]:
    for room in ROOMS:
        for path in (CHECKOUT / room).rglob("*.py"):
            yield ast.parse(path.read_text(encoding="utf-8"))


def constants(target: str) -> set[str]:
    """Return every text that a class gives to ``target``."""
    return {
        node.value.value
        for tree in trees()
        for top in ast.walk(tree)
        if isinstance(top, ast.ClassDef)
        for node in top.body
        if isinstance(node, ast.Assign)
        and any(isinstance(one, ast.Name) and one.id == target for one in node.targets)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def gate_checks() -> set[str]:
    """Return the names of all checks that a gate makes."""
    return {
        word.value.value
        for tree in trees()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Check"
        for word in call.keywords
        if word.arg == "name" and isinstance(word.value, ast.Constant)
    }


def section(name: str) -> str:
    """Return a section of the runbook: from its heading to the next of the same kind."""
    found = re.search(
        rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL
    )
    assert found, f"infra/RUNBOOK.md has no section '{name}'"
    return found[1]


def entries(name: str) -> dict[str, str]:
    """Return heading → text of the entries of a section."""
    parts = re.split(r"^### `([^`]+)`.*\n", section(name), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


CODES = constants("code") | BROKEN_OFF


def test_there_are_codes_to_look_for():
    assert {"input", "missing-day", "champion-changed", "artifact", "unavailable"} <= CODES
    assert {"finite", "calibration", "drift", "artifact"} <= gate_checks()


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_error_code_has_an_entry_that_says_what_it_means_and_what_to_do(code):
    entry = entries("Errors, by code").get(code)
    assert entry, f"infra/RUNBOOK.md has no entry '### `{code}`' under 'Errors, by code'"
    for word in ("**Means:**", "**See:**", "**Do:**"):
        assert word in entry, f"the entry of {code} has no {word}"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Refusals of the gate, by check", {*gate_checks(), "worse"}),
        ("Findings of the audit, by check", set(get_args(AuditCheck))),
        ("Alerts, by event", set(get_args(Event))),
    ],
)
def test_everything_else_that_is_reported_has_an_entry(name, wanted):
    assert set(entries(name)) == wanted


def test_no_entry_is_of_something_that_is_not_reported():
    assert set(entries("Errors, by code")) == CODES
