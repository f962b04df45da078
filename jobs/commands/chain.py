"""Days through the real DAGs: ``nightly``, ``backfill``, ``replay``, ``up``, ``demo``."""

from enum import StrEnum
from typing import Annotated

import typer

from features.days import parse_day
from features.spec import load_spec
from jobs.commands.door import (
    Debug,
    Ds,
    From,
    HomeFolder,
    Result,
    SourceFolder,
    SpecName,
    To,
    days_between,
    perform,
    places_of,
)
from jobs.home import open_home

app = typer.Typer()


class Reprocess(StrEnum):
    """Which days of a backfill that ran before run once more; unchanged days are found done."""

    none = "none"
    failed = "failed"
    completed = "completed"


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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be built, and how long it takes.")
    ] = False,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Build the samples of past days through Airflow's backfill; no training is started."""

    def work() -> Result:
        from jobs.backfill import backfill as run

        load_spec(spec)
        start, end = days_between(first, last)
        if dry_run:
            from jobs.plan import plan

            return plan(**places_of(spec, home, source), first=start, last=end)
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
def replay(
    first: From,
    last: To,
    spec: SpecName = "bazaar",
    source: SourceFolder = None,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Run past nights one after the other, each training a model, as if it were then."""

    def work() -> Result:
        from jobs.replay import replay as run

        load_spec(spec)
        start, end = days_between(first, last)
        return run(spec_name=spec, first=start, last=end, home=open_home(home), source=source)

    perform("replay", debug, work)


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
