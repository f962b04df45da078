"""The audit of staged days: measured in Spark, judged and documented by Great Expectations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Literal

from features.spec import Spec
from validation.audit.bands import Past, last_days, past_of
from validation.audit.checks import Check, checks_of
from validation.audit.measure import Measures, measure

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Severity = Literal["stop", "warn"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A check that a staged day did not pass."""

    check: str
    severity: Severity
    """``stop`` keeps the day unpublished, ``warn`` does not."""
    subject: str
    """What it is about: a column, a cell, a task, a scenario or ``samples``."""
    value: float
    message: str
    """What is wrong and against which limit, in one sentence without a full stop."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A check with what it came to."""

    check: Check
    severity: Severity
    passed: bool


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """What the audit of a day found."""

    passed: bool
    """Whether no check of severity ``stop`` failed."""
    findings: tuple[Finding, ...]
    """Failed checks, the worst first: those that stop, then by how far they are off."""
    verdicts: tuple[Verdict, ...]
    """Every check with the limits that held for it."""
    docs: Path
    """The day's page of the Data Docs; ``index.html`` of its folder's site lists all days."""
    measures: Measures
    """The day's measures, JSON-able: the history of the audits to come."""


def audit(
    staged: "DataFrame",
    spec: Spec,
    days: Sequence[date],
    history: Mapping[str, Measures],
    docs: Path,
) -> dict[date, AuditResult]:
    """Audit staged days, each against its spec and the days before it.

    Args:
        staged: the samples of the days, as in the table ``samples``.
        spec: what the columns, cells and limits are.
        days: the days, oldest first; each names a page.
        history: published day → its ``measures``; a day without any before it is spared the checks
            that compare with them. Days that are audited together are history to the later ones.
        docs: folder of the product's Data Docs; created when absent.

    Returns:
        Day → the verdict with its findings, and the measures to keep.
    """
    before = last_days(history, days[-1], spec.audit.history + len(days))
    get_ready()
    measured = measure(staged, spec, before)
    known, results = dict(history), {}
    for day in days:
        past = past_of(known, day, spec.audit)
        measures = {"ds": day.isoformat(), **measured.of(day, past.recent)}
        results[day] = _judged(spec, day, measures, past, docs)
        known[day.isoformat()] = measures
    return results


def get_ready() -> None:
    """Import Great Expectations on the side: it takes seconds, in which Spark starts or works."""
    Thread(target=import_module, args=["validation.audit.docs"], daemon=True).start()


def _judged(spec: Spec, day: date, measures: Measures, past: Past, docs: Path) -> AuditResult:
    """Judge a day's measures; what Great Expectations takes to import is waited for here."""
    from validation.audit.docs import judge

    checks = checks_of(spec, measures, past)
    severities = severities_of(spec)
    passed, page = judge(checks, severities, spec.product, day, docs)
    verdicts = tuple(
        Verdict(check=check, severity=severities[check.check], passed=good)
        for check, good in zip(checks, passed, strict=True)
    )
    findings = _findings([one.check for one in verdicts if not one.passed], severities)
    return AuditResult(
        passed=all(finding.severity != "stop" for finding in findings),
        findings=findings,
        verdicts=verdicts,
        docs=page,
        measures={**measures, "compared_with": [before.get("ds") for before in past.recent]},
    )


def severities_of(spec: Spec) -> dict[str, Severity]:
    """Return the severity of every check of the spec; one that is in both lists stops."""
    warn: dict[str, Severity] = dict.fromkeys(spec.audit.warn, "warn")
    return warn | dict.fromkeys(spec.audit.stop, "stop")


def _findings(failed: Sequence[Check], severities: Mapping[str, Severity]) -> tuple[Finding, ...]:
    ordered = sorted(failed, key=lambda check: (severities[check.check], -check.excess))
    return tuple(
        Finding(
            check=check.check,
            severity=severities[check.check],
            subject=check.subject,
            value=check.value,
            message=check.broken,
        )
        for check in ordered
    )
