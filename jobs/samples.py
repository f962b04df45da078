"""The jobs of the DAG ``samples``: build, audit, publish and encode days."""

import logging
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features import tables
from features.arrivals import Arrivals, arrivals, bulk, closing_day, in_batches
from features.days import DAY, span
from features.errors import AuditError, LakeError, SourceError, SpecError, UserError
from features.fingerprint import fingerprint
from features.lake import Lake
from features.spec import Spec
from features.spec.load import spec_hash
from jobs.home import Home
from jobs.runs import record, results
from jobs.timing import Stopwatch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from jobs.partition import Built, Shop
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
    return _summary(_days(shop, span(first, last), as_of or last, force))


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
        As ``run``; the restated days come first.
    """
    shop = _open(spec, spec_file_name, lake, home, source, day, several=True)
    longest = max(spec.window_days.values())
    published = set(lake.days("samples"))
    closing = [
        earlier
        for earlier in span(day - DAY * (longest + 1), day - DAY)
        if closing_day(spec, earlier) == day and earlier.isoformat() in published
    ]
    return _summary(_days(shop, [*closing, day], day, force))


def build(
    *, spec: Spec, spec_file_name: str, lake: Lake, home: Home, source: Path, day: date
) -> Result:
    """Write a day's samples to staging and its broken rows to quarantine; publish nothing."""
    from features.batch import Batch
    from jobs import partition

    shop = _open(spec, spec_file_name, lake, home, source, day, several=False)
    watch = Stopwatch()
    _start(shop, watch)
    wanted = _wanted(shop, day, day, [])
    batch = Batch(spec, (wanted.found,))
    _, (built,) = partition.build(shop, batch, {day: wanted.said}, watch)
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
    judged = _audit(shop, staged, {day: said["content_hash"]}, watch)
    return {**judged[day], "steps": watch.seconds}


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
    _publish(shop, staged, {day: {**said, "measures": judged["measures"]}}, watch)
    encoded = _encode(shop, {day: said}, watch)
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
    return {"ds": day.isoformat(), **_encode(shop, {day: said}, watch), "steps": watch.seconds}


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


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A day that is to be built, with the files it is made of."""

    found: Arrivals
    said: Result
    """What its commits are to say of themselves."""


def _days(shop: "Shop", days: Iterable[date], as_of: date, force: bool) -> list[Result]:
    """Bring days up to date, oldest first; small neighbours are built together.

    Raises:
        UserError: of the first day that can't be built; those before it are published.
    """
    results: list[Result] = []
    wanted: list[Wanted] = []
    try:
        for day in sorted(days):
            one = _wanted(shop, day, as_of, wanted)
            published = shop.lake.commit_of("samples", day) or {}
            if force or published.get("fingerprint") != one.said["fingerprint"]:
                wanted.append(one)
            else:
                results.append(_up_to_date(shop, day, published))
    except UserError:
        # A day whose files are missing must not keep those before it from being built.
        _build_all(shop, wanted)
        raise
    results += _build_all(shop, wanted)
    return sorted(results, key=lambda result: str(result["ds"]))


def _wanted(shop: "Shop", day: date, as_of: date, before: Sequence[Wanted]) -> Wanted:
    """Find a day's files; what a published partition already knew is never forgotten again.

    Args:
        shop: the product and its places.
        day: the day.
        as_of: the last day whose arrivals may count.
        before: days that will be built before it; their counts will be other than those there.
    """
    from jobs.partition import counts_said

    published = shop.lake.commit_of("samples", day) or {}
    known = date.fromisoformat(published["as_of"]) if published else day
    found = arrivals(shop.spec, shop.source, day, max(day, as_of, known))
    counts = shop.lake.commits("counts")
    counts |= {one.found.day.isoformat(): counts_said(shop, one.found.day) for one in before}
    return Wanted(found=found, said=_said(shop, found, counts))


def _said(shop: "Shop", found: Arrivals, counts: Mapping[str, Mapping[str, Any]]) -> Result:
    """Return what a day's commits say of themselves."""
    return {
        "fingerprint": fingerprint(shop.spec, found, counts),
        "spec_hash": spec_hash(shop.spec),
        "run_id": shop.run_id,
    }


def _up_to_date(shop: "Shop", day: date, published: Result) -> Result:
    """Leave a day as it is, but encode it if an earlier run broke off before it did."""
    watch = Stopwatch()
    kept = {key: published[key] for key in ("rows", "content_hash", "as_of")}
    result = {"ds": day.isoformat(), "skipped": True, **kept}
    encoded = shop.lake.commit_of("encoded", day) or {}
    if encoded.get("samples_hash") != published["content_hash"]:
        encoded = _encode(shop, {day: published}, watch)
        result = {**result, "skipped": False, "encoded": encoded}
    return {**result, "steps": watch.seconds}


