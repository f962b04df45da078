"""``autoifs``: the one door that people and DAGs share.

Every command logs to stderr, prints one JSON object as its last line on stdout, and answers bad
input with one sentence and a non-zero exit. Heavy rooms are imported by the command that needs
them, so that ``autoifs --help`` stays quick.
"""

import atexit
import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from features.days import parse_day
from features.errors import UserError
from features.lake import Lake
from features.spec import Spec, find_spec, load_spec
from jobs.console import STDERR, say, set_up_logging
from jobs.home import Home, open_home

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
samples_app = typer.Typer(no_args_is_help=True, help="Build, audit, publish and look at samples.")
models_app = typer.Typer(no_args_is_help=True, help="List, promote and roll back models.")
spec_app = typer.Typer(no_args_is_help=True, help="Check a spec; print its schema for editors.")
app.add_typer(samples_app, name="samples")
app.add_typer(models_app, name="models")
app.add_typer(spec_app, name="spec")

SpecName = Annotated[
    str,
    typer.Option("--spec", envvar="AUTOIFS_SPEC", help="A name in infra/specs, or a path."),
]
HomeFolder = Annotated[
    Path | None, typer.Option("--home", help="Holds all state; default $AUTOIFS_HOME, .autoifs.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show stack traces and all log lines.")]
Ds = Annotated[str, typer.Option("--ds", help="The day, YYYY-MM-DD.")]
From = Annotated[str, typer.Option("--from", help="The first day, YYYY-MM-DD.")]
To = Annotated[str, typer.Option("--to", help="The last day, YYYY-MM-DD.")]
SourceFolder = Annotated[
    Path | None, typer.Option("--source", help="Folder of the raw logs; default: in the home.")
]
Force = Annotated[bool, typer.Option("--force", help="Do it although nothing has changed.")]
Result = dict[str, Any]


class Reprocess(StrEnum):
    """Which days of a backfill that ran before run once more; unchanged days are found done."""

    none = "none"
    failed = "failed"
    completed = "completed"


def perform(name: str, debug: bool, work: Callable[[], Result]) -> None:
    """Run a command's work; print its result, or one sentence about what went wrong."""
    set_up_logging(debug)
    try:
        result = work()
    except UserError as error:
        _fail(name, str(error), error.code, error.exit_code, debug)
    except KeyboardInterrupt:
        _fail(name, "stopped by the keyboard; nothing is half-written", "stopped", 130, debug)
    except Exception as error:  # the last door: a person gets a sentence, --debug the trace
        text = f"{type(error).__name__}: {_first_line(error)}; run again with --debug for the trace"
        _fail(name, text, "internal", 1, debug)
    else:
        say({"ok": True, "command": name, **result})


