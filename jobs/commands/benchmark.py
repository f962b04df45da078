"""``autoifs benchmark``: every model of the zoo on the same data, one table."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.door import Debug, HomeFolder, Result, perform

app = typer.Typer()


@app.command("benchmark")
def run_benchmark(
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny data and few models: does it all work?")
    ] = False,
    data: Annotated[
        str, typer.Option(help="Data sets, separated by commas.")
    ] = "planted,plain,kuairand,kuairand_before",
    models: Annotated[
        str | None, typer.Option(help="Models, separated by commas; default: all.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds; default: 3.")] = None,
    kuairand: Annotated[
        Path | None,
        typer.Option(envvar="KUAIRAND_PURE", help="Folder of KuaiRand-Pure's published files."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the table and the picture; default: the home's.")
    ] = None,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Train, judge and time every model on the same data under one protocol."""

    def work() -> Result:
        from jobs.benchmark.run import benchmark
        from jobs.home import open_home

        opened = open_home(home)
        return benchmark(
            home=opened,
            out=out or opened.root / "benchmark",
            quick=quick,
            data=data,
            models=models,
            seeds=seeds,
            kuairand=kuairand,
        )

    perform("benchmark", debug, work)
