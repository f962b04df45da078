"""``autoifs masks …``: what the flows that AutoIFS keeps are worth."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.door import (
    Debug,
    Format,
    HomeFolder,
    InFormat,
    Result,
    SpecName,
    perform,
    product_of,
)
from jobs.console import STDERR
from jobs.home import open_home

masks_app = typer.Typer(no_args_is_help=True, help="See what AutoIFS's flows are worth.")


@masks_app.command("explain")
def masks_explain(
    model: Annotated[
        str, typer.Option(help="Version or alias, such as 7 or champion.")
    ] = "champion",
    seeds: Annotated[
        int, typer.Option(min=0, help="Trainings of each kind of other masks; 0: train none.")
    ] = 3,
    out: Annotated[
        Path | None, typer.Option(help="Markdown file to write the tables to as well.")
    ] = None,
    spec: SpecName = "bazaar",
    shown: InFormat = Format.JSON,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Say what each flow of a version is worth, and what other masks would have been."""

    def work() -> Result:
        from jobs.masks.explain import explain

        product, place, lake = product_of(spec, home)
        return _told(
            explain(spec=product, lake=lake, home=place, model=model, seeds=seeds, out=out), shown
        )

    perform("masks explain", debug, work, shown)


@masks_app.command("planted")
def masks_planted(
    data: Annotated[int, typer.Option(min=1, help="How many data sets are drawn.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each kind of masks.")] = 3,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny data and short trainings: does it all work?")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Markdown file to write the tables to as well.")
    ] = None,
    shown: InFormat = Format.JSON,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Say what each search finds where the flows that carry are known."""

    def work() -> Result:
        from jobs.masks.known import planted

        found = planted(home=open_home(home), data=data, seeds=seeds, quick=quick, out=out)
        return _told(found, shown)

    perform("masks planted", debug, work, shown)


def _told(found: Result, shown: Format) -> Result:
    """Show the tables beside the JSON, unless they are all that is asked for."""
    if shown is Format.JSON:
        STDERR.print(found.pop("message"), markup=False, soft_wrap=True)
    return found
