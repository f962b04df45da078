"""Past days through the real samples DAG, with Airflow's own backfill; no training is started."""

from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

from jobs.airflow import connect
from jobs.chain import chain_of, run_options
from jobs.home import Home
from jobs.timing import Stopwatch


def backfill(
    *,
    spec_name: str,
    first: date,
    last: date,
    home: Home,
    source: Path | None = None,
    reprocess: str = "completed",
) -> dict[str, Any]:
    """Build the samples of a range of days, the oldest first, and follow it to its end.

    Every day is looked at again: one whose data and spec are as they were is found done by its
    fingerprint, without Spark, so looking is cheap and a changed day is never passed over.

    Args:
        spec_name: name or path of the spec.
        first: the first day.
        last: the last day; labels are read up to its end.
        home: where everything lies.
        source: folder of the raw logs; left out: the home's own.
        reprocess: which days with an earlier run get another: ``none``, ``failed``, ``completed``.

    Returns:
        ``from``, ``to``, ``days`` (what each day's job said), ``tasks``, ``steps``.

    Raises:
        UserError: the sentence of the first day that failed.
    """
    watch = Stopwatch()
    chain, extra = chain_of(spec_name)
    with ExitStack() as stack:
        with watch.step("start"):
            client = stack.enter_context(connect(home, chain.dags, extra))
            chain.make_pools(client)
        with watch.step("run"):
            conf = run_options(source, to=last.isoformat())
            said = chain.backfill(client, first, last, conf, reprocess)
    asked = {"product": chain.product, "from": first.isoformat(), "to": last.isoformat()}
    return {**asked, **said, "steps": watch.seconds}
