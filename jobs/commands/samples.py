"""``autoifs samples …``: building, checking and looking at days of samples."""

from pathlib import Path
from typing import Annotated

import typer

from features.days import parse_day
from jobs.commands.door import (
    Debug,
    Ds,
    Force,
    From,
    HomeFolder,
    Result,
    SourceFolder,
    SpecName,
    To,
    days_between,
    perform,
    places_of,
    product_of,
)

app = typer.Typer()
samples_app = typer.Typer(no_args_is_help=True, help="Build, audit, publish and look at samples.")


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

        return samples.night(**places_of(spec, home, source), day=parse_day(ds), force=force)

    perform("samples night", debug, work)


@samples_app.command("ahead")
def samples_ahead(
    ds: Ds,
    last: To,
    spec: SpecName = "bazaar",
    source: SourceFolder = None,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Make a day of a backfill, with the days after it that are small enough to go along."""

    def work() -> Result:
        start, end = days_between(ds, last)
        from jobs import samples

        return samples.ahead(**places_of(spec, home, source), day=start, last=end)

    perform("samples ahead", debug, work)


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
        start, end = days_between(first, last)
        from jobs import samples

        return samples.run(
            **places_of(spec, home, source),
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

        places = places_of(spec, home, source)
        result: Result = getattr(samples, name)(**places, day=parse_day(ds))
        return result

    perform(f"samples {name}", debug, work)


@samples_app.command("rebuild-state")
def samples_rebuild_state(
    first: From, spec: SpecName = "bazaar", home: HomeFolder = None, debug: Debug = False
) -> None:
    """Sum up the daily counts again, for every seventh day from a day on."""

    def work() -> Result:
        from jobs.state import rebuild

        product, place, lake = product_of(spec, home)
        return rebuild(spec=product, lake=lake, home=place, first=parse_day(first))

    perform("samples rebuild-state", debug, work)


@samples_app.command("show")
def samples_show(
    ds: Ds, spec: SpecName = "bazaar", home: HomeFolder = None, debug: Debug = False
) -> None:
    """Say what a published day holds: rows, content hash, labels, quarantine by rule."""

    def work() -> Result:
        from jobs.show import show

        product, _, lake = product_of(spec, home)
        return show(spec=product, lake=lake, day=parse_day(ds))

    perform("samples show", debug, work)


@app.command()
def restate(
    ds: Ds,
    spec: SpecName = "bazaar",
    source: SourceFolder = None,
    home: HomeFolder = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Build one published day again, with what has arrived since and the rules as they are now."""

    def work() -> Result:
        from jobs import samples

        return samples.restate(**places_of(spec, home, source), day=parse_day(ds), force=force)

    perform("restate", debug, work)
