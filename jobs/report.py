"""Write a night's report: one HTML file, the newest one as ``latest.html``, and their index."""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from features.errors import NoNightError, RegistryError
from features.lake import Lake
from features.objects import is_address
from features.spec import Spec
from jobs.home import Home
from jobs.runs import history
from jobs.train import registry_of
from validation.report import render, render_index, render_markdown
from validation.report.data import Link, ReportData
from validation.report.gather import HISTORY, gather, night
from validation.report.records import Records, Run

ADDRESS = "AUTOIFS_REPORTS_URL"
"""Environment variable: where the folder of reports is served, for links in messages."""
AIRFLOW, MLFLOW = "AUTOIFS_AIRFLOW_URL", "AUTOIFS_MLFLOW_URL"
"""Environment variables: where people open Airflow and MLflow; left out: as ``up`` serves them."""
_UP = {AIRFLOW: "http://127.0.0.1:8080", MLFLOW: "http://127.0.0.1:5000"}

log = logging.getLogger(__name__)


def report(*, spec: Spec, lake: Lake, home: Home, day: date) -> dict[str, Any]:
    """Write the report of ``day`` from what its commands left in the tables.

    Pages of earlier nights whose models this night judged on their next day are written anew. The
    pages go to the lake, and to MLflow beside their models.

    Returns:
        ``report``, ``latest`` and ``index`` (paths), ``pages`` (days written), ``bytes``,
        ``outcome``, ``attached`` (where MLflow holds the pages), and ``message``: the report as a
        chat message in Markdown.

    Raises:
        NoNightError: when no command of that night has run.
    """
    ds, runs = day.isoformat(), _runs(lake)
    if not any(run.ds == ds for run in runs):
        raise NoNightError(
            f"no night of {ds} has run for {spec.product}; run autoifs nightly --ds {ds} first"
        )
    folder = home.reports(spec.product)
    settled = [one["ds"] for one in _result(runs, ds, "evaluate").get("settled") or ()]
    days = [*(one for one in settled if (folder / f"{one}.html").is_file()), ds]
    pages = _write_pages(spec, lake, home, runs, days)
    path = folder / f"{ds}.html"
    return {
        "report": path,
        "latest": folder / "latest.html",
        "index": folder / "index.html",
        "pages": days,
        "bytes": path.stat().st_size,
        "outcome": pages[ds].decision.outcome,
        "airflow_run": _airflow_run(runs, ds, ds),
        "attached": _attach(spec, home, pages),
        "message": render_markdown(pages[ds]),
    }


def refresh(*, spec: Spec, lake: Lake, home: Home, version: str) -> list[Path]:
    """Write the page of the night that made ``version`` again, after the champion changed.

    Returns:
        The page, ``latest.html`` and ``index.html``; nothing for a night without a page.
    """
    ds = registry_of(spec, home).get(version).tags.get("ds", "")
    folder = home.reports(spec.product)
    if not ds or not (folder / f"{ds}.html").is_file():
        return []
    _write_pages(spec, lake, home, _runs(lake), [ds])
    return [folder / f"{ds}.html", folder / "latest.html", folder / "index.html"]


def publishable(home: Home, spec: Spec, day: date | None = None) -> list[tuple[str, Path]]:
    """Return name and path of the pages to publish: a day's with its index, or all of them."""
    folder = home.reports(spec.product)
    names = ["*.html"] if day is None else [f"{day}.html", "latest.html", "index.html"]
    found = sorted(path for name in names for path in folder.glob(name))
    return [(path.name, path) for path in found]


