"""``autoifs capacity``: what so many impressions ask of a cluster; which nights it misses."""

from pathlib import Path
from typing import Annotated

import typer

from features.errors import UserError
from jobs.commands.door import Debug, Result, perform

app = typer.Typer(no_args_is_help=True, help="Sizes, money and deadlines, without any data.")

FILES = Path(__file__).resolve().parents[2] / "infra" / "capacity"


@app.command("size")
def capacity_size(
    impressions: Annotated[
        str, typer.Option(help="Impressions a day, separated by commas; 1e8 is a number too.")
    ] = "1e6,1e7,1e8,1e9",
    costs: Annotated[Path, typer.Option(help="Measured and assumed costs.")] = FILES / "costs.yaml",
    debug: Debug = False,
) -> None:
    """Say what a night asks for: executors, bytes, files, GPU hours, money; and what ends first."""

    def work() -> Result:
        from jobs.capacity.report import size

        return size(path=costs, impressions=_numbers(impressions))

    perform("capacity size", debug, work)


@app.command("nights")
def capacity_nights(
    calendar: Annotated[
        Path, typer.Option(help="Jobs, slots, a deadline, and what goes wrong.")
    ] = (FILES / "nights.yaml"),
    spark: Annotated[int | None, typer.Option(min=1, help="Builds at once.")] = None,
    train: Annotated[int | None, typer.Option(min=1, help="Trainings at once.")] = None,
    debug: Debug = False,
) -> None:
    """Simulate nights with late data, retries and backfills; say which miss their deadline."""

    def work() -> Result:
        from jobs.capacity.report import nights

        slots = {"spark": spark, "train": train}
        given = {name: many for name, many in slots.items() if many is not None}
        return nights(path=calendar, slots=given)

    perform("capacity nights", debug, work)


def _numbers(text: str) -> list[float]:
    """Return the numbers of a list such as ``1e8,1000000000``.

    Raises:
        UserError: when one is none, or not positive.
    """
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = [0.0]
    if min(found) <= 0:
        raise UserError(f"--impressions {text}: write positive numbers such as 1e8,1e9")
    return found
