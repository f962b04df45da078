"""Bringing days up to date: which are to be built, which of them together, and doing it."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from features.arrivals import Arrivals, arrivals, bulk, in_batches
from features.errors import AuditError, SourceError, SpecError, UserError
from features.fingerprint import fingerprint
from features.spec.load import spec_hash
from jobs import steps
from jobs.runs import record
from jobs.timing import Stopwatch

if TYPE_CHECKING:
    from jobs.partition import Built, Shop

Result = dict[str, Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A day that is to be built, with the files it is made of."""

    found: Arrivals
    said: Result
    """What its commits are to say of themselves."""


def refresh(shop: "Shop", days: Iterable[date], as_of: date, force: bool) -> list[Result]:
    """Bring days up to date, oldest first; small neighbours are built together.

    Raises:
        UserError: of the first day that can't be built; those before it are published.
    """
    results: list[Result] = []
    wanted: list[Wanted] = []
    try:
        for day in sorted(days):
            one = wanted_day(shop, day, as_of, wanted)
            if force or not is_up_to_date(shop, one):
                wanted.append(one)
            else:
                results.append(_left(shop, day))
    except UserError:
        # A day whose files are missing must not keep those before it from being built.
        _build_all(shop, wanted)
        raise
    results += _build_all(shop, wanted)
    return sorted(results, key=lambda result: str(result["ds"]))


def wanted_day(shop: "Shop", day: date, as_of: date, before: Sequence[Wanted]) -> Wanted:
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


def is_up_to_date(shop: "Shop", one: Wanted) -> bool:
    """Return whether building the day again would change nothing."""
    published = shop.lake.commit_of("samples", one.found.day) or {}
    return bool(published.get("fingerprint") == one.said["fingerprint"])


def _left(shop: "Shop", day: date) -> Result:
    """Leave a day as it is, but encode it if an earlier run broke off before it did."""
    watch = Stopwatch()
    published = shop.lake.commit_of("samples", day) or {}
    kept = {key: published[key] for key in ("rows", "content_hash", "as_of")}
    result = {"ds": day.isoformat(), "skipped": True, **kept}
    encoded = shop.lake.commit_of("encoded", day) or {}
    if encoded.get("samples_hash") != published["content_hash"]:
        encoded = steps.encode(shop, {day: published}, watch)
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
    steps.start(shop, watch)
    said = {one.found.day: one.said for one in wanted}
    batch = Batch(shop.spec, tuple(one.found for one in wanted))
    staged, built = partition.build(shop, batch, said, watch)
    judged = steps.audit(shop, staged, {one.found.day: one.content_hash for one in built}, watch)
    said = {
        day: {**said[day], **steps.counted(one), "measures": judged[day]["measures"]}
        for day, one in ((one.found.day, one) for one in built)
    }
    steps.publish(shop, staged, said, watch)
    encoded = steps.encode(shop, said, watch)
    spent = time.perf_counter() - started
    results = []
    for one in built:
        day = one.found.day
        result = {
            "ds": day.isoformat(),
            "skipped": False,
            **steps.counted(one),
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
