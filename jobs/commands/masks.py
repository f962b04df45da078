"""``autoifs masks …``: what the flows that AutoIFS keeps are worth."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.door import Debug, HomeFolder, Result, SpecName, perform, product_of

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
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Say what each flow of a version is worth, and what other masks would have been."""

    def work() -> Result:
        from jobs.console import STDERR
        from jobs.masks.explain import explain

        product, place, lake = product_of(spec, home)
        found = explain(spec=product, lake=lake, home=place, model=model, seeds=seeds, out=out)
        STDERR.print(found.pop("text"), markup=False)
        return found

    perform("masks explain", debug, work)
