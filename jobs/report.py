"""Write a night's report: one HTML file, the newest one as ``latest.html``, and their index."""

import os
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from features.errors import UserError
from features.lake import Lake
from features.spec import Spec
from jobs.home import Home
from jobs.runs import history
from validation.report import render, render_index, render_markdown
from validation.report.gather import HISTORY, gather, night
from validation.report.records import Records, Run

ADDRESS = "AUTOIFS_REPORTS_URL"
"""Environment variable: where the folder of reports is served, for links in messages."""


def report(*, spec: Spec, lake: Lake, home: Home, day: date) -> dict[str, Any]:
    """Write the report of ``day`` from what its commands left in the tables.

    Returns:
        ``report``, ``latest`` and ``index`` (paths), ``bytes``, ``outcome``, and ``message``: the
        report as a chat message in Markdown.

    Raises:
        UserError: when no command of that night has run.
    """
    ds, runs = day.isoformat(), _runs(lake)
    if not any(run.ds == ds for run in runs):
        raise UserError(
            f"no night of {ds} has run for {spec.product}; run autoifs nightly --ds {ds} first"
        )
    folder = home.reports(spec.product)
    path = folder / f"{ds}.html"
    records = Records(
        runs=[run for run in runs if run.ds <= ds],
        published=lake.commits("samples"),
        metrics=_metrics(lake, day),
        docs_link=_docs_link(home, spec, runs, ds),
    )
    data = gather(spec, ds, records, written=datetime.now(UTC), link=_link(spec, path))
    write(path, render(data))
    latest = _copy_newest(folder)
    nights = [night(runs, at) for at in _nights(folder)]
    write(folder / "index.html", render_index(spec.product, nights))
    return {
        "report": path,
        "latest": latest,
        "index": folder / "index.html",
        "bytes": path.stat().st_size,
        "outcome": data.decision.outcome,
        "message": render_markdown(data),
    }


def write(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` in one move: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def _runs(lake: Lake) -> list[Run]:
    return [Run(**row) for row in history(lake)]


def _metrics(lake: Lake, day: date) -> list[dict[str, Any]]:
    """Return the challengers' metrics of the nights that a trend is drawn from."""
    if not lake.exists("metrics"):
        return []
    first = (day - timedelta(days=2 * HISTORY)).isoformat()
    recent = [("ds", ">=", first), ("ds", "<=", day.isoformat()), ("role", "=", "challenger")]
    rows: list[dict[str, Any]] = lake.open("metrics").to_pyarrow_table(filters=recent).to_pylist()
    return rows


def _docs_link(home: Home, spec: Spec, runs: list[Run], ds: str) -> str | None:
    """Return the address of the audit's Data Docs relative to the report, when there are any."""
    told = [run.result.get("docs") for run in runs if (run.ds, run.step) == (ds, "audit")]
    pages = [Path(str(told[-1]))] if told and told[-1] else []
    pages.append(home.docs(spec.product) / "index.html")
    found = next((page for page in pages if page.is_file()), None)
    return os.path.relpath(found, home.reports(spec.product)) if found else None


def _link(spec: Spec, path: Path) -> str:
    served = os.environ.get(ADDRESS)
    return f"{served.rstrip('/')}/{spec.product}/{path.name}" if served else str(path)


def _nights(folder: Path) -> list[str]:
    """Return the days that have a report, oldest first."""
    return sorted(path.stem for path in folder.glob("[0-9]*.html"))


def _copy_newest(folder: Path) -> Path:
    latest, scratch = folder / "latest.html", folder / f".latest.html.{os.getpid()}"
    shutil.copyfile(folder / f"{_nights(folder)[-1]}.html", scratch)
    return scratch.replace(latest)
