"""``autoifs quarantine …``: the rows a day refused, why, and how they get back in."""

from typing import Annotated

import typer

from features.days import parse_day
from jobs.commands.door import (
    Debug,
    Ds,
    HomeFolder,
    Result,
    SourceFolder,
    SpecName,
    perform,
    places_of,
    product_of,
)

quarantine_app = typer.Typer(
    no_args_is_help=True, help="Look at refused rows; let them in after a rule was changed."
)


@quarantine_app.command("show")
def quarantine_show(
    ds: Ds,
    rule: Annotated[str | None, typer.Option(help="Only rows that broke this rule.")] = None,
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Count the rows a day refused, by rule, and print some of each."""

    def work() -> Result:
        from jobs import quarantine

        product, _, lake = product_of(spec, home)
        return quarantine.show(spec=product, lake=lake, day=parse_day(ds), rule=rule)

    perform("quarantine show", debug, work)


@quarantine_app.command("explain")
def quarantine_explain(
    rule: Annotated[str, typer.Argument(help="The rule's id.")],
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Say what a rule refuses, and how many rows of each day broke it."""

    def work() -> Result:
        from jobs import quarantine

        product, _, lake = product_of(spec, home)
        return quarantine.explain(spec=product, lake=lake, rule=rule)

    perform("quarantine explain", debug, work)


@quarantine_app.command("release")
def quarantine_release(
    ds: Ds,
    spec: SpecName = "bazaar",
    source: SourceFolder = None,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Let in what the rules no longer refuse, by building the day again."""

    def work() -> Result:
        from jobs import quarantine

        return quarantine.release(**places_of(spec, home, source), day=parse_day(ds))

    perform("quarantine release", debug, work)
