"""Building days: raw files to staged samples, quarantine and counts, in one Spark session."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features import cells, labels, lines, samples, tables
from features.arrivals import Arrivals, arrivals
from features.batch import BEFORE, CLOSING, SINCE, Batch
from features.contract import CHANGED, MISSING, Columns, Records
from features.counts import daily_counts
from features.digest import EMPTY, Watch, digests
from features.errors import SourceError, SpecError
from features.fingerprint import counts_fingerprint
from features.history import as_history, first_needed
from features.lake import Lake
from features.lots import LOT, lot_of
from features.needs import streams, tasks_of
from features.raw import Raw, number_tallies, refuse_wordy
from features.settle import is_small, parts, passing, settle
from features.sources import (
    ARRIVED,
    DAY,
    FITS,
    FOR,
    TIME,
    UNTIL,
    belongs,
    explained,
    missing_day,
)
from features.spec import Spec
from jobs import state
from jobs.home import Home
from jobs.timing import Stopwatch
from validation import rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

LARGE = 500_000
"""Samples a file: at 20,000 a day one file, which Arrow scans faster than many small ones."""

PIECES = 4
"""Parts of a large day that one task makes samples of: their hash tables stay until it ends."""

BULK = 400_000
"""Rows in a day's raw files from which they outweigh Spark's plans."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What stays the same while the days of one command are built."""

    spec: Spec
    spec_file: str
    lake: Lake
    home: Home
    source: Path
    run_id: str
    large: bool = False
    """Whether the days are to be spread over all cores."""
    several: bool = False
    """Whether more than one day may be built: then raw files are kept in memory."""

    @cached_property
    def spark(self) -> "SparkSession":
        """The session, started when the first day needs it."""
        from features.session import spark_session

        return spark_session(self.home.cache, self.home.root, large=self.large)

    @cached_property
    def raw(self) -> Raw:
        """The raw data, read once where days share it."""
        return Raw(self.spark, self.spec, keep=self.several)


@dataclass(frozen=True, kw_only=True)
class Built:
    """What was staged of a day."""

    found: Arrivals
    rows: int
    content_hash: str
    quarantined: dict[str, int]
    """Rule → rows that broke it; a row may break several."""
    input: int
    """Raw rows of the day: samples + quarantined rows + history."""
    history: int
    """Good rows outside every scenario."""
    refused: int
    """Rows in quarantine."""
    dropped: dict[str, dict[str, int]]
    """Outcome stream or table → reason → rows of its files that are not used."""
    columns: dict[str, Columns]
    """Source → column → type: what was accepted of the files, as its commit is to say."""


@dataclass(frozen=True)
class Census:
    """How many of a day's raw rows are what."""

    groups: list[tuple[str | None, tuple[str, ...], int]]
    """Scenario, broken rules, rows."""

    @property
    def total(self) -> int:
        """All rows."""
        return sum(n for _, _, n in self.groups)

    @property
    def history(self) -> int:
        """Good rows outside every scenario."""
        return sum(n for scenario, broken, n in self.groups if not broken and scenario is None)

    @property
    def samples(self) -> int:
        """Good rows of a scenario."""
        return sum(n for scenario, broken, n in self.groups if not broken and scenario is not None)

    @property
    def refused(self) -> int:
        """Rows that broke a rule."""
        return sum(n for _, broken, n in self.groups if broken)

    @property
    def by_rule(self) -> dict[str, int]:
        """Rule → rows that broke it."""
        tally: Counter[str] = Counter()
        for _, broken, n in self.groups:
            tally.update(dict.fromkeys(broken, n))
        return dict(sorted(tally.items()))

    @property
    def scenarios(self) -> set[str]:
        """Scenarios that have rows, good or broken."""
        return {scenario for scenario, _, _ in self.groups if scenario is not None}


@dataclass(frozen=True)
class Counts:
    """Counts that were made of the days that had none, or others."""

    frame: DataFrame | None
    said: dict[date, dict[str, Any]]
    """Day → what the commit of its counts is to say."""


