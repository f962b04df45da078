"""``autoifs bench``: what samples, trainings and judging a model cost, each beside something."""

from typing import Annotated

import typer

from features.errors import UserError
from jobs.commands.door import Debug, HomeFolder, Result, perform

app = typer.Typer(no_args_is_help=True, help="Measure what this product costs.")


@app.command("samples")
def bench_samples(
    only: Annotated[
        str, typer.Option(help="Parts to measure, separated by commas.")
    ] = "build,night,audit,backfill",
    sizes: Annotated[
        str, typer.Option(help="Impressions a day at which engines are compared.")
    ] = "100000,1000000,10000000",
    cores: Annotated[int, typer.Option(min=1, help="Cores that each engine may use.")] = 2,
    repeats: Annotated[int, typer.Option(min=1, help="How often to do what is timed.")] = 3,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Time a day's samples against DuckDB and Polars, late nights, audits and backfills."""

    def work() -> Result:
        from jobs.bench.measure import bench
        from jobs.home import open_home

        return bench(
            home=open_home(home),
            parts=only.split(","),
            sizes=_numbers(sizes),
            cores=cores,
            repeats=repeats,
        )

    perform("bench samples", debug, work)


@app.command("eval")
def bench_eval(
    rows: Annotated[int, typer.Option(min=1000, help="Samples, each judged for two tasks.")] = (
        1_000_000
    ),
    repeats: Annotated[int, typer.Option(min=1, help="How often to do what is timed.")] = 3,
    draws: Annotated[
        int, typer.Option(min=1, help="Draws that count how often intervals hold the truth.")
    ] = 600,
    debug: Debug = False,
) -> None:
    """Time all measures of a model against scikit-learn's AUC, and try its intervals."""

    def work() -> Result:
        from jobs.bench.evaluation import bench

        return bench(rows=rows, repeats=repeats, draws=draws)

    perform("bench eval", debug, work)


@app.command("cluster")
def bench_cluster(
    rows: Annotated[int, typer.Option(help="Impressions of the day that is built.")] = 500_000,
    night_rows: Annotated[
        int, typer.Option(help="Impressions of each day of the night that is trained.")
    ] = 20_000,
    repeats: Annotated[int, typer.Option(min=1, help="How often a day is built.")] = 2,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Time a build on 1 and 2 executor cores, a training in 1 and 2 ranks; count requests."""

    def work() -> Result:
        from jobs.bench.cluster import bench
        from jobs.home import open_home

        return bench(home=open_home(home), rows=rows, night_rows=night_rows, repeats=repeats)

    perform("bench cluster", debug, work)


@app.command("training")
def bench_training(
    only: Annotated[
        str, typer.Option(help="Parts to measure, separated by commas.")
    ] = "loader,step,answer,optimiser",
    rows: Annotated[int, typer.Option(min=1000, help="Rows of the loader's table.")] = 500_000,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds of what is timed in turn.")] = 5,
    home: HomeFolder = None,
    debug: Debug = False,
) -> None:
    """Time loading, training steps, answers and the tables' optimiser, each against another way."""

    def work() -> Result:
        from jobs.bench.training import bench
        from jobs.home import open_home

        return bench(home=open_home(home), parts=only.split(","), rows=rows, repeats=repeats)

    perform("bench training", debug, work)


def _numbers(text: str) -> list[int]:
    """Return the numbers of a list such as ``1000,100_000``.

    Raises:
        UserError: when one is none.
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--sizes {text}: write numbers such as 100000,1000000") from None
