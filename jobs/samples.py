"""The jobs of the DAG ``samples``: build, audit, publish and encode days."""

import logging
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features import tables
from features.arrivals import Arrivals, arrivals, bulk, closing_day
from features.days import DAY, span
from features.errors import AuditError, LakeError
from features.fingerprint import fingerprint
from features.lake import Lake
from features.spec import Spec
from features.spec.load import spec_hash
from jobs.home import Home
from jobs.runs import record, results
from jobs.timing import Stopwatch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from jobs.partition import Shop
    from validation.suite import AuditResult

Result = dict[str, Any]

log = logging.getLogger(__name__)


def run(
    *,
    spec: Spec,
    spec_file_name: str,
    lake: Lake,
    home: Home,
    source: Path,
    first: date,
    last: date,
    as_of: date | None = None,
    force: bool = False,
) -> Result:
    """Build, audit, publish and encode every day of a range, oldest first, in one Spark session.

    A day that is already as it would be built again is skipped; when all are, Spark is not started.

    Args:
        spec: the product.
        spec_file_name: how errors call its file.
        lake: the product's tables.
        home: where scratch files and Data Docs go.
        source: folder of the raw data.
        first: the first day.
        last: the last day.
        as_of: the last day whose files may be read; default ``last``.
        force: build also what is up to date.

    Returns:
        ``days`` (one result a day), ``rows``, ``built`` and ``skipped``, ``steps`` (seconds).

    Raises:
        UserError: the subclasses of ``features.errors``; days before the failing one are published.
    """
    shop = _open(spec, spec_file_name, lake, home, source, first, several=first < last)
    days = [_day(shop, day, as_of or last, force) for day in span(first, last)]
    return _summary(days)


def night(
    *,
    spec: Spec,
    spec_file_name: str,
    lake: Lake,
    home: Home,
    source: Path,
    day: date,
    force: bool = False,
) -> Result:
    """Make a day's samples, and again those of the days whose last label window closes on it.

    Returns:
        As ``run``; the restated days come last.
    """
    shop = _open(spec, spec_file_name, lake, home, source, day, several=True)
    longest = max(spec.window_days.values())
    published = set(lake.days("samples"))
    closing = [
        earlier
        for earlier in span(day - DAY * (longest + 1), day - DAY)
        if closing_day(spec, earlier) == day and earlier.isoformat() in published
    ]
    return _summary([_day(shop, each, day, force) for each in (day, *closing)])


def build(
    *, spec: Spec, spec_file_name: str, lake: Lake, home: Home, source: Path, day: date
) -> Result:
    """Write a day's samples to staging and its broken rows to quarantine; publish nothing."""
    from jobs import partition

    shop = _open(spec, spec_file_name, lake, home, source, day, several=False)
    watch = Stopwatch()
    _start(shop, watch)
    found = _find(shop, day, day)
    built = partition.build(shop, found, _said(shop, found), watch)
    return {"ds": day.isoformat(), **_counted(built), "steps": watch.seconds}


def audit(
    *, spec: Spec, spec_file_name: str, lake: Lake, home: Home, source: Path, day: date
) -> Result:
    """Check the staged samples of a day.

    Raises:
        AuditError: when a rule of severity ``stop`` is broken.
        LakeError: when the day was not built.
    """
    shop = _open(spec, spec_file_name, lake, home, source, day, several=False)
    watch = Stopwatch()
    staged, said = _staged(shop, day)
    return {**_audit(shop, day, staged, said["content_hash"], watch), "steps": watch.seconds}


def publish(
    *, spec: Spec, spec_file_name: str, lake: Lake, home: Home, source: Path, day: date
) -> Result:
    """Make the audited samples of a day visible to readers, and encode them for training.

    Raises:
        AuditError: when what is staged has not passed its audit.
    """
    shop = _open(spec, spec_file_name, lake, home, source, day, several=False)
    watch = Stopwatch()
    staged, said = _staged(shop, day)
    judged = results(lake, day).get("audit", {})
    if judged.get("content_hash") != said["content_hash"]:
        raise AuditError(f"what is staged for {day} was not audited; run: autoifs samples audit")
    if not judged["passed"]:
        raise AuditError(f"what is staged for {day} failed its audit: {_worst(judged['findings'])}")
    _publish(shop, day, staged, {**said, "measures": judged["measures"]}, watch)
    encoded = _encode(shop, day, said, watch)
    result = {"ds": day.isoformat(), "rows": said["rows"], "content_hash": said["content_hash"]}
    return {**result, "encoded": encoded, "steps": watch.seconds}


