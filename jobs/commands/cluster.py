"""``autoifs cluster …``: the servers of the profile ``cluster`` on this machine."""

import typer

from jobs.commands.door import Debug, HomeFolder, Result, perform
from jobs.home import open_home

app = typer.Typer(
    no_args_is_help=True,
    help="Object store, PostgreSQL, Redis, Spark, MLflow and Airflow on 127.0.0.1.",
)


@app.command()
def up(home: HomeFolder = None, debug: Debug = False) -> None:
    """Start all servers and leave them running; `nightly` and `backfill` then use them."""

    def work() -> Result:
        from jobs.cluster.cluster import Cluster

        cluster = Cluster(home=open_home(home), lasting=True)
        try:
            cluster.start()
        except BaseException:
            cluster.stop()
            raise
        return cluster.addresses()

    perform("cluster up", debug, work)


@app.command()
def down(home: HomeFolder = None, debug: Debug = False) -> None:
    """End all servers of this home; what they hold stays for the next `up`."""

    def work() -> Result:
        from jobs.cluster.cluster import end

        return {"ended": end(open_home(home))}

    perform("cluster down", debug, work)
