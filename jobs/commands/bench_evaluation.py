"""``autoifs bench eval``: what it costs to judge a model."""

from typing import Annotated

import typer

from jobs.commands.door import Debug, Result, perform

app = typer.Typer()


@app.command("eval")
def bench_eval(
    rows: Annotated[int, typer.Option(min=1000, help="Samples, each judged for two tasks.")] = (
        1_000_000
    ),
    repeats: Annotated[int, typer.Option(min=1, help="How often to do what is timed.")] = 3,
    debug: Debug = False,
) -> None:
    """Time all measures of a model, with intervals, against scikit-learn's AUC of each cell."""

    def work() -> Result:
        from jobs.bench.evaluation import bench

        return bench(rows=rows, repeats=repeats)

    perform("bench eval", debug, work)
