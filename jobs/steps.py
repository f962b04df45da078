"""The steps of building days, each for several at once: start, audit, publish, encode."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from features import tables
from features.errors import AuditError
from features.lake import Lake
from jobs.runs import record
from jobs.timing import Stopwatch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from jobs.partition import Built, Shop
    from validation.suite import AuditResult

Result = dict[str, Any]

_AUDITS = pa.schema(
    [
        *((name, pa.string()) for name in ("ds", "check", "subject", "severity")),
        ("passed", pa.bool_()),
        *((name, pa.float64()) for name in ("value", "low", "high")),
        ("learned_from", pa.list_(pa.string())),
    ]
)
"""The table ``audits``: a row a day and check, with the limits that held and whence they came."""


def start(shop: "Shop", watch: Stopwatch) -> None:
    """Start Spark, whose seconds are no other step's, and then see to the tables."""
    with watch.step("spark"):
        shop.spark  # noqa: B018
    with watch.step("tables"):
        tables.ensure(shop.lake, shop.spec)


def counted(built: "Built") -> Result:
    """Return what a day's commits say of its rows."""
    return {
        "rows": built.rows,
        "content_hash": built.content_hash,
        "as_of": built.found.as_of.isoformat(),
        "input": built.input,
        "history": built.history,
        "refused": built.refused,
        "quarantined": built.quarantined,
        "dropped": built.dropped,
    }


def audit(
    shop: "Shop", staged: "DataFrame", contents: Mapping[date, str], watch: Stopwatch
) -> dict[date, Result]:
    """Run the audit of days and keep its results; the last published partitions stay as they are.

    Args:
        shop: the product and its places.
        staged: the samples of the days.
        contents: day → the content hash of what is audited.
        watch: takes the time.

    Raises:
        AuditError: with the worst findings of the first day that failed, in one sentence.
    """
    from validation.suite import audit as judge

    started = time.perf_counter()
    with watch.step("audit"):
        history = _measures(shop)
        docs = shop.home.docs(shop.spec.product)
        found = judge(staged, shop.spec, sorted(contents), history, docs)
    seconds = (time.perf_counter() - started) / len(contents)
    results = {day: _kept(day, contents[day], found[day]) for day in contents}
    for day, result in results.items():
        _keep_limits(shop.lake, day, found[day])
        record(shop.lake, day, "audit", seconds, result)
    for day, result in results.items():
        if not result["passed"]:
            raise AuditError(
                f"{shop.spec.product} {day} is not published: {worst(result['findings'])}; "
                "see `autoifs samples show` for what is published and the Data Docs for the checks"
            )
    return results


def _kept(day: date, content_hash: str, found: "AuditResult") -> Result:
    """Return an audit's result as it is written down."""
    return {
        "ds": day.isoformat(),
        "passed": found.passed,
        "content_hash": content_hash,
        "findings": [asdict(finding) for finding in found.findings],
        "docs": str(found.docs),
        "measures": found.measures,
    }


def _keep_limits(lake: Lake, day: date, found: "AuditResult") -> None:
    """Write every check of a day with the limits that held for it into the table ``audits``."""
    ds = day.isoformat()
    rows = [
        {
            "ds": ds,
            "check": one.check.check,
            "subject": one.check.subject,
            "severity": one.severity,
            "passed": one.passed,
            **{name: getattr(one.check, name) for name in ("value", "low", "high")},
            "learned_from": list(one.check.learned_from),
        }
        for one in found.verdicts
    ]
    lake.replace("audits", {"ds": ds}, pa.Table.from_pylist(rows, schema=_AUDITS))


def worst(findings: Iterable[Result]) -> str:
    """Return the three worst findings as part of a sentence; those that stop come first."""
    ordered = sorted(findings, key=lambda finding: finding["severity"] != "stop")
    texts = [f"{finding['check']}: {finding['message']}" for finding in ordered]
    more = f" (and {len(texts) - 3} more)" if len(texts) > 3 else ""
    return "; ".join(texts[:3]) + more


def _measures(shop: "Shop") -> dict[str, Result]:
    """Return what was measured of each published day."""
    return {
        ds: said["measures"]
        for ds, said in shop.lake.commits("samples").items()
        if said.get("measures")
    }


def publish(
    shop: "Shop", staged: "DataFrame", said: Mapping[date, Result], watch: Stopwatch
) -> None:
    """Make audited samples visible to readers; ``said`` is what each day's commit says."""
    from jobs.partition import files_for

    with watch.step("publish"):
        notes = {
            day: {key: value for key, value in one.items() if key not in ("ds", "version")}
            for day, one in said.items()
        }
        files = files_for(max(one["rows"] for one in said.values()))
        tables.replace_days(staged, shop.lake, "samples", notes, files)


def encode(shop: "Shop", said: Mapping[date, Result], watch: Stopwatch) -> Result:
    """Add the new tokens of published days to the vocabulary and encode the days with it."""
    from features.encode import encode as encoded
    from features.settle import settle
    from features.vocabulary import new_tokens
    from jobs.partition import files_for

    # Two that read the vocabulary at once would give two tokens one index.
    with shop.lake.hold("vocabulary", "encoded"), watch.step("encode"):
        earliest, day = min(said), max(said)
        first = min(earliest, day - shop.spec.training.window + timedelta(days=1))
        window = tables.read(shop.spark, shop.lake, "samples", first.isoformat(), day.isoformat())
        vocabulary = tables.read(shop.spark, shop.lake, "vocabulary")
        tokens = settle(new_tokens(window, vocabulary, shop.spec, day))
        added = tokens.count()
        if added:
            tables.append(tokens, shop.lake, "vocabulary", day, {"run_id": shop.run_id})
            vocabulary = tables.read(shop.spark, shop.lake, "vocabulary")
        wanted = window.where(window["ds"].isin([each.isoformat() for each in said]))
        frame = encoded(wanted, vocabulary, shop.spec)
        version = shop.lake.open("vocabulary").version()
        notes = {
            day: {
                **{key: one.get(key) for key in ("rows", "as_of", "fingerprint", "spec_hash")},
                "samples_hash": one["content_hash"],
                "vocabulary_version": version,
                "run_id": shop.run_id,
            }
            for day, one in said.items()
        }
        files = files_for(max(one["rows"] for one in said.values()))
        tables.replace_days(frame, shop.lake, "encoded", notes, files)
    return {"new_tokens": added, "vocabulary_version": version}
