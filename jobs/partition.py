"""Building one day: raw files to staged samples, quarantine and counts, in one Spark session."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import labels, samples, tables
from features.arrivals import Arrivals, arrivals, look_back
from features.cells import is_on
from features.counts import daily_counts
from features.digest import digest
from features.errors import SpecError
from features.fingerprint import counts_fingerprint
from features.lake import Lake
from features.raw import Raw, number_tallies, refuse_wordy
from features.settle import settle
from features.sources import (
    ARRIVED,
    DAY,
    TIME,
    ahead_of_its_file,
    belongs,
    explained,
    missing_day,
)
from features.spec import Spec
from jobs.home import Home
from jobs.timing import Stopwatch
from validation import rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LARGE = 500_000
"""Samples a file: at 20,000 a day one file, which Arrow scans faster than many small ones."""

BULK = 16_000_000
"""Bytes of a day's raw files, mostly compressed, from which its rows outweigh Spark's plans."""


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
    """A day's samples, staged but not yet published."""

    found: Arrivals
    frame: DataFrame
    """The samples, already computed."""
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


def build(shop: Shop, found: Arrivals, said: dict[str, Any], watch: Stopwatch) -> Built:
    """Write a day's staged samples, quarantine and counts.

    Args:
        shop: the product and its places.
        found: the day's files.
        said: what the staged commit is to say beside rows and content hash.
        watch: takes the time of the steps.

    Raises:
        SourceError, MissingDayError: when the raw data is not as the spec declares it.
        SpecError: when an expression is no condition, or a scenario has no row.
    """
    with explained(found.files):
        with watch.step("read"):
            near = settle(_checked(shop, found))
            checked = near.where(belongs(shop.spec.log, found.day))
            census = _census(shop, found, checked)
        with watch.step("join"):
            now, then = _facts(shop, found, near)
        with watch.step("features"):
            history = tables.read(shop.spark, shop.lake, "counts")
            staged = settle(samples.assemble(now, history, shop.spec, found.day, found.as_of))
            rows_in, content = digest(staged)
        with watch.step("write"):
            said = {**said, "as_of": found.as_of, "rows": rows_in, "content_hash": content}
            _write(shop, found, checked, then, staged, said)
        return Built(
            found=found,
            frame=staged,
            rows=rows_in,
            content_hash=content,
            quarantined=census.by_rule,
            input=census.total,
            history=census.history,
            refused=census.refused,
        )


def staged_day(shop: Shop, day: date) -> DataFrame:
    """Return what is staged for ``day``, as it lies in the lake."""
    return tables.read(shop.spark, shop.lake, "staged", day.isoformat(), day.isoformat())