def write(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` in one move: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def _write_pages(
    spec: Spec, lake: Lake, home: Home, runs: list[Run], days: Sequence[str]
) -> dict[str, ReportData]:
    """Write the pages of some nights, the copy of the newest, and the index; return the nights'."""
    folder, trail, found = home.reports(spec.product), _trail(spec, home), {}
    newest = max([*_nights(folder), *days])
    # The index shows the trends of the newest night, whichever nights are written.
    for ds in dict.fromkeys([*days, newest]):
        path = folder / f"{ds}.html"
        records = Records(
            runs=[run for run in runs if run.ds <= ds],
            published=lake.commits("samples"),
            metrics=_metrics(lake, ds),
            drift=_rows(lake, "drift", [("ds", "=", ds)]),
            trail=trail,
            docs_link=_docs_link(home, spec, runs, ds),
            links=_links(spec, runs, ds, max(days)),
        )
        found[ds] = gather(spec, ds, records, written=datetime.now(UTC), link=_link(spec, path))
        if ds in days:
            write(path, render(found[ds]))
    _copy_newest(folder)
    nights = [night(runs, at, trail) for at in _nights(folder)]
    write(folder / "index.html", render_index(spec.product, nights, found[newest]))
    _keep_in_lake(lake, folder, [*(f"{ds}.html" for ds in days), "latest.html", "index.html"])
    return {ds: found[ds] for ds in days}


def _runs(lake: Lake) -> list[Run]:
    return [Run(**row) for row in history(lake)]


def _result(runs: Sequence[Run], ds: str, step: str) -> dict[str, Any]:
    """Return what a step of a day said; empty when it did not run."""
    found = [run.result for run in runs if (run.ds, run.step) == (ds, step)]
    return dict(found[-1]) if found else {}


def _trail(spec: Spec, home: Home) -> list[dict[str, Any]]:
    """Return every change of the champion, oldest first; nothing while MLflow does not answer."""
    try:
        return [one.to_json() for one in registry_of(spec, home).held().mended.trail]
    except RegistryError as error:
        log.warning("the report does not know who is champion now: %s", error)
        return []


def _metrics(lake: Lake, ds: str) -> list[dict[str, Any]]:
    """Return all metrics of the night, and the challengers' of those that a trend is drawn from."""
    first = (date.fromisoformat(ds) - timedelta(days=2 * HISTORY)).isoformat()
    before = [("ds", ">=", first), ("ds", "<", ds), ("role", "=", "challenger")]
    return _rows(lake, "metrics", before) + _rows(lake, "metrics", [("ds", "=", ds)])


def _rows(lake: Lake, table: str, filters: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
    if not lake.exists(table):
        return []
    rows: list[dict[str, Any]] = lake.open(table).to_pyarrow_table(filters=filters).to_pylist()
    return rows


def _links(spec: Spec, runs: Sequence[Run], ds: str, now: str) -> list[Link]:
    """Return where the night's run and model can be looked at."""
    airflow, mlflow = (os.environ.get(name, _UP[name]).rstrip("/") for name in (AIRFLOW, MLFLOW))
    found = []
    if run := _airflow_run(runs, ds, now):
        page = f"{airflow}/dags/{spec.product}_training/runs/{run}"
        found.append(Link(name="Airflow run", address=page))
    registered = _result(runs, ds, "register")
    if registered.get("run_id"):
        page = f"{mlflow}/#/runs/{registered['run_id']}"
        found.append(Link(name="MLflow run", address=page))
    return found


def _airflow_run(runs: Sequence[Run], ds: str, now: str) -> str | None:
    """Return the run that reports on ``ds``, or did when its page was first written."""
    known = _result(runs, ds, "report").get("airflow_run")
    return os.environ.get("AUTOIFS_RUN_ID") or known if ds == now else known


def _docs_link(home: Home, spec: Spec, runs: list[Run], ds: str) -> str | None:
    """Return the address of the audit's Data Docs relative to the report, when there are any."""
    told = _result(runs, ds, "audit").get("docs")
    pages = [Path(str(told))] if told else []
    pages.append(home.docs(spec.product) / "index.html")
    found = next((page for page in pages if page.is_file()), None)
    return os.path.relpath(found, home.reports(spec.product)) if found else None


def _link(spec: Spec, path: Path) -> str:
    served = os.environ.get(ADDRESS)
    return f"{served.rstrip('/')}/{spec.product}/{path.name}" if served else str(path)


def _keep_in_lake(lake: Lake, folder: Path, names: Sequence[str]) -> None:
    """Copy pages to the lake, where the tables lie; one in an object store is published apart."""
    if is_address(lake.root):
        return
    kept = Path(lake.root) / lake.product / "reports"
    for name in names:
        write(kept / name, (folder / name).read_text(encoding="utf-8"))


def _attach(spec: Spec, home: Home, pages: Mapping[str, ReportData]) -> list[str]:
    """Put each page beside its model in MLflow; return where it lies then.

    A page that can't be put there is a page all the same: it says so in the log.
    """
    registry, places = registry_of(spec, home), []
    for ds, data in pages.items():
        if data.decision.version is not None:
            path = home.reports(spec.product) / f"{ds}.html"
            try:
                places.append(registry.attach(data.decision.version, path, "report"))
            except RegistryError as error:
                log.warning("the page of %s is not beside its model in MLflow: %s", ds, error)
    return places


def _nights(folder: Path) -> list[str]:
    """Return the days that have a report, oldest first."""
    return sorted(path.stem for path in folder.glob("[0-9]*.html"))


def _copy_newest(folder: Path) -> None:
    latest, scratch = folder / "latest.html", folder / f".latest.html.{os.getpid()}"
    shutil.copyfile(folder / f"{_nights(folder)[-1]}.html", scratch)
    scratch.replace(latest)
