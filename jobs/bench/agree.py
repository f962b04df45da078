"""Whether engines computed the same: a few sums over what each has written."""

from collections.abc import Mapping, Sequence
from math import isclose

from features.errors import UserError
from jobs.bench.shop import RATED, TASKS, rate_columns

Facts = dict[str, float | None]

CLOSE = 1e-6
"""Relative difference that sums of fractions may have: engines add them in different orders."""


def facts_of(files: Mapping[str, Sequence[str]]) -> Facts:
    """Return the sums that engines must agree on.

    Args:
        files: table (``samples``, ``counts``, ``quarantine``) → its Parquet files of one day.
    """
    import duckdb

    columns = {
        "samples": {"rows": "count(*)", **_label_sums(), **_feature_sums()},
        "counts": {name: f"sum({name})::DOUBLE" for name in ("n", *(f"n_{t}" for t in TASKS))}
        | {"keys": "count(*)"},
        "quarantine": {"rows": "count(*)"},
    }
    found: Facts = {}
    with duckdb.connect() as session:
        for table, sums in columns.items():
            asked = ", ".join(sums.values())
            row = session.execute(
                f"SELECT {asked} FROM read_parquet($files)",  # noqa: S608 (constants of this module)
                {"files": list(files[table])},
            ).fetchone()
            found |= {
                f"{table}: {name}": value for name, value in zip(sums, row or (), strict=True)
            }
    return found


def require_agreement(rows: int, facts: Mapping[str, Facts]) -> None:
    """Check that all engines made the same of a day.

    Args:
        rows: the day's impressions, for the message.
        facts: engine → what ``facts_of`` says of its files.

    Raises:
        UserError: naming the first difference.
    """
    first, *others = facts
    for other in others:
        for name, value in facts[first].items():
            found = facts[other][name]
            if not _same(value, found):
                raise UserError(
                    f"at {rows} impressions {first} and {other} disagree on {name}: "
                    f"{value} against {found}; their times can't be compared"
                )


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return isclose(one, other, rel_tol=CLOSE)


def _label_sums() -> dict[str, str]:
    known = {f"known {task}": f"count(label_{task})" for task in TASKS}
    positive = {f"positive {task}": f"count_if(label_{task})" for task in TASKS}
    return known | positive


def _feature_sums() -> dict[str, str]:
    names = ["n_users_age", "n_items_price", "n_position"]
    for entity, window in RATED:
        count, rates = rate_columns(entity, window)
        names += [count, *rates.values()]
    return {name: f"sum({name})" for name in names} | {"tags": "sum(len(m_items_tags))"}
