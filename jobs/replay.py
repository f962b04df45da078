"""Walk-forward over history: night after night as they would have been, each training a model."""

from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

from features.days import span
from features.errors import UserError
from features.lake import Lake
from features.spec import Spec, load_spec
from jobs.airflow import connect
from jobs.chain import chain_of, run_options
from jobs.home import Home
from jobs.runs import results
from jobs.timing import Stopwatch
from jobs.train import registry_of

ENDS = ("gate", "report")
"""Steps that a night has behind it when it is done."""


def replay(
    *, spec_name: str, first: date, last: date, home: Home, source: Path | None = None
) -> dict[str, Any]:
    """Send past days through the whole chain, one night after the other.

    A night knows what was known at its end: labels that closed by then, features of the days
    before, the champion of the night before. So nothing later may be in the home. Nights that are
    done are left alone: a replay that broke off goes on where it was.

    Args:
        spec_name: name or path of the spec.
        first: the first night; the days before it are built by a backfill.
        last: the last night.
        home: where everything lies.
        source: folder of the raw logs; left out: the home's own.

    Returns:
        ``nights`` (of each: ``ds``, ``tasks``, ``results``, ``waiting``), ``skipped`` (nights that
        were done), ``steps``.

    Raises:
        UserError: when the home knows what came later, or the sentence of the task that failed.
    """
    watch = Stopwatch()
    spec = load_spec(spec_name)
    lake = home.lake(spec.product)
    done = [day for day in span(first, last) if _is_done(lake, day)]
    left = [day for day in span(first, last) if day not in done]
    asked = {"product": spec.product, "from": first.isoformat(), "to": last.isoformat()}
    said = {**asked, "skipped": [day.isoformat() for day in done]}
    if not left:
        return {**said, "nights": [], "steps": watch.seconds}
    _refuse_hindsight(spec, lake, home, left[0])
    chain, extra = chain_of(spec_name)
    with ExitStack() as stack:
        with watch.step("start"):
            client = stack.enter_context(connect(home, chain.dags, extra))
            chain.make_pools(client)
        with watch.step("run"):
            # One at a time: samples made while a model trains would show it the next day.
            nights = [
                {"ds": day.isoformat(), **chain.night(client, day, run_options(source))}
                for day in left
            ]
    return {**said, "nights": nights, "steps": watch.seconds}


def _is_done(lake: Lake, day: date) -> bool:
    return results(lake, day).keys() >= set(ENDS)


def _refuse_hindsight(spec: Spec, lake: Lake, home: Home, night: date) -> None:
    """Refuse a home that knows what came after ``night``.

    Raises:
        UserError: naming the day or the version that is later.
    """
    fix = (
        "replay into a home of its own: autoifs backfill the days before, then autoifs replay, "
        "both with --home"
    )
    later = {
        ds: said["as_of"]
        for ds, said in lake.commits("samples").items()
        if said["as_of"] > night.isoformat()
    }
    for ds, as_of in sorted(later.items()):
        raise UserError(
            f"the samples of {ds} know what happened until {as_of}, after the night of {night}; "
            f"{fix}"
        )
    for version in registry_of(spec, home).list():
        if version.tags.get("ds", "") > night.isoformat():
            raise UserError(
                f"model version {version.version} is of {version.tags['ds']}, after the night of "
                f"{night}; {fix}"
            )
