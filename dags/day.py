"""The one place that says which day a run is about."""

from datetime import date
from typing import Any

from airflow.sdk.exceptions import AirflowFailException


def day_of(context: Any) -> str:
    """Return the run's day, ``YYYY-MM-DD``: its partition key, else the parameter ``day``.

    Never ``ds``: a partitioned run has no logical date and would fail on it.

    Raises:
        AirflowFailException: when the run has neither, or it is no day.
    """
    day = context["dag_run"].partition_key or context["params"].get("day")
    if not day:
        raise AirflowFailException(
            "this run has no day; trigger it with a partition key such as 2026-11-10"
        )
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise AirflowFailException(
            f"'{day}' is not a day; write the partition key as YYYY-MM-DD"
        ) from None


def is_backfill(context: Any) -> bool:
    """Return whether the run belongs to a backfill (``str(run_type)`` is not its value)."""
    run_type = context["dag_run"].run_type
    return bool(getattr(run_type, "value", run_type) == "backfill")


def asked(context: Any, option: str) -> Any:
    """Return an option of the run: its own parameter, else what the announcing run was given."""
    own = context["params"].get(option)
    if own:
        return own
    for events in context["triggering_asset_events"].values():
        for event in events:
            if event.extra.get(option):
                return event.extra[option]
    return None
