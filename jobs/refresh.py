"""Bringing days up to date: which are to be built, which of them together, and doing it."""

import logging
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.arrivals import Arrivals, arrivals, bulk, in_batches
from features.errors import AuditError, SourceError, SpecError, UserError
from features.fingerprint import fingerprint
from features.lake import BUILT, Lake
from features.spec import Spec
from features.spec.load import spec_hash
from jobs import steps
from jobs.home import Home
from jobs.runs import record
from jobs.timing import Stopwatch

if TYPE_CHECKING:
    from jobs.partition import Shop

Result = dict[str, Any]

log = logging.getLogger(__name__)


def open_shop(
    spec: Spec, file: str, lake: Lake, home: Home, source: Path, day: date, *, several: bool
) -> "Shop":
    """Return what stays the same while days are built; ``day`` says whether they are large."""
    from jobs.partition import BULK, Shop

    return Shop(
        spec=spec,
        spec_file=file,
        lake=lake,
        home=home,
        source=source,
        run_id=uuid.uuid4().hex,
        large=bulk(spec, source, [day]) >= BULK,
        several=several,
    )


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A day that is to be built, or only to be encoded, with the files it is made of."""

    found: Arrivals
    said: Result
    """What its commits are to say of themselves."""
    published: Result | None = None
    """What its samples say, if they are as they should be and a run broke off after them."""


def refresh(shop: "Shop", days: Iterable[date], as_of: date, force: bool) -> list[Result]:
    """Bring days up to date, oldest first; small neighbours are built together.

    What is to be built is decided and built while no other process writes the tables.

    Raises:
        UserError: of the first day that can't be built; those before it are published.
    """
    with shop.lake.hold(*BUILT):
        return _refresh(shop, days, as_of, force)


def _refresh(shop: "Shop", days: Iterable[date], as_of: date, force: bool) -> list[Result]:
    results: list[Result] = []
    wanted: list[Wanted] = []
    try:
        for day in sorted(days):
            one = wanted_day(shop, day, as_of, wanted)
            published = shop.lake.commit_of("samples", day) or {}
            if force or not is_up_to_date(shop, one):
                wanted.append(one)
            elif not _is_encoded(shop, day, published):
                wanted.append(replace(one, published=published))
            else:
                results.append({**_kept(day, published), "skipped": True, "steps": {}})
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
        before: days that come before it; the counts of those built will be other than now.
    """
    from jobs.partition import counts_said

    published = shop.lake.commit_of("samples", day) or {}
    known = date.fromisoformat(published["as_of"]) if published else day
    found = arrivals(shop.spec, shop.source, day, max(day, as_of, known))
    counts = shop.lake.commits("counts")
    built = (one.found.day for one in before if one.published is None)
    counts |= {each.isoformat(): counts_said(shop, each) for each in built}
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


def is_done(shop: "Shop", one: Wanted) -> bool:
    """Return whether nothing is left to do for a day."""
    published = shop.lake.commit_of("samples", one.found.day) or {}
    return is_up_to_date(shop, one) and _is_encoded(shop, one.found.day, published)


def _is_encoded(shop: "Shop", day: date, published: Result) -> bool:
    encoded = shop.lake.commit_of("encoded", day) or {}
    return bool(encoded.get("samples_hash") == published["content_hash"])


def _kept(day: date, published: Result) -> Result:
    """Return the result of a day whose samples stay as they are."""
    return {"ds": str(day), **{key: published[key] for key in ("rows", "content_hash", "as_of")}}


def _build_all(shop: "Shop", wanted: Sequence[Wanted]) -> list[Result]:
    from jobs.partition import BULK

    shared = bulk(shop.spec, shop.source, [])
    sizes = [bulk(shop.spec, shop.source, [one.found.day]) - shared for one in wanted]
    found: list[Result] = []
    for place in in_batches(sizes, BULK - shared):
        found += _build_together(shop, wanted[place])
    return found


def _build_together(shop: "Shop", wanted: Sequence[Wanted]) -> list[Result]:
    """Build days in one go, or, if one of them can't be, a day at a time up to that one."""
    try:
        return _make(shop, wanted)
    except (SourceError, SpecError, AuditError):
        if len(wanted) == 1:
            raise
        log.info(
            "%s: built a day at a time, to publish those before the one that fails",
            shop.spec.product,
        )
        return [result for one in wanted for result in _make(shop, [one])]


def _make(shop: "Shop", wanted: Sequence[Wanted]) -> list[Result]:
    """Build, audit, publish and encode days, and keep the result of each.

    Days that only want encoding are encoded with the others, as they would have been by the run
    that broke off: the tokens of all days together are what gets an index.
    """
    started = time.perf_counter()
    watch = Stopwatch()
    building = [one for one in wanted if one.published is None]
    said = {one.found.day: one.published for one in wanted if one.published is not None}
    results = {day: {**_kept(day, published), "skipped": False} for day, published in said.items()}
    if building:
        published, built = _publish(shop, building, watch)
        said |= published
        results |= built
    encoded = steps.encode(shop, said, watch)
    spent = time.perf_counter() - started
    for day, result in results.items():
        result |= {"encoded": encoded, "steps": _share(watch, len(results))}
        if "audit" in result:  # what an earlier run said of a day that is only encoded stays
            record(shop.lake, day, "samples", spent / len(results), result)
    _tell(shop, results, spent)
    return [results[day] for day in sorted(results)]


def _publish(
    shop: "Shop", wanted: Sequence[Wanted], watch: Stopwatch
) -> tuple[dict[date, Result], dict[date, Result]]:
    """Build, audit and publish days; return what their commits say, and the result of each."""
    from features.batch import Batch
    from jobs import partition
    from validation.suite import get_ready

    get_ready()
    steps.start(shop, watch)
    said = {one.found.day: one.said for one in wanted}
    found = tuple(one.found for one in wanted)
    batch = Batch(shop.spec, found, partition.records(shop.lake))
    staged, built = partition.build(shop, batch, said, watch)
    judged = steps.audit(shop, staged, {one.found.day: one.content_hash for one in built}, watch)
    counted = {one.found.day: steps.counted(one) for one in built}
    columns = {one.found.day: one.columns for one in built}
    notes = {
        day: {
            **said[day],
            **counted[day],
            "measures": judged[day]["measures"],
            "columns": columns[day],
        }
        for day in counted
    }
    steps.publish(shop, staged, notes, watch)
    results = {
        day: {
            "ds": day.isoformat(),
            "skipped": False,
            **counted[day],
            "audit": judged[day]["findings"],
            "docs": judged[day]["docs"],
        }
        for day in counted
    }
    return notes, results


def _share(watch: Stopwatch, days: int) -> dict[str, float]:
    """Return a day's share of the seconds of days that were built together."""
    return {name: round(seconds / days, 3) for name, seconds in watch.seconds.items()}


def _tell(shop: "Shop", results: Mapping[date, Result], seconds: float) -> None:
    first, last = min(results), max(results)
    what = str(first) if first == last else f"{first} … {last} ({len(results)} days)"
    rows = sum(result["rows"] for result in results.values())
    log.info("%s %s: %d samples in %.1f s", shop.spec.product, what, rows, seconds)