def encode(
    *, spec: Spec, spec_file_name: str, lake: Lake, home: Home, source: Path, day: date
) -> Result:
    """Encode the published samples of a day for training, again if need be.

    Raises:
        LakeError: when the day is not published.
    """
    shop = _open(spec, spec_file_name, lake, home, source, day, several=False)
    watch = Stopwatch()
    said = lake.commit_of("samples", day)
    if said is None:
        raise LakeError(f"{day} is not published; run: autoifs samples run")
    return {"ds": day.isoformat(), **_encode(shop, day, said, watch), "steps": watch.seconds}


def _open(
    spec: Spec, file: str, lake: Lake, home: Home, source: Path, day: date, *, several: bool
) -> "Shop":
    from jobs.partition import BULK, Shop

    return Shop(
        spec=spec,
        spec_file=file,
        lake=lake,
        home=home,
        source=source,
        run_id=uuid.uuid4().hex,
        large=bulk(spec, source, day) >= BULK,
        several=several,
    )


def _find(shop: "Shop", day: date, as_of: date) -> Arrivals:
    """Find a day's files; what a published partition already knew is never forgotten again."""
    published = shop.lake.commit_of("samples", day) or {}
    known = date.fromisoformat(published["as_of"]) if published else day
    return arrivals(shop.spec, shop.source, day, max(day, as_of, known))


def _said(shop: "Shop", found: Arrivals) -> Result:
    """Return what a day's commits say of themselves."""
    counts = shop.lake.commits("counts")
    return {
        "fingerprint": fingerprint(shop.spec, found, counts),
        "spec_hash": spec_hash(shop.spec),
        "run_id": shop.run_id,
    }


def _day(shop: "Shop", day: date, as_of: date, force: bool) -> Result:
    """Bring one day up to date."""
    started = time.perf_counter()
    found = _find(shop, day, as_of)
    said = _said(shop, found)
    published = shop.lake.commit_of("samples", day) or {}
    watch = Stopwatch()
    if not force and published.get("fingerprint") == said["fingerprint"]:
        return _up_to_date(shop, day, published, watch)
    result = _make(shop, found, said, watch)
    seconds = time.perf_counter() - started
    log.info("%s %s: %d samples in %.1f s", shop.spec.product, day, result["rows"], seconds)
    record(shop.lake, day, "samples", seconds, result)
    return result


def _up_to_date(shop: "Shop", day: date, published: Result, watch: Stopwatch) -> Result:
    """Leave a day as it is, but encode it if an earlier run broke off before it did."""
    kept = {key: published[key] for key in ("rows", "content_hash", "as_of")}
    result = {"ds": day.isoformat(), "skipped": True, **kept}
    encoded = shop.lake.commit_of("encoded", day) or {}
    if encoded.get("samples_hash") != published["content_hash"]:
        result = {**result, "skipped": False, "encoded": _encode(shop, day, published, watch)}
    return {**result, "steps": watch.seconds}


def _make(shop: "Shop", found: Arrivals, said: Result, watch: Stopwatch) -> Result:
    from jobs import partition

    _start(shop, watch)
    built = partition.build(shop, found, said, watch)
    judged = _audit(shop, found.day, built.frame, built.content_hash, watch)
    said = {**said, **_counted(built), "measures": judged["measures"]}
    _publish(shop, found.day, built.frame, said, watch)
    encoded = _encode(shop, found.day, said, watch)
    return {
        "ds": found.day.isoformat(),
        "skipped": False,
        **_counted(built),
        "audit": judged["findings"],
        "docs": judged["docs"],
        "encoded": encoded,
        "steps": watch.seconds,
    }


def _start(shop: "Shop", watch: Stopwatch) -> None:
    """Start Spark, whose seconds are no other step's, and then see to the tables."""
    with watch.step("spark"):
        shop.spark  # noqa: B018
    with watch.step("tables"):
        tables.ensure(shop.lake, shop.spec)


def _counted(built: Any) -> Result:
    return {
        "rows": built.rows,
        "content_hash": built.content_hash,
        "as_of": built.found.as_of.isoformat(),
        "input": built.input,
        "history": built.history,
        "refused": built.refused,
        "quarantined": built.quarantined,
    }


