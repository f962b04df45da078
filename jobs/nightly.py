"""One day through the real DAGs: samples, training, gate, report."""

from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

from jobs.airflow import connect
from jobs.chain import chain_of, run_options
from jobs.home import Home
from jobs.timing import Stopwatch


def nightly(
    *, spec_name: str, day: date, home: Home, source: Path | None = None, retrain: bool = False
) -> dict[str, Any]:
    """Run the whole chain of one day and follow it to its end.

    Args:
        spec_name: name or path of the spec.
        day: the night's day.
        home: where everything lies.
        source: folder of the raw logs; left out: the home's own.
        retrain: train although this night has a registered version.

    Returns:
        ``ds``, ``tasks`` (state and seconds of each), ``results`` (what each job said), ``waiting``
        (for a person to approve the model: see ``autoifs up``), ``steps``.

    Raises:
        UserError: the sentence of the task that failed, with its job's exit code.
    """
    watch = Stopwatch()
    chain, extra = chain_of(spec_name)
    with ExitStack() as stack:
        with watch.step("start"):
            client = stack.enter_context(connect(home, chain.dags, extra))
            chain.make_pools(client)
        with watch.step("run"):
            said = chain.night(client, day, run_options(source, retrain=retrain))
    return {"product": chain.product, "ds": day.isoformat(), **said, "steps": watch.seconds}
