"""The marketplace ``bazaar`` as the reference engines know it: its facts once more, by hand."""

from datetime import date
from pathlib import Path

TASKS = ("click", "like", "purchase")
PLACES = ("feed", "search", "live", "deals")
LIKED_IN = ("feed", "search", "live")
"""The places that have the task ``like``."""

ENTITIES = (
    ("user_id",),
    ("item_id",),
    ("category",),
    ("seller_id",),
    ("user_id", "place"),
    ("item_id", "place"),
    ("user_id", "category"),
)
"""Whose history is counted; each is what the tables of attributes call it."""

RATED = tuple(
    (entity, window)
    for entity in ENTITIES
    for window in (("1", "all") if len(entity) == 1 else ("all",))
)
"""Which counts and rates a sample has: over yesterday and over all days, of pairs over all days."""

PRIOR = 20.0

SEPARATOR = "\u001f"
"""Stands between the values of a key of several columns."""

_FULL_NAMES = {"category": "items_category", "seller_id": "items_seller_id"}


def rate_columns(entity: tuple[str, ...], window: str) -> tuple[str, dict[str, str]]:
    """Return what the table ``samples`` calls an entity's count, and task → its rate.

    >>> rate_columns(("user_id", "category"), "all")[0]
    'n_count_user_id_items_category_all'
    """
    slug = "_".join(_FULL_NAMES.get(column, column) for column in entity)
    rates = {task: f"n_rate_{task}_{slug}_{window}" for task in TASKS}
    return f"n_count_{slug}_{window}", rates


def files_between(folder: Path, first: date, last: date) -> list[str]:
    """Return a stream's files of the days from ``first`` to ``last`` that are there."""
    files = sorted(folder.iterdir())
    return [str(file) for file in files if str(first) <= file.name[:10] <= str(last)]