def _build_all(shop: "Shop", wanted: Sequence[Wanted]) -> list[Result]:
    from jobs.partition import BULK

    sizes = [bulk(shop.spec, shop.source, one.found.day) for one in wanted]
    found: list[Result] = []
    for place in in_batches(sizes, BULK):
        found += _build_together(shop, wanted[place])
    return found


def _build_together(shop: "Shop", wanted: Sequence[Wanted]) -> list[Result]:
    """Build days in one go, or, if one of them can't be, a day at a time up to that one."""
    try:
        return _make(shop, wanted)
    except (SourceError, SpecError, AuditError):
        if len(wanted) == 1:
            raise
        log.info("%s: built a day at a time, to publish those before the one that fails", shop.spec)
        return [result for one in wanted for result in _make(shop, [one])]


def _make(shop: "Shop", wanted: Sequence[Wanted]) -> list[Result]:
    """Build, audit, publish and encode days, and keep the result of each."""
    from features.batch import Batch
    from jobs import partition
    from validation.suite import get_ready

    started = time.perf_counter()
    watch = Stopwatch()
    get_ready()
    _start(shop, watch)
    said = {one.found.day: one.said for one in wanted}
    batch = Batch(shop.spec, tuple(one.found for one in wanted))
    staged, built = partition.build(shop, batch, said, watch)
    judged = _audit(shop, staged, {one.found.day: one.content_hash for one in built}, watch)
    said = {
        day: {**said[day], **_counted(one), "measures": judged[day]["measures"]}
        for day, one in ((one.found.day, one) for one in built)
    }
    _publish(shop, staged, said, watch)
    encoded = _encode(shop, said, watch)
    spent = time.perf_counter() - started
    results = []
    for one in built:
        day = one.found.day
        result = {
            "ds": day.isoformat(),
            "skipped": False,
            **_counted(one),
            "audit": judged[day]["findings"],
            "docs": judged[day]["docs"],
            "encoded": encoded,
            "steps": _share(watch, len(built)),
        }
        record(shop.lake, day, "samples", spent / len(built), result)
        results.append(result)
    _tell(shop, built, spent)
    return results


def _share(watch: Stopwatch, days: int) -> dict[str, float]:
    """Return a day's share of the seconds of days that were built together."""
    return {name: round(seconds / days, 3) for name, seconds in watch.seconds.items()}


def _tell(shop: "Shop", built: Sequence["Built"], seconds: float) -> None:
    days = [one.found.day for one in built]
    what = str(days[0]) if len(days) == 1 else f"{days[0]} … {days[-1]} ({len(days)} days)"
    rows = sum(one.rows for one in built)
    log.info("%s %s: %d samples in %.1f s", shop.spec.product, what, rows, seconds)


def _start(shop: "Shop", watch: Stopwatch) -> None:
    """Start Spark, whose seconds are no other step's, and then see to the tables."""
    with watch.step("spark"):
        shop.spark  # noqa: B018
    with watch.step("tables"):
        tables.ensure(shop.lake, shop.spec)


def _counted(built: "Built") -> Result:
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
        record(shop.lake, day, "audit", seconds, result)
    for day, result in results.items():
        if not result["passed"]:
            raise AuditError(
                f"{shop.spec.product} {day} is not published: {_worst(result['findings'])}; "
                "see `autoifs samples show` for what is published and the Data Docs for the checks"
            )
    return results


def _kept(day: date, content_hash: str, found: "AuditResult") -> Result:
    """Return an audit's result as it is written down."""
    return {
        "ds": day.isoformat(),
        "passed": found.passed,
        "content_hash": content_hash,
        "findings": [_plain(finding) for finding in found.findings],
        "docs": str(found.docs),
        "measures": found.measures,
    }


def _plain(finding: Any) -> Result:
    return dict(finding) if isinstance(finding, dict) else asdict(finding)


def _worst(findings: Iterable[Result]) -> str:
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


def _publish(
    shop: "Shop", staged: "DataFrame", said: Mapping[date, Result], watch: Stopwatch
) -> None:
    from jobs.partition import files_for

    with watch.step("publish"):
        notes = {
            day: {key: value for key, value in one.items() if key not in ("ds", "version")}
            for day, one in said.items()
        }
        files = files_for(max(one["rows"] for one in said.values()))
        tables.replace_days(staged, shop.lake, "samples", notes, files)


def _encode(shop: "Shop", said: Mapping[date, Result], watch: Stopwatch) -> Result:
    """Add the new tokens of published days to the vocabulary and encode the days with it."""
    from features.encode import encode as encoded
    from features.settle import settle
    from features.vocabulary import new_tokens
    from jobs.partition import files_for

    with watch.step("encode"):
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
