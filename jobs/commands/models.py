"""``autoifs models …``: the registered versions and which of them is the champion."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.commands.door import Debug, HomeFolder, Result, SpecName, perform, product_of

models_app = typer.Typer(no_args_is_help=True, help="List, promote and roll back models.")


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

        product, place, _ = product_of(spec, home)
        result: Result = getattr(models, name)(spec=product, home=place, **options)
        return result

    perform(f"models {name.removesuffix('_versions')}", debug, work)
