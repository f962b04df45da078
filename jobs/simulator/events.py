"""One day of the marketplace: what was shown, what came of it, and when each fact arrived."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.simulator.flows import Truth
from jobs.simulator.shop import (
    CLICK_WINDOW_MS,
    DAY_MS,
    DEVICE_SHARES,
    DEVICES,
    HOUR_MS,
    HOURS,
    PURCHASE_LONGEST_MS,
    PURCHASE_WINDOW_MS,
    SCENARIOS,
    SHARES,
    STREAMS,
    TASKS,
    Settings,
)
from jobs.simulator.world import Floats, Ints, World, draw, names

_POSITION_MEAN = 7
_LAST_POSITION = 29


@dataclass(frozen=True, kw_only=True)
class Day:
    """A day's events as tables with the day on which each row arrives, and the day's truth."""

    streams: dict[str, pa.Table]
    """Stream → events that the day's impressions caused, oldest first."""
    arrivals: dict[str, Ints]
    """Stream → index of the arrival day of each of its rows."""
    places: Ints
    probabilities: Floats
    """[n, M] of the day's impressions; NaN where the place lacks the task."""
    labels: Floats
    """[n, M]: 1 when the outcome fell inside its window, NaN where the place lacks the task."""


def make_day(settings: Settings, world: World, truth: Truth, start_ms: int, day: int) -> Day:
    """Return the day of index ``day``, whose midnight (UTC) is ``start_ms``.

    The random numbers hang on the seed and the day alone, never on how many days are asked for.
    """
    rng = np.random.default_rng([settings.seed, 2, day])
    count = settings.rows
    times = np.sort(_times(rng, count)) + start_ms
    users, items = world.draw_users(rng, day, count), world.draw_items(rng, day, count)
    places = draw(rng, np.array(SHARES), count)
    positions = np.minimum(rng.exponential(_POSITION_MEAN, count).astype(np.int64), _LAST_POSITION)
    chances = truth.probabilities(world, day, users, items, places, positions)
    outcomes = rng.random(chances.shape) < np.nan_to_num(chances)
    delays = {"clicks": _click_delays(rng, count), "purchases": _purchase_delays(rng, count)}
    devices = draw(rng, np.array(DEVICE_SHARES), count)
    ids = _impression_ids(start_ms, count)
    user_ids = names("u", len(world.people.segment)).take(pa.array(users))
    item_ids = names("p", len(world.goods.category)).take(pa.array(items))
    impressions = pa.table(
        {
            "impression_id": ids,
            "user_id": user_ids,
            "item_id": item_ids,
            "place": pa.array(SCENARIOS).take(pa.array(places)),
            "device": pa.array(DEVICES).take(pa.array(devices)),
            "position": positions,
            "event_time": times,
            "liked": outcomes[:, TASKS.index("like")].astype(np.int64),
        }
    )
    clicked = np.flatnonzero(outcomes[:, TASKS.index("click")])
    bought = np.flatnonzero(outcomes[:, TASKS.index("purchase")])
    paid = world.goods.price[items] * rng.integers(1, 4, count)
    streams = {
        "impressions": impressions,
        "clicks": pa.table(
            {
                "impression_id": ids.take(pa.array(clicked)),
                "event_time": (times + delays["clicks"])[clicked],
            }
        ),
        "purchases": pa.table(
            {
                "user_id": user_ids.take(pa.array(bought)),
                "item_id": item_ids.take(pa.array(bought)),
                "event_time": (times + delays["purchases"])[bought],
                "amount": paid[bought].round(2),
            }
        ),
    }
    return Day(
        streams=streams,
        arrivals={
            name: _arrival_days(rng, streams[name], settings.late, start_ms - day * DAY_MS)
            for name in STREAMS
        },
        places=places,
        probabilities=chances,
        labels=_labels(outcomes, chances, delays),
    )


def _times(rng: np.random.Generator, count: int) -> Ints:
    """Return milliseconds since midnight, busier in the evening."""
    hours = draw(rng, np.array(HOURS, dtype=float), count)
    return hours * HOUR_MS + rng.integers(HOUR_MS, size=count)


def _click_delays(rng: np.random.Generator, count: int) -> Ints:
    """Return milliseconds until the click: minutes, and for one in fifty beyond the window."""
    soon = np.minimum(rng.exponential(90_000, count), CLICK_WINDOW_MS - 1)
    beyond = CLICK_WINDOW_MS + rng.exponential(HOUR_MS, count)
    return np.where(rng.random(count) < 0.98, soon, beyond).astype(np.int64) + 1


def _purchase_delays(rng: np.random.Generator, count: int) -> Ints:
    """Return milliseconds until the purchase: a day on average, five at most."""
    return np.minimum(rng.exponential(DAY_MS, count), PURCHASE_LONGEST_MS - 2).astype(np.int64) + 1


def _labels(outcomes: NDArray[np.bool_], chances: Floats, delays: dict[str, Ints]) -> Floats:
    in_time = np.ones_like(outcomes)
    in_time[:, TASKS.index("click")] = delays["clicks"] <= CLICK_WINDOW_MS
    in_time[:, TASKS.index("purchase")] = delays["purchases"] <= PURCHASE_WINDOW_MS
    return np.where(np.isnan(chances), np.nan, (outcomes & in_time).astype(float))


def _arrival_days(rng: np.random.Generator, events: pa.Table, late: float, epoch_ms: int) -> Ints:
    """Return the index of the file each event ends up in: its day's, or the next when late."""
    happened = (events["event_time"].to_numpy() - epoch_ms) // DAY_MS
    arrived: Ints = happened + (rng.random(len(events)) < late)
    return arrived


def _impression_ids(start_ms: int, count: int) -> pa.StringArray:
    """Return ids that never repeat over days: the day's number since 1970, then the row's."""
    numbers = pc.utf8_lpad(pa.array(np.arange(count)).cast(pa.string()), 8, "0")
    return pc.binary_join_element_wise(f"i{start_ms // DAY_MS}", numbers, "-")