def build(
    shop: Shop, batch: Batch, said: Mapping[date, Mapping[str, Any]], watch: Stopwatch
) -> tuple[DataFrame, list[Built]]:
    """Write the staged samples, quarantine and counts of days.

    Args:
        shop: the product and its places.
        batch: the days and their files.
        said: day → what its staged commit is to say beside rows and content hash.
        watch: takes the time of the steps.

    Returns:
        The samples of all days, held or as they lie in the lake, and what was staged of each.

    Raises:
        SourceError, MissingDayError: when the raw data is not as the spec declares it.
        SpecError: when an expression is no condition, or a scenario has no row.
    """
    with explained(batch.files), passing(shop.spark):
        with watch.step("read"):
            near = _checked(shop, batch)
            checked = near.where(belongs(shop.spec.log))
            censuses = _censuses(shop, batch, checked)
        with watch.step("join"):
            good = _good(shop, near)
            events = _events(shop, batch, good)
            now, counts = _facts(shop, batch, good, events)
        with watch.step("features"):
            history = _history(shop, batch, counts)
            days = batch.calendar(shop.spark)
            staged = samples.assemble(now, history, shop.spec, days)
            held = _can_be_held(shop, batch)
            seen, contents = Watch(), {}
            if held:
                staged = settle(staged, lasting=True)
                contents = digests(staged)
        with watch.step("write"):
            broken = _refused(shop, batch, checked, censuses)
            notes = _notes(shop, batch, said, censuses, contents)
            _write(shop, notes, broken, counts, staged if held else seen.over(staged))
            if not held:
                (day,) = batch.dates
                staged, contents = staged_day(shop, day), {day.isoformat(): seen.digest()}
            state.write(shop.spark, shop.lake, batch.dates, shop.run_id)
            dropped = _dropped(shop, batch, events)
        return staged, [
            _built(shop, batch, found, censuses, contents, dropped) for found in batch.days
        ]


def _can_be_held(shop: Shop, batch: Batch) -> bool:
    """Return whether samples fit into memory; those of a large day are written as they are made.

    Their content hash is known when they are written; no commit of that table can say it.
    """
    return is_small(shop.spark) or len(batch.days) > 1


def staged_day(shop: Shop, day: date) -> DataFrame:
    """Return what is staged for ``day``, as it lies in the lake."""
    return tables.read(shop.spark, shop.lake, "staged", day.isoformat(), day.isoformat())


def records(lake: Lake) -> Records:
    """Return what published days say of their sources' columns."""
    commits = lake.commits("samples")
    return {ds: said["columns"] for ds, said in commits.items() if "columns" in said}


