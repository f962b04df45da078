"""The audit of a staged day: measured in Spark, judged and documented by Great Expectations."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from features.spec import Spec
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
class AuditResult:
    """What the audit of a day found."""

    passed: bool
    """Whether no check of severity ``stop`` failed."""
    findings: tuple[Finding, ...]
    """Failed checks, the worst first: those that stop, then by how far they are off."""
    docs: Path
    """The day's page of the Data Docs; ``index.html`` of its folder's site lists all days."""
    measures: Measures
    """The day's measures, JSON-able: the history of the audits to come."""


def audit(
    staged: "DataFrame", spec: Spec, day: date, history: Sequence[Measures], docs: Path
) -> AuditResult:
    """Audit a staged day against its spec and the days before.

    Args:
        staged: the day's samples, as in the table ``samples``.
        spec: what the columns, cells and limits are.
        day: the day, which names the page.
        history: ``measures`` of the published days before, oldest first; without any, the checks
            that compare with them are not made.
        docs: folder of the product's Data Docs; created when absent.

    Returns:
        The verdict with its findings, and the measures to keep.
    """
    past = list(history)[-spec.audit.history :]
    with ThreadPoolExecutor(max_workers=1) as pool:
        # Great Expectations takes seconds to import: time in which Spark measures.
        judging = pool.submit(import_module, "validation.audit.docs")
        measures = measure(staged, spec, past)
        judge = judging.result().judge
    checks = checks_of(spec, measures, past)
    severities = severities_of(spec)
    verdicts, page = judge(checks, severities, spec.product, day, docs)
    failed = [check for check, passed in zip(checks, verdicts, strict=True) if not passed]
    findings = _findings(failed, severities)
    return AuditResult(
        passed=all(finding.severity != "stop" for finding in findings),
        findings=findings,
        docs=page,
        measures={"ds": day.isoformat(), **measures, "compared_with": [d.get("ds") for d in past]},
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
