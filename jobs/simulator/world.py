"""Who is there: users, items, their attributes, and the hidden vectors behind what they like."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.simulator.shop import CATEGORIES, SEGMENTS, TAGS, Settings

LATENT = 6
"""Length of a user's and an item's hidden vector."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class People:
    """The users; each array is [users] unless it says otherwise."""

    segment: Ints
    age: Ints
    own_taste: Floats
    """[users, LATENT]: what is a user's own beside the segment's taste."""
    taste_from: Floats
    taste_to: Floats
    """[segments, LATENT] each: a segment's taste turns from the first towards the second."""
    activity: Floats
    """Weight in the draw of who visits."""
    joined: Ints
    """Index of the first day on which the user is seen."""


@dataclass(frozen=True, kw_only=True)
class Goods:
    """The items; each array is [items] unless it says otherwise."""

    category: Ints
    seller: Ints
    price: Floats
    tags: Ints
    """[items, 2]"""
    nature: Floats
    """[items, LATENT]: an item's hidden vector."""
    popularity: Floats
    """Weight in the draw of what is shown."""
    launched: Ints
    """Index of the first day on which the item is shown."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Users and items, the same on every day apart from tastes that turn."""

    people: People
    goods: Goods
    turn: float
    """Radians by which tastes turn each day."""

    def tastes(self, day: int) -> Floats:
        """Return the users' hidden vectors [users, LATENT] on the day of that index."""
        people, angle = self.people, self.turn * day
        segments = np.cos(angle) * people.taste_from + np.sin(angle) * people.taste_to
        vectors: Floats = 0.8 * segments[people.segment] + 0.6 * people.own_taste
        return vectors

    def draw_users(self, rng: np.random.Generator, day: int, count: int) -> Ints:
        """Return ``count`` users who visit on that day."""
        return draw(rng, self.people.activity * (self.people.joined <= day), count)

    def draw_items(self, rng: np.random.Generator, day: int, count: int) -> Ints:
        """Return ``count`` items shown on that day."""
        return draw(rng, self.goods.popularity * (self.goods.launched <= day), count)


def make_world(settings: Settings) -> World:
    """Return the marketplace of that size and seed; the number of days plays no part."""
    rng = np.random.default_rng([settings.seed, 0])
    users = int(np.clip(settings.rows // 12, 100, 100_000))
    items = int(np.clip(settings.rows // 40, 150, 20_000))
    return World(
        people=_people(rng, users),
        goods=_goods(rng, items),
        turn=float(np.radians(settings.drift)),
    )


def draw(rng: np.random.Generator, weights: Floats, count: int) -> Ints:
    """Return ``count`` indices drawn with replacement in proportion to ``weights``."""
    edges = np.cumsum(weights)
    found: Ints = np.searchsorted(edges, rng.random(count) * edges[-1], side="right")
    return found


def users_table(people: People) -> pa.Table:
    """Return the users as ``users.csv`` lists them."""
    return pa.table(
        {
            "user_id": names("u", len(people.segment)),
            "age": people.age,
            "segment": pa.array(SEGMENTS).take(pa.array(people.segment)),
        }
    )


def items_table(goods: Goods) -> pa.Table:
    """Return the items as ``items.parquet`` lists them."""
    return pa.table(
        {
            "item_id": names("p", len(goods.category)),
            "category": pa.array(CATEGORIES).take(pa.array(goods.category)),
            "seller_id": names("s", int(goods.seller.max()) + 1).take(pa.array(goods.seller)),
            "price": goods.price,
            "tags": [f"{TAGS[first]},{TAGS[second]}" for first, second in goods.tags.tolist()],
        }
    )


def names(letter: str, count: int) -> pa.StringArray:
    """Return identifiers ``u0``, ``u1`` …: text, so that no reader takes them for quantities."""
    return pa.array([f"{letter}{number}" for number in range(count)])


def _people(rng: np.random.Generator, count: int) -> People:
    segment = rng.integers(len(SEGMENTS), size=count)
    return People(
        segment=segment,
        age=np.clip(rng.normal(24 + 6 * segment, 7).round(), 16, 90).astype(np.int64),
        own_taste=rng.normal(size=(count, LATENT)),
        taste_from=rng.normal(size=(len(SEGMENTS), LATENT)),
        taste_to=rng.normal(size=(len(SEGMENTS), LATENT)),
        activity=rng.lognormal(0, 0.7, count),
        joined=_arrivals(rng, count),
    )


def _goods(rng: np.random.Generator, count: int) -> Goods:
    category = rng.integers(len(CATEGORIES), size=count)
    seller = rng.integers(max(count // 8, 5), size=count)
    tags = rng.integers(len(TAGS), size=(count, 2))
    of_category, of_seller, of_tag = (
        rng.normal(size=(size, LATENT)) for size in (len(CATEGORIES), count, len(TAGS))
    )
    own = rng.normal(size=(count, LATENT))
    tagged = of_tag[tags].sum(axis=1) / np.sqrt(2)
    return Goods(
        category=category,
        seller=seller,
        price=rng.lognormal(3 + 0.1 * category, 0.6).round(2),
        tags=tags,
        nature=0.7 * of_category[category] + 0.3 * of_seller[seller] + 0.4 * tagged + 0.5 * own,
        popularity=rng.lognormal(0, 0.8, count),
        launched=_arrivals(rng, count),
    )


def _arrivals(rng: np.random.Generator, count: int) -> Ints:
    """Return the first day of each: nine in ten from the start, the others over a month."""
    return np.where(rng.random(count) < 0.9, 0, rng.integers(1, 31, count)).astype(np.int64)
