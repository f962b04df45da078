"""A day of the marketplace in Polars: what the pipeline's build of ``bazaar`` computes.

Like its twin in SQL it is written out by hand from the spec, not derived from it.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from jobs.bench.shop import (
    ENTITIES,
    LIKED_IN,
    PLACES,
    PRIOR,
    RATED,
    SEPARATOR,
    TASKS,
    files_between,
    rate_columns,
)

_MICROSECOND = timedelta(microseconds=1)
_CLICK, _PURCHASE = timedelta(hours=1), timedelta(days=3)
_ID = ["day", "impression_id"]


def build_day(raw: Path, out: Path, day: date, cores: int) -> None:
    """Write ``samples.parquet``, ``quarantine.parquet`` and ``counts/<day>.parquet`` of a day.

    Args:
        raw: a simulation's folder.
        out: takes the files; its ``counts`` hold those of earlier days.
        day: the day, as known by its own end.
        cores: not looked at: Polars counts its threads by ``POLARS_MAX_THREADS`` at its import.
    """
    (out / "counts").mkdir(parents=True, exist_ok=True)
    judged = _judged(raw, day).collect()
    broken = judged.lazy().filter("refused", (pl.col("day") == str(day)) | pl.col("stray"))
    broken.drop("refused", "stray").sink_parquet(out / "quarantine.parquet")
    facts = _facts(judged.lazy().filter(~pl.col("refused")).drop("refused", "stray"), raw, day)
    del judged
    facts = facts.collect().lazy()
    pl.concat(_counts(facts, day)).sink_parquet(out / "counts" / f"{day}.parquet")
    _samples(facts, out, day).sink_parquet(out / "samples.parquet")


def _judged(raw: Path, day: date) -> pl.LazyFrame:
    """Return the impressions near the day, and whether each is refused."""
    since = day - timedelta(days=3)
    moment = pl.from_epoch("event_time", "ms").alias("shown_at")
    arrived = pl.col("file").str.extract(r"(\d{4}-\d{2}-\d{2})\.parquet$")
    yesterday = pl.col("arrived").str.to_date() - pl.duration(days=1)
    stray = (pl.col("day") < yesterday.dt.to_string("%Y-%m-%d")) | (
        pl.col("day") > pl.col("arrived")
    )
    broken = (
        pl.any_horizontal(pl.col("impression_id", "user_id", "shown_at", "device").is_null())
        | ~pl.col("place").is_in(PLACES).fill_null(False)
        | (pl.col("position") < 0).fill_null(False)
    )
    order = ["broken", "arrived", "shown_at", "device", "liked", "position", "item_id", "user_id"]
    turn = pl.int_range(pl.len()).over(_ID, order_by=order)
    return (
        pl.scan_parquet(files_between(raw / "impressions", since, day), include_file_paths="file")
        .with_columns(moment, arrived.alias("arrived"))
        .with_columns(pl.coalesce(_day("shown_at"), "arrived").alias("day"))
        .drop("file", "event_time")
        .with_columns(stray.alias("stray"))
        .with_columns((broken | pl.col("stray")).alias("broken"))
        .filter(
            (pl.col("day").is_between(pl.lit(str(since)), pl.lit(str(day))))
            & (pl.col("day") <= pl.col("arrived"))
            | (pl.col("stray") & (pl.col("arrived") == str(day)))
        )
        .with_columns(
            (pl.col("broken") | (pl.col("impression_id").is_not_null() & (turn > 0))).alias(
                "refused"
            )
        )
        .drop("broken")
    )


def _facts(impressions: pl.LazyFrame, raw: Path, day: date) -> pl.LazyFrame:
    """Return good impressions with their attributes and the times of their first outcomes."""
    users = pl.scan_csv(raw / "users.csv", infer_schema=False).with_columns(
        pl.col("age").cast(pl.Float64, strict=False)
    )
    items = pl.scan_parquet(raw / "items.parquet").with_columns(pl.col("tags").str.split(","))
    clicks = _outcomes(raw / "clicks", ["impression_id"], day)
    purchases = _outcomes(raw / "purchases", ["user_id", "item_id"], day)
    clicked = _first(impressions, clicks, ["impression_id"], _CLICK, "click")
    bought = _first(impressions, purchases, ["user_id", "item_id"], _PURCHASE, "purchase")
    return (
        impressions.join(users, on="user_id", how="left")
        .join(items, on="item_id", how="left")
        .join(clicked, on=_ID, how="left")
        .join(bought, on=_ID, how="left")
        .with_columns(pl.col("liked") == 1)
    )


def _outcomes(folder: Path, keys: list[str], day: date) -> pl.LazyFrame:
    """Return the readable outcomes near the day: their keys, ``happened_at`` and ``number``."""
    since = day - timedelta(days=3)
    moment = pl.from_epoch(pl.col("event_time").cast(pl.Int64, strict=False), "ms")
    return (
        pl.scan_csv(files_between(folder, since, day), infer_schema=False)
        .select(*keys, moment.alias("happened_at"))
        .drop_nulls()
        .filter(_day("happened_at").is_between(pl.lit(str(since)), pl.lit(str(day))))
        .with_row_index("number")
    )


def _first(
    impressions: pl.LazyFrame, outcomes: pl.LazyFrame, keys: list[str], window: timedelta, name: str
) -> pl.LazyFrame:
    """Give each outcome to the latest impression of its key within the window; keep the first."""
    shown = impressions.select(*dict.fromkeys([*_ID, *keys, "shown_at"]))
    after = pl.col("happened_at") - pl.col("shown_at")
    return (
        outcomes.join(shown, on=keys)
        .filter(after >= timedelta(0), after < window)
        .sort("shown_at", "impression_id")
        .group_by("number")
        .agg(pl.col(*_ID, "happened_at").last())
        .group_by(_ID)
        .agg(pl.col("happened_at").min().alias(name))
    )


def _counts(facts: pl.LazyFrame, day: date) -> list[pl.LazyFrame]:
    """Return what happened on the day, by entity and key."""
    columns = sorted({column for entity in ENTITIES for column in entity})
    one, none = pl.lit(1, pl.Int64), pl.lit(0, pl.Int64)
    nothing = {f"n_{task}": none for task in TASKS}
    liked = pl.col("liked").fill_null(False).cast(pl.Int64)
    shown = facts.filter(pl.col("day") == str(day)).select(
        *columns, n=one, last="shown_at", **{**nothing, "n_like": liked}
    )
    parts = [shown]
    for task in ("click", "purchase"):
        numbers = {"n": none, "last": pl.lit(None, pl.Datetime("us")), **nothing, f"n_{task}": one}
        parts.append(facts.filter(_day(task) == str(day)).select(*columns, **numbers))
    happened = pl.concat(parts)
    return [_counted(happened, entity, day) for entity in ((), *ENTITIES)]


def _counted(happened: pl.LazyFrame, entity: tuple[str, ...], day: date) -> pl.LazyFrame:
    """Return how often what happened to each key of an entity."""
    sums = pl.col("n", *(f"n_{task}" for task in TASKS)).sum()
    keyed = happened.with_columns(_key(entity).alias("key")).drop_nulls("key")
    counted = keyed.group_by("key").agg(sums, pl.col("last").max())
    return counted.with_columns(ds=pl.lit(str(day)), entity=pl.lit("|".join(entity)))


def _samples(facts: pl.LazyFrame, out: Path, day: date) -> pl.LazyFrame:
    """Return the day's samples."""
    history = _history(out, day)
    samples = facts.filter(pl.col("day") == str(day))
    for place, entity in enumerate(ENTITIES):
        own = history.filter(pl.col("entity") == "|".join(entity)).drop("entity")
        named = own.select(pl.all().name.prefix(f"{place} "))
        keyed = samples.with_columns(_key(entity).alias("key"))
        samples = keyed.join(named, left_on="key", right_on=f"{place} key", how="left")
    return samples.select(
        ds="day",
        sample_id="impression_id",
        scenario="place",
        user="user_id",
        event_time="shown_at",
        **_labels(day),
        c_user_id="user_id",
        c_item_id="item_id",
        c_place="place",
        c_device="device",
        c_users_segment="segment",
        c_items_category="category",
        m_items_tags="tags",
        n_users_age="age",
        n_items_price="price",
        n_position=pl.col("position").cast(pl.Float64),
        **_rates(history.filter(pl.col("entity") == "").collect().to_dicts()),
        source_file=pl.col("arrived") + ".parquet",
        as_of=pl.lit(str(day)),
    )


