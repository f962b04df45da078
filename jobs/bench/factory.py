"""The sample factory itself, timed from inside its Spark session."""

import os
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from features.lake import Lake
from features.spec import load_spec
from jobs import samples
from jobs.bench.agree import facts_of
from jobs.bench.request import Request
from jobs.home import Home

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

PRODUCT = "bazaar"

Result = dict[str, Any]


def build_days(request: Request) -> Result:
    """Time the build of a day, its audit, and one aggregate pass over what was staged.

    Returns:
        ``start`` (seconds until Spark was there), ``seconds`` of each build, ``steps`` of the last,
        the ``facts`` of what was written and, where audits are asked for, ``audit`` and ``pass``
        (medians, seconds).
    """
    places = _places(request, "lake", f"local[{request.cores}]")
    timed, day = _builds(places, request), request.days[-1]
    tables = {"samples": "staged", "counts": "counts", "quarantine": "quarantine"}
    files = {
        name: places["lake"].files(table, str(day), str(day)) for name, table in tables.items()
    }
    return {**timed, "facts": facts_of(files), **_audited(places, day, request.audits)}


def _audited(places: Result, day: date, times: int) -> Result:
    """Return the median seconds of audits of what is staged, and of passes over it."""
    if not times:
        return {}
    audits = [_audit_and_pass(places, day) for _ in range(times + 1)][1:]  # the first warms up
    return {
        "audit": median(audit for audit, _ in audits),
        "pass": median(one for _, one in audits),
    }


def build_on_cluster(request: Request) -> Result:
    """Time the build of a day where the environment says that tables and Spark are.

    Returns:
        ``start``, ``seconds`` and ``steps`` as :func:`build_days` does.
    """
    return _builds(_places(request, "lake", os.environ["AUTOIFS_SPARK_MASTER"]), request)


def _builds(places: Result, request: Request) -> Result:
    """Build earlier days untimed and the last as often as asked for."""
    *before, day = request.days
    spark_steps = [samples.build(**places, day=earlier)["steps"]["spark"] for earlier in before]
    seconds, steps = [], {}
    for _ in range(request.repeats):
        _forget_counts(places["lake"], day)
        started = time.perf_counter()
        steps = samples.build(**places, day=day)["steps"]
        seconds.append(time.perf_counter() - started)
    return {"start": spark_steps[0] if spark_steps else 0.0, "seconds": seconds, "steps": steps}


def _forget_counts(lake: Lake, day: date) -> None:
    """Have a day counted anew when it is built again, as the other engines do."""
    from pyspark.sql import SparkSession

    from features import tables

    if lake.exists("counts"):
        nothing = tables.read(SparkSession.active(), lake, "counts").limit(0)
        tables.replace_days(nothing, lake, "counts", {day: {}})


def nights(request: Request) -> Result:
    """Time an early night and a late one, each in a history that ends with it, in turns.

    Returns:
        ``early`` and ``late``: medians, seconds.
    """
    first, *ends = request.days
    master = f"local[{request.cores}]"
    histories = {end: _places(request, f"until-{end}", master) for end in ends}
    for end, places in histories.items():
        # As of its own end, as a night left it: a day that knows its outcomes reads more files.
        samples.run(**places, first=first, last=end, as_of=first)
    spent: dict[date, list[float]] = {end: [] for end in ends}
    for turn in range(request.repeats + 1):
        for end, places in histories.items():
            seconds = _timed(partial(_night, places, end))
            if turn:  # the first of each warms up
                spent[end].append(seconds)
    early, late = (median(spent[end]) for end in ends)
    return {"early": early, "late": late, "spent": list(spent.values())}


def _night(places: Result, day: date) -> None:
    samples.run(**places, first=day, last=day, force=True)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _places(request: Request, name: str, master: str) -> Result:
    """Return where the jobs of samples work, each history in a home of its own."""
    os.environ["AUTOIFS_SPARK_MASTER"] = master
    home = Home(root=request.out / name, cache=request.cache)
    return {
        "spec": load_spec(PRODUCT),
        "spec_file_name": f"{PRODUCT}.yaml",
        "lake": home.lake(PRODUCT),
        "home": home,
        "source": request.raw,
    }


def _audit_and_pass(places: Result, day: date) -> tuple[float, float]:
    """Return the seconds of an audit of what is staged, and of one look at each of its cells."""
    from pyspark.sql import SparkSession

    from features import tables

    audit = _timed(lambda: samples.audit(**places, day=day))
    spark = SparkSession.active()  # as the audit left it: as many cores as it had
    staged = tables.read(spark, places["lake"], "staged", str(day), str(day))
    return audit, _timed(lambda: profile(staged).collect())


def profile(frame: "DataFrame") -> "DataFrame":
    """Return one aggregate pass: of each scenario and column, how many cells hold something.

    Numbers are summed and their bounds taken beside; that is what looking at a cell costs least.
    """
    from pyspark.sql import functions as F

    sums = []
    for field in frame.schema.fields:
        sums.append(f"count(`{field.name}`)")
        if field.dataType.typeName() == "double":
            sums += [f"{function}(`{field.name}`)" for function in ("sum", "min", "max")]
    return frame.groupBy("scenario").agg(*map(F.expr, sums))
