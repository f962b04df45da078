"""What a night does with its samples: train, register, evaluate, gate, report, alert."""

import time
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from features.days import parse_day
from features.errors import UserError
from features.spec.policy import Event
from jobs.commands.door import (
    Debug,
    Ds,
    Format,
    HomeFolder,
    InFormat,
    Result,
    SpecName,
    perform,
    product_of,
)

app = typer.Typer()


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
    ds: Ds,
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    shown: InFormat = Format.JSON,
    debug: Debug = False,
) -> None:
    """Write a night's report as one HTML file; with --format markdown, print a chat message."""
    _step("report", spec, home, ds, debug, shown)


@app.command()
def publish(
    ds: Annotated[str | None, typer.Option("--ds", help="Only this night's pages.")] = None,
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Put the report's pages and the champion's serving folder into the bucket of the profile."""

    def work() -> Result:
        from jobs.publish import publish as run

        product, place, _ = product_of(spec, home)
        return run(spec=product, home=place, day=parse_day(ds) if ds else None)

    perform("publish", debug, work)


@app.command("score")
def score_command(
    source: Annotated[
        Path, typer.Option("--in", help="Raw rows: a Delta table, Parquet, CSV or Arrow.")
    ],
    out: Annotated[Path, typer.Option(help="The Parquet file of scores to write.")],
    model: Annotated[
        str, typer.Option(help="A version, champion, challenger, or a serving folder.")
    ] = "champion",
    ds: Annotated[str | None, typer.Option("--ds", help="Only this day, YYYY-MM-DD.")] = None,
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Score raw feature rows in batches with a registered model, without Spark."""

    def work() -> Result:
        from jobs.score import score

        product, place, _ = product_of(spec, home)
        day = parse_day(ds).isoformat() if ds else None
        return score(spec=product, home=place, model=model, source=source, target=out, day=day)

    perform("score", debug, work)


@app.command()
def alert(
    event: Annotated[str, typer.Option(help="failure, rejection, drift or late.")],
    ds: Annotated[str | None, typer.Option("--ds", help="The night, YYYY-MM-DD.")] = None,
    text: Annotated[str, typer.Option(help="Of a failure or lateness: the sentence.")] = "",
    error: Annotated[str, typer.Option(help="Of a failure: its code.")] = "input",
    link: Annotated[str | None, typer.Option(help="Where to look.")] = None,
    then: Annotated[str | None, typer.Option(help="The command to run next.")] = None,
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Send a sentence, a link and the next command to the spec's webhook, if it has one."""

    def work() -> Result:
        from jobs.alert import alert as send

        product, _, lake = product_of(spec, home)
        return send(
            spec=product,
            lake=lake,
            event=event_of(event),
            day=parse_day(ds) if ds else None,
            text=text,
            error=error,
            link=link,
            then=then,
        )

    perform("alert", debug, work)


def event_of(name: str) -> Event:
    """Return an event that alerts tell of.

    Raises:
        UserError: naming those there are.
    """
    for known in get_args(Event):
        if name == known:
            return cast(Event, known)
    raise UserError(f"--event {name} is none of {', '.join(get_args(Event))}")


def _step(
    name: str,
    spec_name: str,
    home_folder: Path | None,
    ds: str,
    debug: bool,
    shown: Format = Format.JSON,
    **options: Any,
) -> None:
    """Run the job of one night called ``name`` and keep its result in the table ``runs``."""

    def work() -> Result:
        from jobs.console import speaks
        from jobs.runs import record

        spec, home, lake = product_of(spec_name, home_folder)
        day = parse_day(ds)
        started = time.perf_counter()
        job = getattr(import_module(f"jobs.{name}"), name)
        result: Result = job(spec=spec, lake=lake, home=home, day=day, **options)
        if speaks() and not result.get("skipped"):
            record(lake, day, name, time.perf_counter() - started, result)
        return result

    perform(name, debug, work, shown)
