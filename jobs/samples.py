"""The jobs of the DAG ``samples``: build, audit, publish and encode days."""

import logging
from collections import Counter
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from features.arrivals import arrivals, bulk, closing_day
from features.days import DAY, span
from features.errors import AuditError, LakeError, MissingDayError
from features.lake import Lake
from features.spec import Spec
from jobs import steps
from jobs.home import Home
from jobs.refresh import Result, is_done, open_shop, refresh, wanted_day
from jobs.runs import record, results
from jobs.timing import Stopwatch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from jobs.partition import Shop

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
    shop = open_shop(spec, spec_file_name, lake, home, source, first, several=first < last)
    return _summary(refresh(shop, span(first, last), as_of or last, force))


def ahead(
    *,
    spec: Spec,
    spec_file_name: str,
    lake: Lake,
    home: Home,
    source: Path,
    day: date,
    last: date,
) -> Result:
    """Make a day of a backfill, and with it the days after it that go through the same plan.

    Small days are cheap together. Large ones are made one by one: a run of each, between which a
    night that waits for the tables gets its turn. A log that all days share is read once, for all
    days up to ``last``, up to whose end labels are read. A day that is found done is left as it is,
    and nothing else is looked at.

    Returns:
        As ``run``.
    """
    shop = open_shop(spec, spec_file_name, lake, home, source, day, several=day < last)
    return _summary(refresh(shop, _together(shop, day, last), last, force=False))


def _together(shop: "Shop", day: date, last: date) -> list[date]:
    from jobs.partition import BULK

    if not shop.spec.log.daily:
        return list(span(day, last))
    days = [day]
    if is_done(shop, wanted_day(shop, day, last, [])):
        return days
    shared = bulk(shop.spec, shop.source, [])
    rows = bulk(shop.spec, shop.source, days)
    for later in span(day + DAY, last):
        rows += bulk(shop.spec, shop.source, [later]) - shared
        if rows >= BULK or not _has_files(shop, later):
            break
        days.append(later)
    return days


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

    With them come the days of the training window that could not be built on their own night, for
    a file was missing that has arrived since.

    Returns:
        As ``run``, the oldest day first.
    """
    shop = open_shop(spec, spec_file_name, lake, home, source, day, several=True)
    longest = max(spec.window_days.values())
    published = set(lake.days("samples"))
    closing = [
        earlier
        for earlier in span(day - DAY * (longest + 1), day - DAY)
        if closing_day(spec, earlier) == day and earlier.isoformat() in published
    ]
    late = _delivered_late(shop, day, published)
    return _summary(refresh(shop, [*late, *closing, day], day, force))


def _delivered_late(shop: "Shop", day: date, published: set[str]) -> list[date]:
    """Return the days between published ones and ``day`` whose files are only now all there."""
    first = day - shop.spec.training.window
    # Where all days share a file none can be late: a day without samples was left out on purpose.
    if not shop.spec.log.daily or not any(ds >= first.isoformat() for ds in published):
        return []
    oldest = max(first, date.fromisoformat(min(published)))
    missing = [one for one in span(oldest, day - DAY) if one.isoformat() not in published]
    return [one for one in missing if _has_files(shop, one)]


def _has_files(shop: "Shop", day: date) -> bool:
    try:
        arrivals(shop.spec, shop.source, day, day)
    except MissingDayError as error:
        log.warning("%s (%s is left out)", error, day)
        return False
    return True


def restate(
    *,
    spec: Spec,
    spec_file_name: str,
    lake: Lake,
    home: Home,
    source: Path,
    day: date,
    force: bool = False,
) -> Result:
    """Build one published day again, with all that has arrived since and the rules as they are now.

    Returns:
        As ``run``, and ``stale``: the later published days whose rates were made of what this day
        counted before, and which a backfill would build again. No other day's files are touched.

    Raises:
        LakeError: when the day is not published.
    """
    published = lake.commits("samples")
    if day.isoformat() not in published:
        raise LakeError(f"{day} is not published; run: autoifs samples run --from {day} --to {day}")
    as_of = max(date.fromisoformat(said["as_of"]) for said in published.values())
    before = lake.commit_of("counts", day) or {}
    shop = open_shop(spec, spec_file_name, lake, home, source, day, several=False)
    found = _summary(refresh(shop, [day], as_of, force))
    after = lake.commit_of("counts", day) or {}
    later = [ds for ds in sorted(published) if ds > day.isoformat()]
    same = before.get("fingerprint") == after.get("fingerprint")
    return {**found, "stale": [] if same else later}


def build(
    *, spec: Spec, spec_file_name: str, lake: Lake, home: Home, source: Path, day: date
) -> Result:
    """Write a day's samples to staging and its broken rows to quarantine; publish nothing."""
    from features.batch import Batch
    from jobs import partition

    shop = open_shop(spec, spec_file_name, lake, home, source, day, several=False)
    watch = Stopwatch()
    steps.start(shop, watch)
    wanted = wanted_day(shop, day, day, [])
    batch = Batch(spec, (wanted.found,), partition.records(lake))
    _, (built,) = partition.build(shop, batch, {day: wanted.said}, watch)
    result = {"ds": day.isoformat(), **steps.counted(built), "steps": watch.seconds}
    record(lake, day, "build", sum(watch.seconds.values()), {**result, "run_id": shop.run_id})
    return result


