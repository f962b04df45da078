"""``autoifs tables`` and ``autoifs maintain``: the tables as they lie on disk."""

from datetime import timedelta
from typing import Annotated

import typer

from features.days import parse_duration
from features.errors import UserError
from jobs.commands.door import Debug, HomeFolder, Result, SpecName, perform, product_of

app = typer.Typer()
SHORTEST = timedelta(days=1)
"""A file may not be deleted sooner after it was replaced: a reader may be in the middle of it."""


@app.command("tables")
def tables_command(
    spec: SpecName = "bazaar", home: HomeFolder = None, debug: Debug = False
) -> None:
    """Say of each table its rows, files, bytes, commits and small files."""

    def work() -> Result:
        from jobs.tables import tables

        _, _, lake = product_of(spec, home)
        return tables(lake=lake)

    perform("tables", debug, work)


@app.command("maintain")
def maintain_command(
    spec: SpecName = "bazaar",
    keep: Annotated[str, typer.Option(help="How long a replaced file stays, such as 30d.")] = "30d",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Merge small files and delete old ones; what a registered model was trained on stays."""

    def work() -> Result:
        from jobs.tables import maintain

        product, place, lake = product_of(spec, home)
        return maintain(spec=product, lake=lake, home=place, keep=retention(keep), dry_run=dry_run)

    perform("maintain", debug, work)


def retention(text: str) -> timedelta:
    """Return how long a replaced file stays.

    Raises:
        UserError: when it is no duration, or a dangerously short one.
    """
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise UserError(f"--keep: {error}") from None
    if found < SHORTEST:
        raise UserError(f"--keep {text} is less than a day; a reader may still need those files")
    return found