def files_for(rows_in: int) -> int:
    """Return into how many files a partition of so many rows goes."""
    return max(1, -(-rows_in // LARGE))


def counts_said(shop: Shop, day: date) -> dict[str, Any]:
    """Return what the commit of a day's counts says: made of the files there at the day's end."""
    by_then = arrivals(shop.spec, shop.source, day, day)
    return {"run_id": shop.run_id, "fingerprint": counts_fingerprint(shop.spec, by_then)}


def _checked(shop: Shop, batch: Batch) -> DataFrame:
    """Return the impressions of the days with the rules they broke.

    With a day's come those of the days whose outcomes mix with its own, and of the day before
    where a column declares the day: an event logged under two stays with the earlier one.
    """
    spec, stream = shop.spec, shop.spec.impression.source
    events = shop.raw.events(stream, batch)
    samples.check_expressions(events, spec, shop.spec_file)
    wanted = belongs(spec.log)
    if any(task.source for task in spec.tasks.values()):
        near = F.col(DAY).between(F.col(SINCE), F.col(CLOSING))
        wanted = wanted | (near & F.col(FITS))
    if spec.log.day:
        wanted = wanted | (F.col(DAY) == F.col(BEFORE))
    copies = batch.spread(events, stream, wanted)
    return rows.check(samples.identify(copies, spec), spec)


def _censuses(shop: Shop, batch: Batch, checked: DataFrame) -> dict[date, Census]:
    """Count the rows of each day by scenario and rule, and refuse a day that can't be right.

    Raises:
        MissingDayError, SourceError, SpecError: see ``build``.
    """
    spec, name = shop.spec, shop.spec.impression.source
    columns = spec.numbers_of(name)
    tallies = [F.count_if(F.col(DAY) == F.col(FOR)), *number_tallies(checked, columns)]
    by = (FOR, labels.SCENARIO, rows.RULES)
    groups = checked.groupBy(*by).agg(F.count(F.lit(1)), *tallies).collect()
    found = {}
    for day in batch.dates:
        mine = [row for row in groups if row[0] == day.isoformat()]
        census = Census([(row[1], tuple(row[2]), row[3]) for row in mine])
        own_rows, *numbers = [sum(row[4 + i] for row in mine) for i in range(len(tallies))]
        if not own_rows:
            raise missing_day(shop.raw.events(name, batch), spec, name, day)
        refuse_wordy(name, columns, numbers)
        _require_accepted(name, day, census)
        _require_scenarios(shop, day, census)
        found[day] = census
    return found


def _require_accepted(name: str, day: date, census: Census) -> None:
    for rule in (MISSING, CHANGED):
        if census.by_rule.get(rule) == census.total:
            raise SourceError(
                f"source '{name}': its contract refuses every row of {day} ({rule}); deliver the "
                f"file as it was, or set sources.{name}.contract to evolve"
            )


def _require_scenarios(shop: Shop, day: date, census: Census) -> None:
    declared = shop.spec.scenarios
    for name in declared.names:
        if name in census.scenarios or name in declared.optional:
            continue
        place = "values" if declared.column else "expressions"
        wanted = declared.values.get(name, ())
        test = f"{declared.column} = {' or '.join(map(str, wanted))}" if wanted else "that holds"
        raise SpecError(
            f"{shop.spec_file}: scenarios.{place}.{name}: no row of {day} has {test}; "
            "remove it, or list it under scenarios.optional"
        )


@dataclass(frozen=True)
class Events:
    """What came in outcome streams near the days, and the impressions that it may belong to."""

    came: DataFrame | None
    """As ``labels.came`` returns it, held; None if the spec has no such stream."""
    outcomes: Mapping[str, DataFrame]
    """Task → its outcomes."""
    near: labels.Near

    def where(self, impressions: Column, outcomes: Column | None = None) -> "Events":
        """Return what is left when only some impressions, and maybe some outcomes, count."""
        near = {on: frame.where(impressions) for on, frame in self.near.items()}
        if outcomes is None:
            return replace(self, near=near)
        kept = {name: frame.where(outcomes) for name, frame in self.outcomes.items()}
        return replace(self, near=near, outcomes=kept)


def _good(shop: Shop, near: DataFrame) -> DataFrame:
    """Return the good impressions near the days; those of a large day with their lot."""
    good = rows.kept(near).withColumns(labels.key_columns(shop.spec.tasks))
    return good if is_small(shop.spark) else good.withColumn(LOT, lot_of(F.col(samples.USER)))


def _events(shop: Shop, batch: Batch, good: DataFrame) -> Events:
    came = _came(shop, batch)
    if came is None:
        return Events(None, {}, {})
    tasks = {name: task for name, task in shop.spec.tasks.items() if task.source}
    outcomes = {name: labels.outcomes_of(came, name, task) for name, task in tasks.items()}
    return Events(came, outcomes, labels.nearby(good, outcomes, shop.spec))


def _facts(shop: Shop, batch: Batch, good: DataFrame, events: Events) -> tuple[DataFrame, Counts]:
    """Return the facts as known by each ``_until``, and the counts of the days that want them.

    Counts are those of what was known by the end of the day itself, which never changes; a day
    that has them is left out.
    """
    spec, attributes = shop.spec, shop.raw.tables(batch)
    # Of a day whose as_of is its own end, both are the same; else its samples want no day before.
    own = (F.col(DAY) >= F.col(FOR)) | (F.col(UNTIL) == F.col(FOR))
    facts = _attributed(good.where(own), events.where(own), spec, attributes)
    now = settle(facts, parted=LOT in facts.columns)
    wanted = _counts_wanted(shop, batch)
    if not wanted:
        return now, Counts(None, wanted)
    known = _known_then(wanted)
    if not events.outcomes or all(batch.as_of[day] == day for day in wanted):
        then = now.where(known)
    else:
        then = _attributed(good.where(known), events.where(known, known), spec, attributes)
    counts = daily_counts(samples.happened(then, spec), spec)
    # The later days of several read them, before they are written.
    return now, Counts(settle(counts) if len(batch.days) > 1 else counts, wanted)


def _attributed(
    good: DataFrame, events: Events, spec: Spec, attributes: Mapping[str, DataFrame]
) -> DataFrame:
    """Return the facts of each ``_for``: its impressions, those before it with an outcome on it."""
    outcomes = events.outcomes
    firsts = labels.followed(events.near, outcomes, spec) if outcomes else None
    return samples.facts(labels.of_the_day(good, firsts, spec), spec, attributes)


def _counts_wanted(shop: Shop, batch: Batch) -> dict[date, dict[str, Any]]:
    present = shop.lake.commits("counts")
    wanted = {}
    for day in batch.dates:
        said = counts_said(shop, day)
        if present.get(day.isoformat(), {}).get("fingerprint") != said["fingerprint"]:
            wanted[day] = said
    return wanted


def _known_then(days: Iterable[date]) -> Column:
    """Return whether a row had arrived by the end of ``_for``, where that is one of ``days``."""
    known = F.col(ARRIVED).isNull() | (F.col(ARRIVED) <= F.col(FOR))
    return known & F.col(FOR).isin([day.isoformat() for day in days])


def _came(shop: Shop, batch: Batch) -> DataFrame | None:
    """Return the events of all outcome streams near the days; None if the spec has none.

    Computed once: samples and counts use them, and those that can't be used are counted.
    """
    found = [_stream(shop, batch, name) for name in streams(shop.spec)[1:]]
    if not found:
        return None
    return settle(reduce(lambda one, two: one.unionByName(two, allowMissingColumns=True), found))


def _stream(shop: Shop, batch: Batch, stream: str) -> DataFrame:
    """Return the events of a stream that belong near the days, or can't be used at all."""
    spec = shop.spec
    events = shop.raw.events(stream, batch)
    tasks = tasks_of(spec, stream)
    for name, task in tasks.items():
        if task.where:
            samples.check_condition(events, task.where, f"{shop.spec_file}: tasks.{name}.where")
    happened = cells.day_of(F.col(TIME), spec.timezone)
    lost = F.col(TIME).isNull() & (F.coalesce(ARRIVED, FOR) == F.col(FOR))
    wanted = happened.between(F.col(SINCE), F.col(CLOSING)) | lost
    return labels.came(batch.spread(events, stream, wanted), stream, tasks)


def _dropped(shop: Shop, batch: Batch, events: Events) -> dict[str, dict[str, dict[str, int]]]:
    """Count what can't be used of outcome streams and tables: day → source → reason → rows."""
    found = {}
    if events.came is not None:
        found = labels.lost(events.came, events.near, shop.spec)
    for day in batch.dates:
        refused = shop.raw.refused(batch, day)
        if refused:
            found.setdefault(day.isoformat(), {}).update(refused)
    for ds, sources in found.items():
        for name, reasons in sources.items():
            # People also buy what nobody showed them: that is told, but is no fault.
            faults = {reason: n for reason, n in reasons.items() if reason != labels.UNSHOWN}
            said = ", ".join(f"{n} {reason}" for reason, n in faults.items())
            if faults:
                product = shop.spec.product
                log.warning("%s %s: rows of %s are not used: %s", product, ds, name, said)
    return found


def _history(shop: Shop, batch: Batch, counts: Counts) -> DataFrame:
    """Return the counts of the days before the batch's last, new ones in place of old ones.

    Days long ago come summed up, as the last state.
    """
    earliest, before = batch.dates[0], batch.dates[-1] - timedelta(days=1)
    since = state.last(shop.lake, earliest)
    first = first_needed(shop.spec, earliest, since)
    daily = state.counts(shop.spark, shop.lake, first, before)
    if counts.frame is not None and len(batch.days) > 1:
        days = [day.isoformat() for day in counts.said]
        daily = daily.where(~F.col("ds").isin(days)).unionByName(counts.frame)
    return as_history(daily, state.read(shop.spark, shop.lake, since), since)


def _built(
    shop: Shop,
    batch: Batch,
    found: Arrivals,
    censuses: Mapping[date, Census],
    contents: Mapping[str, tuple[int, str]],
    dropped: Mapping[str, dict[str, dict[str, int]]],
) -> Built:
    census = censuses[found.day]
    rows_in, content = contents.get(found.day.isoformat(), EMPTY)
    return Built(
        found=found,
        rows=rows_in,
        content_hash=content,
        quarantined=census.by_rule,
        input=census.total,
        history=census.history,
        refused=census.refused,
        dropped=dropped.get(found.day.isoformat(), {}),
        columns=shop.raw.accepted(batch, found.day),
    )


def _refused(
    shop: Shop, batch: Batch, checked: DataFrame, censuses: Mapping[date, Census]
) -> DataFrame:
    """Return the broken rows; those of text files with their lines, unless they are too many."""
    broken = rows.quarantine(checked, shop.run_id)
    many = sum(census.refused for census in censuses.values())
    if shop.spec.log.kind == "parquet" or not 0 < many <= lines.LIMIT:
        return broken
    paths = batch.files[shop.spec.impression.source]
    placed = lines.with_lines(broken.toArrow(), paths, rows.raw_columns(checked))
    return shop.spark.createDataFrame(placed)


def _notes(
    shop: Shop,
    batch: Batch,
    said: Mapping[date, Mapping[str, Any]],
    censuses: Mapping[date, Census],
    contents: Mapping[str, tuple[int, str]],
) -> dict[date, dict[str, Any]]:
    """Return what the commits of staged samples and of quarantine say, the hash if it is known."""
    notes: dict[date, dict[str, Any]] = {}
    for found in batch.days:
        notes[found.day] = {
            **said[found.day],
            "as_of": found.as_of,
            "rows": censuses[found.day].samples,
            "columns": shop.raw.accepted(batch, found.day),
        }
        if contents:
            notes[found.day]["content_hash"] = contents.get(found.day.isoformat(), EMPTY)[1]
    return notes


def _write(
    shop: Shop,
    notes: Mapping[date, Mapping[str, Any]],
    broken: DataFrame,
    counts: Counts,
    staged: DataFrame,
) -> None:
    """Write the tables side by side: each waits for its commits."""
    files = files_for(max(note["rows"] for note in notes.values()))
    fitting = max(files, parts(shop.spark) // PIECES)
    with ThreadPoolExecutor(max_workers=3) as pool:
        writing = [
            pool.submit(tables.replace_days, staged, shop.lake, "staged", notes, fitting),
            pool.submit(tables.replace_days, broken, shop.lake, "quarantine", notes),
        ]
        if counts.frame is not None:
            ready = counts.frame
            writing.append(
                pool.submit(tables.replace_days, ready, shop.lake, "counts", counts.said, files)
            )
        for outcome in writing:
            outcome.result()