def _staged(shop: "Shop", day: date) -> tuple["DataFrame", Result]:
    from jobs.partition import staged_day

    said = shop.lake.commit_of("staged", day)
    if said is None:
        raise LakeError(f"nothing is staged for {day}; run: autoifs samples build --ds {day}")
    return staged_day(shop, day), said


def _audit(
    shop: "Shop", day: date, staged: "DataFrame", content_hash: str, watch: Stopwatch
) -> Result:
    """Run the audit and keep its result; the last published partition stays as it is.

    Raises:
        AuditError: with the worst findings in one sentence.
    """
    from validation.suite import audit as judge

    started = time.perf_counter()
    with watch.step("audit"):
        history = _measures(shop, day)
        found: AuditResult = judge(
            staged, shop.spec, day, history, shop.home.docs(shop.spec.product)
        )
    result: Result = {
        "ds": day.isoformat(),
        "passed": found.passed,
        "content_hash": content_hash,
        "findings": [_plain(finding) for finding in found.findings],
        "docs": str(found.docs),
        "measures": found.measures,
    }
    record(shop.lake, day, "audit", time.perf_counter() - started, result)
    if not found.passed:
        raise AuditError(
            f"{shop.spec.product} {day} is not published: {_worst(result['findings'])}; "
            "see `autoifs samples show` for what is published and the Data Docs for the checks"
        )
    return result


def _plain(finding: Any) -> Result:
    return dict(finding) if isinstance(finding, dict) else asdict(finding)


def _worst(findings: Iterable[Result]) -> str:
    """Return the three worst findings as part of a sentence; those that stop come first."""
    ordered = sorted(findings, key=lambda finding: finding["severity"] != "stop")
    texts = [f"{finding['check']}: {finding['message']}" for finding in ordered]
    more = f" (and {len(texts) - 3} more)" if len(texts) > 3 else ""
    return "; ".join(texts[:3]) + more


def _measures(shop: "Shop", day: date) -> list[Result]:
    """Return what was measured of the last published days before ``day``, oldest first."""
    before = sorted(
        (ds, said["measures"])
        for ds, said in shop.lake.commits("samples").items()
        if ds < day.isoformat() and said.get("measures")
    )
    return [measures for _, measures in before[-shop.spec.audit.history :]]


def _publish(shop: "Shop", day: date, staged: "DataFrame", said: Result, watch: Stopwatch) -> None:
    from jobs.partition import files_for

    with watch.step("publish"):
        said = {key: value for key, value in said.items() if key not in ("ds", "version")}
        tables.replace_day(staged, shop.lake, "samples", day, said, files_for(said["rows"]))


def _encode(shop: "Shop", day: date, said: Result, watch: Stopwatch) -> Result:
    """Add the day's new tokens to the vocabulary and write its encoded partition."""
    from features.encode import encode as encoded
    from features.settle import settle
    from features.vocabulary import new_tokens
    from jobs.partition import files_for

    with watch.step("encode"):
        first = day - shop.spec.training.window + timedelta(days=1)
        window = tables.read(shop.spark, shop.lake, "samples", first.isoformat(), day.isoformat())
        vocabulary = tables.read(shop.spark, shop.lake, "vocabulary")
        tokens = settle(new_tokens(window, vocabulary, shop.spec, day))
        added = tokens.count()
        if added:
            tables.append(tokens, shop.lake, "vocabulary", day, {"run_id": shop.run_id})
            vocabulary = tables.read(shop.spark, shop.lake, "vocabulary")
        frame = encoded(window.where(window["ds"] == day.isoformat()), vocabulary, shop.spec)
        version = shop.lake.open("vocabulary").version()
        kept = {key: said.get(key) for key in ("rows", "as_of", "fingerprint", "spec_hash")}
        note = {
            **kept,
            "samples_hash": said["content_hash"],
            "vocabulary_version": version,
            "run_id": shop.run_id,
        }
        tables.replace_day(frame, shop.lake, "encoded", day, note, files_for(said["rows"]))
    return {"new_tokens": added, "vocabulary_version": version}


def _summary(days: list[Result]) -> Result:
    steps: Counter[str] = Counter()
    for day in days:
        steps.update(day["steps"])
    return {
        "days": days,
        "rows": sum(day["rows"] for day in days),
        "built": sum(not day["skipped"] for day in days),
        "skipped": sum(day["skipped"] for day in days),
        "steps": {name: round(seconds, 3) for name, seconds in steps.items()},
    }