def _fail(name: str, sentence: str, code: str, status: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    STDERR.print(f"autoifs {name}: {sentence}", markup=False, soft_wrap=True)
    say({"ok": False, "command": name, "error": code, "message": sentence})
    raise typer.Exit(status)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "no message"


def _product(spec_name: str, home_folder: Path | None) -> tuple[Spec, Home, Lake]:
    spec = load_spec(spec_name)
    home = open_home(home_folder)
    return spec, home, home.lake(spec.product)


def _span(first: str, last: str) -> tuple[date, date]:
    start, end = parse_day(first), parse_day(last)
    if start > end:
        raise UserError(f"--from {first} is after --to {last}; swap them")
    return start, end


def _step(
    name: str, spec_name: str, home_folder: Path | None, ds: str, debug: bool, **options: Any
) -> None:
    """Run the job of one night called ``name`` and keep its result in the table ``runs``."""

    def work() -> Result:
        from importlib import import_module

        from jobs.runs import record

        spec, home, lake = _product(spec_name, home_folder)
        day = parse_day(ds)
        started = time.perf_counter()
        job = getattr(import_module(f"jobs.{name}"), name)
        result: Result = job(spec=spec, lake=lake, home=home, day=day, **options)
        if not result.get("skipped"):
            record(lake, day, name, time.perf_counter() - started, result)
        return result

    perform(name, debug, work)


# ── samples ──────────────────────────────────────────────────────────────────────────────────────


@samples_app.command("night")
def samples_night(
    ds: Ds,
    spec: SpecName = "bazaar",
    source: SourceFolder = None,
    home: HomeFolder = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Make a day's samples, and again those of the day whose last label window closes."""

    def work() -> Result:
        from jobs import samples

        product, place, lake = _product(spec, home)
        return samples.night(
            spec=product,
            spec_file_name=find_spec(spec).name,
            lake=lake,
            home=place,
            source=place.source(product, source),
            day=parse_day(ds),
            force=force,
        )

    perform("samples night", debug, work)


@samples_app.command("run")
def samples_run(
    first: From,
    last: To,
    as_of: Annotated[
        str | None, typer.Option(help="The last day whose files may be read; default: --to.")
    ] = None,
    spec: SpecName = "bazaar",
    source: SourceFolder = None,
    home: HomeFolder = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Build, audit, publish and encode the days of a range, oldest first, in one Spark session."""

    def work() -> Result:
        start, end = _span(first, last)
        from jobs import samples

        product, place, lake = _product(spec, home)
        return samples.run(
            spec=product,
            spec_file_name=find_spec(spec).name,
            lake=lake,
            home=place,
            source=place.source(product, source),
            first=start,
            last=end,
            as_of=parse_day(as_of) if as_of else end,
            force=force,
        )

    perform("samples run", debug, work)


@samples_app.command("build")
def samples_build(
    ds: Ds,
    spec: SpecName = "bazaar",
    source: SourceFolder = None,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Write a day's samples to staging and its broken rows to quarantine; publish nothing."""
    _samples_step("build", ds, spec, source, home, debug)


@samples_app.command("audit")
def samples_audit(
    ds: Ds,
    spec: SpecName = "bazaar",
    source: SourceFolder = None,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Check the staged samples of a day; exit 3 when a rule of severity stop is broken."""
    _samples_step("audit", ds, spec, source, home, debug)


@samples_app.command("publish")
def samples_publish(
    ds: Ds,
    spec: SpecName = "bazaar",
    source: SourceFolder = None,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Make the audited samples of a day visible to readers, and encode them for training."""
    _samples_step("publish", ds, spec, source, home, debug)


def _samples_step(
    name: str, ds: str, spec: str, source: Path | None, home: Path | None, debug: bool
) -> None:
    def work() -> Result:
        from jobs import samples

        product, place, lake = _product(spec, home)
        result: Result = getattr(samples, name)(
            spec=product,
            spec_file_name=find_spec(spec).name,
            lake=lake,
            home=place,
            source=place.source(product, source),
            day=parse_day(ds),
        )
        return result

    perform(f"samples {name}", debug, work)


@samples_app.command("show")
def samples_show(
    ds: Ds, spec: SpecName = "bazaar", home: HomeFolder = None, debug: Debug = False
) -> None:
    """Say what a published day holds: rows, content hash, labels, quarantine by rule."""

    def work() -> Result:
        from jobs.show import show

        product, _, lake = _product(spec, home)
        return show(spec=product, lake=lake, day=parse_day(ds))

    perform("samples show", debug, work)


# ── a night's training ───────────────────────────────────────────────────────────────────────────


@app.command()
def train(
    ds: Ds,
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train although this night has a version.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Train the spec's model and the baseline on the days before a night's."""
    _step("train", spec, home, ds, debug, retrain=retrain)


@app.command()
def register(
    ds: Ds, spec: SpecName = "bazaar", home: HomeFolder = None, debug: Debug = False
) -> None:
    """Register a night's model in MLflow as the challenger."""
    _step("register", spec, home, ds, debug)


@app.command()
def evaluate(
    ds: Ds, spec: SpecName = "bazaar", home: HomeFolder = None, debug: Debug = False
) -> None:
    """Judge a night's model and the champion on the same days that neither was trained on."""
    _step("evaluate", spec, home, ds, debug)


@app.command()
def gate(ds: Ds, spec: SpecName = "bazaar", home: HomeFolder = None, debug: Debug = False) -> None:
    """Decide whether a night's model becomes champion, and promote it if so."""
    _step("gate", spec, home, ds, debug)


@app.command()
def report(
    ds: Ds, spec: SpecName = "bazaar", home: HomeFolder = None, debug: Debug = False
) -> None:
    """Write a night's report as one HTML file."""
    _step("report", spec, home, ds, debug)


@app.command()
def alert(
    event: Annotated[str, typer.Option(help="failure or rejection.")],
    text: Annotated[str, typer.Option(help="The sentence to send.")],
    spec: SpecName = "bazaar",
    debug: Debug = False,
) -> None:
    """Send a sentence to the spec's webhook, if it has one."""

    def work() -> Result:
        from jobs.alert import alert as send

        return send(spec=load_spec(spec), event=event, text=text)

    perform("alert", debug, work)


# ── models ───────────────────────────────────────────────────────────────────────────────────────


@models_app.command("list")
def models_list(spec: SpecName = "bazaar", home: HomeFolder = None, debug: Debug = False) -> None:
    """List the registered versions, newest first, with their aliases."""
    _models("list_versions", spec, home, debug)


@models_app.command("promote")
def models_promote(
    version: Annotated[str, typer.Argument(help="The version that becomes champion.")],
    expect: Annotated[
        str | None, typer.Option(help="Fail unless this version is champion now.")
    ] = None,
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Make a version the champion."""
    _models("promote", spec, home, debug, version=version, expect=expect)


@models_app.command("rollback")
def models_rollback(
    spec: SpecName = "bazaar", home: HomeFolder = None, debug: Debug = False
) -> None:
    """Give the alias champion back to the version that had it before."""
    _models("rollback", spec, home, debug)


def _models(name: str, spec: str, home: Path | None, debug: bool, **options: Any) -> None:
    def work() -> Result:
        from jobs import models

        product, place, _ = _product(spec, home)
        result: Result = getattr(models, name)(spec=product, home=place, **options)
        return result

    perform(f"models {name.removesuffix('_versions')}", debug, work)


# ── the whole chain ──────────────────────────────────────────────────────────────────────────────


@app.command()
def nightly(
    ds: Ds,
    spec: SpecName = "bazaar",
    source: SourceFolder = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train although this night has a version.")
    ] = False,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Run the whole chain of one day through the real DAGs and follow it."""

    def work() -> Result:
        from jobs.nightly import nightly as run

        load_spec(spec)
        return run(
            spec_name=spec,
            day=parse_day(ds),
            home=open_home(home),
            source=source,
            retrain=retrain,
        )

    perform("nightly", debug, work)


@app.command()
def backfill(
    first: From,
    last: To,
    spec: SpecName = "bazaar",
    source: SourceFolder = None,
    reprocess: Annotated[
        Reprocess, typer.Option(help="Which days that ran before run once more.")
    ] = Reprocess.completed,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Build the samples of past days through Airflow's backfill; no training is started."""

    def work() -> Result:
        from jobs.backfill import backfill as run

        load_spec(spec)
        start, end = _span(first, last)
        return run(
            spec_name=spec,
            first=start,
            last=end,
            home=open_home(home),
            source=source,
            reprocess=reprocess.value,
        )

    perform("backfill", debug, work)


@app.command()
def up(
    schedule: Annotated[
        bool, typer.Option("--schedule", help="Also start each product's night at midnight.")
    ] = False,
    port: Annotated[int, typer.Option(help="Airflow's port.")] = 8080,
    mlflow_port: Annotated[int, typer.Option(help="MLflow's port.")] = 5000,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Serve Airflow and MLflow on 127.0.0.1 until Ctrl-C."""

    def work() -> Result:
        from jobs.up import up as run

        return run(home=open_home(home), schedule=schedule, port=port, mlflow_port=mlflow_port)

    perform("up", debug, work)


@app.command()
def demo(home: HomeFolder = None, debug: Debug = False) -> None:
    """Simulate ten days, backfill eight, run two nights, and say where the report is."""

    def work() -> Result:
        from jobs.demo import demo as run

        return run(home=open_home(home))

    perform("demo", debug, work)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder of the raw logs.")],
    days: Annotated[int, typer.Option(help="How many days.")] = 10,
    rows: Annotated[int, typer.Option(help="Impressions a day.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 7,
    start: Annotated[str, typer.Option(help="The first day, YYYY-MM-DD.")] = "2026-01-01",
    faults: Annotated[bool, typer.Option(help="Include late, repeated and broken events.")] = True,
    debug: Debug = False,
) -> None:
    """Write raw event logs whose true structure is known (truth.json)."""

    def work() -> Result:
        from jobs.simulator import simulate as run

        return run(out, days=days, rows=rows, seed=seed, start=parse_day(start), faults=faults)

    perform("simulate", debug, work)


@spec_app.command("check")
def spec_check(spec: SpecName = "bazaar", debug: Debug = False) -> None:
    """Check a spec without reading any data."""

    def work() -> Result:
        from features.spec import layout_of
        from features.spec.load import spec_hash

        product = load_spec(spec)
        layout = layout_of(product)
        return {
            "product": product.product,
            "scenarios": layout.scenarios,
            "tasks": layout.tasks,
            "features": len(layout.columns),
            "hash": spec_hash(product),
        }

    perform("spec check", debug, work)


@spec_app.command("schema")
def spec_schema(debug: Debug = False) -> None:
    """Print the JSON Schema of a spec, for editors."""
    perform("spec schema", debug, lambda: {"schema": Spec.model_json_schema()})


def main() -> None:
    """Run the command line and end the process with its status.

    Python's own shutdown is left out: now and then it meets Arrow's I/O threads at work and aborts
    a command that has done all it had to do. What asked to be called at the end is called.
    """
    os.environ.setdefault("COLUMNS", "120")  # a help text that fits a log
    status: object = 0
    try:
        app()
    except SystemExit as ended:
        status = ended.code
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))
