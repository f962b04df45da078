"""``autoifs models …``: the registered versions and which of them is the champion."""

from pathlib import Path
from typing import Annotated, Any

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

models_app = typer.Typer(no_args_is_help=True, help="List, promote, roll back and retire models.")
AVersion = Annotated[str, typer.Argument(help="Its number, or champion or challenger.")]
Why = Annotated[str, typer.Option(help="Kept in the history.")]


@models_app.command("list")
def models_list(spec: SpecName = "bazaar", home: HomeFolder = None, debug: Debug = False) -> None:
    """List the registered versions, newest first, with their aliases."""
    _models("list_versions", spec, home, debug)


@models_app.command("history")
def models_history(
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    shown: InFormat = Format.JSON,
    debug: Debug = False,
) -> None:
    """Say who made which version champion, when and why, newest first."""
    _models("history", spec, home, debug, shown)


@models_app.command("promote")
def models_promote(
    version: AVersion,
    expect: Annotated[
        str | None,
        typer.Option(help="Fail unless this version is champion now; 'none' for none."),
    ] = None,
    why: Why = "",
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Make a version the champion, unless another command changes the champion meanwhile."""
    _models("promote", spec, home, debug, version=version, expect=expect, why=why)


@models_app.command("approve")
def models_approve(
    version: AVersion,
    why: Why = "",
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Make a version that waits for a person's word the champion."""
    _models("approve", spec, home, debug, version=version, why=why)


@models_app.command("reject")
def models_reject(
    version: AVersion,
    why: Why = "",
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Refuse a version that waits for a person's word; the champion stays."""
    _models("reject", spec, home, debug, version=version, why=why)


@models_app.command("rollback")
def models_rollback(
    why: Why = "", spec: SpecName = "bazaar", home: HomeFolder = None, debug: Debug = False
) -> None:
    """Give the alias champion back to the version that had it before."""
    _models("rollback", spec, home, debug, why=why)


@models_app.command("retire")
def models_retire(
    version: AVersion,
    why: Why = "",
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Delete a version that has no alias, is not pinned, and that no rollback goes back to."""
    _models("retire", spec, home, debug, version=version, why=why)


@models_app.command("fetch")
def models_fetch(
    version: AVersion,
    out: Annotated[Path, typer.Option(help="The folder to make; it is replaced.")],
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Fetch what serves a version into a folder of its own."""
    _models("fetch", spec, home, debug, version=version, out=out)


@models_app.command("pin")
def models_pin(
    version: AVersion,
    why: Why = "",
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Keep a version from being retired."""
    _models("pin", spec, home, debug, version=version, why=why)


@models_app.command("unpin")
def models_unpin(
    version: AVersion,
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Let a pinned version be retired again."""
    _models("unpin", spec, home, debug, version=version)


@models_app.command("diff")
def models_diff(
    first: AVersion,
    second: AVersion,
    spec: SpecName = "bazaar",
    home: HomeFolder = None,
    shown: InFormat = Format.JSON,
    debug: Debug = False,
) -> None:
    """Compare two versions on the same samples: quality, masks, data and spec, as a page."""

    def work() -> Result:
        from jobs.compare import diff

        product, place, lake = product_of(spec, home)
        return diff(spec=product, lake=lake, home=place, first=first, second=second)

    perform("models diff", debug, work, shown)


def _models(
    name: str,
    spec: str,
    home: Path | None,
    debug: bool,
    shown: Format = Format.JSON,
    **options: Any,
) -> None:
    def work() -> Result:
        from jobs import models

        product, place, _ = product_of(spec, home)
        result: Result = getattr(models, name)(spec=product, home=place, **options)
        return result

    perform(f"models {name.removesuffix('_versions')}", debug, work, shown)