def files_for(rows_in: int) -> int:
    """Return into how many files a partition of so many rows goes."""
    return max(1, -(-rows_in // LARGE))


def _checked(shop: Shop, found: Arrivals) -> DataFrame:
    """Return the day's impressions with the rules they broke.

    With them come those of the days whose outcomes mix with those of the day, and of the day
    before where a column declares the day: an event logged under two stays with the earlier one.
    """
    spec, day = shop.spec, found.day
    events = shop.raw.events(spec.impression.source, found)
    samples.check_expressions(events, spec, shop.spec_file)
    wanted = belongs(spec.log, day)
    if any(task.source for task in spec.tasks.values()):
        first, last = look_back(spec, day), found.as_of
        near = F.col(DAY).between(first.isoformat(), last.isoformat())
        wanted = wanted | (near & ~ahead_of_its_file())
    if spec.log.day:
        wanted = wanted | (F.col(DAY) == (day - timedelta(days=1)).isoformat())
    return rows.check(samples.identify(events.where(wanted), spec), spec, day)


def _census(shop: Shop, found: Arrivals, checked: DataFrame) -> Census:
    """Count the day's rows by scenario and rule, and refuse a day that can't be right.

    Raises:
        MissingDayError, SourceError, SpecError: see ``build``.
    """
    spec, name = shop.spec, shop.spec.impression.source
    columns = [item.column for item in spec.features.numbers if "." not in item.column]
    own = F.count_if(F.col(DAY) == found.day.isoformat())
    tallies = [own, *number_tallies(checked, columns)]
    groups = checked.groupBy(labels.SCENARIO, rows.RULES).agg(F.count(F.lit(1)), *tallies).collect()
    census = Census([(row[0], tuple(row[1]), row[2]) for row in groups])
    own_rows, *numbers = [sum(row[3 + i] for row in groups) for i in range(len(tallies))]
    if not own_rows:
        raise missing_day(shop.raw.events(name, found), spec, name, found.day)
    refuse_wordy(name, columns, numbers)
    _require_scenarios(shop, found.day, census)
    return census


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


def _facts(shop: Shop, found: Arrivals, near: DataFrame) -> tuple[DataFrame, DataFrame | None]:
    """Return the day's facts as known by ``as_of``, and as known by the end of the day itself.

    The second makes the day's counts, and is None when those are there already: what had arrived
    by the end of a day never changes.
    """
    spec = shop.spec
    facts = samples.facts(rows.kept(near), spec, shop.raw.tables(found))
    outcomes = {
        name: _outcomes(shop, found, name) for name, task in spec.tasks.items() if task.source
    }
    now = settle(labels.attribute_all(facts, outcomes, spec))
    if not _counts_wanted(shop, found):
        return now, None
    if not outcomes or found.as_of == found.day:
        return now, _known(now, found.day)
    early = {name: _known(events, found.day) for name, events in outcomes.items()}
    return now, labels.attribute_all(_known(facts, found.day), early, spec)


def _counts_wanted(shop: Shop, found: Arrivals) -> bool:
    said = shop.lake.commit_of("counts", found.day)
    return said is None or said["fingerprint"] != _counts_fingerprint(shop, found)


def _counts_fingerprint(shop: Shop, found: Arrivals) -> str:
    by_then = arrivals(shop.spec, shop.source, found.day, found.day)
    return counts_fingerprint(shop.spec, by_then)


def _known(frame: DataFrame, day: date) -> DataFrame:
    """Keep what had arrived by the end of ``day``."""
    return frame.where(F.col(ARRIVED).isNull() | (F.col(ARRIVED) <= day.isoformat()))


def _outcomes(shop: Shop, found: Arrivals, name: str) -> DataFrame:
    """Return a task's outcomes of the day, or of the day's impressions."""
    spec, task = shop.spec, shop.spec.tasks[name]
    events = shop.raw.events(str(task.source), found)
    if task.where:
        samples.check_condition(events, task.where, f"{shop.spec_file}: tasks.{name}.where")
    first = look_back(spec, found.day)
    near = events.where(is_on(F.col(TIME), first, found.as_of, spec.timezone))
    return labels.outcomes_of(near, task)


def _write(
    shop: Shop,
    found: Arrivals,
    checked: DataFrame,
    then: DataFrame | None,
    staged: DataFrame,
    said: dict[str, Any],
) -> None:
    """Write the day's tables side by side: each is a commit of its own that mostly waits."""
    lake, day = shop.lake, found.day
    broken = rows.quarantine(checked, day, found.as_of, shop.run_id)
    files = files_for(said["rows"])
    with ThreadPoolExecutor(max_workers=3) as pool:
        writing = [
            pool.submit(tables.replace_day, staged, lake, "staged", day, said, files),
            pool.submit(tables.replace_day, broken, lake, "quarantine", day, said),
        ]
        if then is not None:
            writing.append(pool.submit(_write_counts, shop, found, then))
        for outcome in writing:
            outcome.result()


def _write_counts(shop: Shop, found: Arrivals, then: DataFrame) -> None:
    counts = daily_counts(samples.happened(then, shop.spec, found.day), shop.spec)
    ready = counts.withColumn("ds", F.lit(found.day.isoformat()))
    said = {"run_id": shop.run_id, "fingerprint": _counts_fingerprint(shop, found)}
    tables.replace_day(ready, shop.lake, "counts", found.day, said)