def audit(
    *, spec: Spec, spec_file_name: str, lake: Lake, home: Home, source: Path, day: date
) -> Result:
    """Check the staged samples of a day.

    Raises:
        AuditError: when a rule of severity ``stop`` is broken.
        LakeError: when the day was not built.
    """
    shop = open_shop(spec, spec_file_name, lake, home, source, day, several=False)
    watch = Stopwatch()
    staged, said = _staged(shop, day)
    judged = steps.audit(shop, staged, {day: said["content_hash"]}, watch)
    return {**judged[day], "steps": watch.seconds}


def publish(
    *, spec: Spec, spec_file_name: str, lake: Lake, home: Home, source: Path, day: date
) -> Result:
    """Make the audited samples of a day visible to readers, and encode them for training.

    Raises:
        AuditError: when what is staged has not passed its audit.
    """
    shop = open_shop(spec, spec_file_name, lake, home, source, day, several=False)
    watch = Stopwatch()
    staged, said = _staged(shop, day)
    judged = results(lake, day).get("audit", {})
    if judged.get("content_hash") != said["content_hash"]:
        raise AuditError(f"what is staged for {day} was not audited; run: autoifs samples audit")
    if not judged["passed"]:
        raise AuditError(
            f"what is staged for {day} failed its audit: {steps.worst(judged['findings'])}"
        )
    steps.publish(shop, staged, {day: {**said, "measures": judged["measures"]}}, watch)
    encoded = steps.encode(shop, {day: said}, watch)
    result = {"ds": day.isoformat(), "rows": said["rows"], "content_hash": said["content_hash"]}
    return {**result, "encoded": encoded, "steps": watch.seconds}


def encode(
    *, spec: Spec, spec_file_name: str, lake: Lake, home: Home, source: Path, day: date
) -> Result:
    """Encode the published samples of a day for training, again if need be.

    Raises:
        LakeError: when the day is not published.
    """
    shop = open_shop(spec, spec_file_name, lake, home, source, day, several=False)
    watch = Stopwatch()
    said = lake.commit_of("samples", day)
    if said is None:
        raise LakeError(f"{day} is not published; run: autoifs samples run")
    return {"ds": day.isoformat(), **steps.encode(shop, {day: said}, watch), "steps": watch.seconds}


def _staged(shop: "Shop", day: date) -> tuple["DataFrame", Result]:
    from features.digest import EMPTY, digests
    from jobs.partition import staged_day

    said = shop.lake.commit_of("staged", day)
    if said is None:
        raise LakeError(f"nothing is staged for {day}; run: autoifs samples build --ds {day}")
    staged = staged_day(shop, day)
    if "content_hash" not in said:
        # Of a large day it is known only when its rows lie in the table.
        built = results(shop.lake, day).get("build", {})
        if built.get("run_id") == said["run_id"]:
            content = built["content_hash"]
        else:  # the run was killed before it could say
            _, content = digests(staged).get(day.isoformat(), EMPTY)
        said = {**said, "content_hash": content}
    return staged, said


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
