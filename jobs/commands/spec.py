"""``autoifs spec …`` and ``autoifs simulate``: products, and raw data for one."""

from pathlib import Path
from typing import Annotated

import typer

from features.days import parse_day
from features.spec import Spec, load_spec
from jobs.commands.door import Debug, Result, SpecName, perform

app = typer.Typer()
spec_app = typer.Typer(no_args_is_help=True, help="Check a spec; print its schema for editors.")


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder of the raw logs.")],
    days: Annotated[int, typer.Option(help="How many days.")] = 10,
    rows: Annotated[int, typer.Option(help="Impressions a day.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 7,
    start: Annotated[str, typer.Option(help="The first day, YYYY-MM-DD.")] = "2026-01-01",
    faults: Annotated[bool, typer.Option(help="Include late, repeated and broken events.")] = True,
    planted: Annotated[
        bool, typer.Option(help="Let some flows carry nothing, or harm, in some cells.")
    ] = True,
    debug: Debug = False,
) -> None:
    """Write raw event logs whose true structure is known (truth.json)."""

    def work() -> Result:
        from jobs.simulator import simulate as run

        return run(
            out,
            days=days,
            rows=rows,
            seed=seed,
            start=parse_day(start),
            faults=faults,
            planted=planted,
        )

    perform("simulate", debug, work)


@spec_app.command("check")
def spec_check(spec: SpecName = "bazaar", debug: Debug = False) -> None:
    """Check a spec without reading any data."""

    def work() -> Result:
        from features.spec import layout_of
        from features.spec.load import spec_hash

        product = load_spec(spec)
        layout = layout_of(product)
        return {
            "product": product.product,
            "scenarios": layout.scenarios,
            "tasks": layout.tasks,
            "features": len(layout.columns),
            "hash": spec_hash(product),
        }

    perform("spec check", debug, work)


@spec_app.command("schema")
def spec_schema(debug: Debug = False) -> None:
    """Print the JSON Schema of a spec, for editors."""
    perform("spec schema", debug, lambda: {"schema": Spec.model_json_schema()})
