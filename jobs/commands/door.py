"""What all commands share: their options, and the one way in which they answer and fail."""

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
from jobs.console import STDERR, say, say_text, set_up_logging
from jobs.home import Home, open_home

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


class Format(StrEnum):
    """What a command that can write a chat message prints."""

    JSON = "json"
    MARKDOWN = "markdown"


InFormat = Annotated[
    Format, typer.Option("--format", help="json, or markdown: the message alone, for a chat.")
]


def perform(
    name: str, debug: bool, work: Callable[[], Result], shown: Format = Format.JSON
) -> None:
    """Run a command's work; print its result, or one sentence about what went wrong.

    With ``shown`` as Markdown the result's ``message`` is printed instead of the result.
    """
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
        if shown is Format.MARKDOWN:
            say_text(str(result["message"]))
        else:
            say({"ok": True, "command": name, **result})


def _fail(name: str, sentence: str, code: str, status: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    STDERR.print(f"autoifs {name}: {sentence}", markup=False, soft_wrap=True)
    # Said as well, for not every launcher (torchrun) hands a status on.
    say({"ok": False, "command": name, "error": code, "message": sentence, "status": status})
    raise typer.Exit(status)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "no message"


def product_of(spec_name: str, home_folder: Path | None) -> tuple[Spec, Home, Lake]:
    """Return a product with its home and its tables."""
    spec = load_spec(spec_name)
    home = open_home(home_folder)
    return spec, home, home.lake(spec.product)


def places_of(spec_name: str, home_folder: Path | None, source: Path | None) -> Result:
    """Return what the jobs of samples want to know: the product and its places."""
    spec, home, lake = product_of(spec_name, home_folder)
    return {
        "spec": spec,
        "spec_file_name": find_spec(spec_name).name,
        "lake": lake,
        "home": home,
        "source": home.source(spec, source),
    }


def days_between(first: str, last: str) -> tuple[date, date]:
    """Return both ends of a range of days.

    Raises:
        UserError: when one is no day, or they are the wrong way round.
    """
    start, end = parse_day(first), parse_day(last)
    if start > end:
        raise UserError(f"--from {first} is after --to {last}; swap them")
    return start, end