def _history(out: Path, day: date) -> pl.LazyFrame:
    """Return each key's sums over the windows before the day: ``n_1``, ``n_click_all`` …."""
    yesterday = pl.when(pl.col("ds") >= str(day - timedelta(days=1)))
    names = ["n", *(f"n_{task}" for task in TASKS)]
    counts = pl.scan_parquet(out / "counts" / "*.parquet").filter(pl.col("ds") < str(day))
    return counts.group_by("entity", "key").agg(
        *(yesterday.then(pl.col(name)).sum().alias(f"{name}_1") for name in names),
        *(pl.col(name).sum().alias(f"{name}_all") for name in names),
    )


def _labels(day: date) -> dict[str, pl.Expr]:
    """Return label, maturity and time of each task."""
    shown = pl.col("shown_at").cast(pl.Datetime("us"))
    tasks = {
        "click": (_day(shown + _CLICK - _MICROSECOND) <= str(day), "click"),
        "like": (pl.col("place").is_in(LIKED_IN) & pl.col("liked").is_not_null(), "shown_at"),
        "purchase": (_day(shown + _PURCHASE - _MICROSECOND) <= str(day), "purchase"),
    }
    found: dict[str, pl.Expr] = {}
    for name, (mature, time) in tasks.items():
        value = pl.col("liked") if name == "like" else pl.col(name).is_not_null()
        found[f"label_{name}"] = pl.when(mature).then(value)
        found[f"mature_{name}"] = mature
        found[f"time_{name}"] = pl.when(mature & value).then(pl.col(time))
    return found


def _rates(overall: Sequence[Mapping[str, Any]]) -> dict[str, pl.Expr]:
    """Return a count and a smoothed rate a task for each entity and window.

    Args:
        overall: the sums over all facts before the day; none on the first day.
    """
    found: dict[str, pl.Expr] = {}
    for entity, window in RATED:
        place = ENTITIES.index(entity)
        count, rates = rate_columns(entity, window)
        shown = pl.col(f"{place} n_{window}")
        found[count] = shown.fill_null(0).cast(pl.Float64)
        for task, rate in rates.items():
            positives = pl.col(f"{place} n_{task}_{window}")
            prior = [PRIOR * row[f"n_{task}_{window}"] / row[f"n_{window}"] for row in overall]
            smoothed = (positives + pl.lit(prior[0] if prior else None)) / (shown + PRIOR)
            known = pl.when((shown > 0) | (positives > 0))
            found[rate] = known.then(pl.min_horizontal(smoothed, pl.lit(1.0)))
    return found


def _key(entity: tuple[str, ...]) -> pl.Expr:
    return pl.concat_str(*entity, separator=SEPARATOR) if entity else pl.lit("")


def _day(moment: str | pl.Expr) -> pl.Expr:
    column = pl.col(moment) if isinstance(moment, str) else moment
    return column.dt.to_string("%Y-%m-%d")
