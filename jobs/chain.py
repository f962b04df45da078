"""A product's DAGs as a command sees them: names, pools, and how a day goes through them."""

import logging
from collections.abc import Sequence
from datetime import date
from itertools import zip_longest
from pathlib import Path
from typing import Any

from features.errors import UserError
from features.spec import find_spec, load_spec, spec_names
from jobs.airflow import Client
from jobs.airflow.echo import Echo
from jobs.airflow.follow import WAITING, Night, appearing, run_ids

log = logging.getLogger(__name__)


class Chain:
    """The samples DAG and the training DAG of one product in one Airflow."""

    def __init__(self, product: str) -> None:
        self.samples = f"{product}_samples"
        self.training = f"{product}_training"
        self.product = product

    @property
    def dags(self) -> tuple[str, str]:
        """Both DAGs, in the order in which a day passes them."""
        return self.samples, self.training

    def make_pools(self, client: Client) -> None:
        """Create the pools the tasks wait in."""
        client.make_pool(f"lake_{self.product}", "one writer a table")
        client.make_pool("train", "one training at a time")

    def night(self, client: Client, day: date, conf: dict[str, Any]) -> dict[str, Any]:
        """Send a day through both DAGs; return each task's state, seconds and result.

        ``waiting`` says whether the night's model waits for a person's approval.

        Raises:
            UserError: the sentence of the task that failed.
        """
        return self.nights(client, [day], conf)[0]

    def nights(
        self, client: Client, days: Sequence[date], conf: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Send days through both DAGs, the oldest first; return of each what ``night`` does.

        While a day's model is trained, the samples of the next day are made.

        Raises:
            UserError: the sentence of the first task that failed.
        """
        night = Night(client, Echo(client.logs))
        known = run_ids(client, self.training)
        made = client.trigger(self.samples, days[0], conf)
        found = []
        for day, following in zip_longest(days, days[1:]):
            results = self._follow(night, self.samples, made)
            if following:
                made = client.trigger(self.samples, following, conf)
            started = appearing(client, self.training, day, known)
            results |= self._follow(night, self.training, started)
            tasks = _of_day(night.tasks, day)
            waiting = any(entry["state"] == WAITING for entry in tasks.values())
            found.append({"tasks": tasks, "results": results, "waiting": waiting})
        return found

    def backfill(
        self, client: Client, first: date, last: date, conf: dict[str, Any], reprocess: str
    ) -> dict[str, Any]:
        """Send a range of days through the samples DAG, oldest first; return what became of them.

        Raises:
            UserError: the sentence of the first day that failed.
        """
        night = Night(client, Echo(client.logs))
        known = run_ids(client, self.samples)
        number = client.start_backfill(self.samples, first, last, conf, reprocess)
        try:
            # A night may start beside it.
            fresh = client.new_runs(self.samples, known)
            made = [run for run in fresh if run["run_type"] == "backfill"]
            made.sort(key=lambda run: str(run["partition_key"]))
            days = {
                run["partition_key"]: self._follow(night, self.samples, run["dag_run_id"])["make"]
                for run in made
            }
        finally:
            # By itself Airflow notices only later that all runs have ended, and until then refuses
            # the next backfill.
            client.end_backfill(number)
        return {"backfill": number, "days": days, "tasks": night.tasks}

    def _follow(self, night: Night, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Follow a run; end it in Airflow too when we are interrupted."""
        try:
            ended = night.follow(dag_id, run_id)
        except BaseException:
            night.client.fail_run(dag_id, run_id)
            raise
        if ended["state"] == "failed":
            night.raise_failure(dag_id, run_id)
        return night.results(dag_id, run_id)


def _of_day(tasks: dict[str, dict[str, Any]], day: date) -> dict[str, dict[str, Any]]:
    start = f"{day} "
    return {name[len(start) :]: entry for name, entry in tasks.items() if name.startswith(start)}


def chain_of(spec_name: str) -> tuple[Chain, str]:
    """Return the chain of a spec, and the spec's path when it is not in ``infra/specs``.

    Raises:
        UserError: when the file is not called after the product, as its DAGs are.
    """
    file = find_spec(spec_name)
    product = load_spec(spec_name).product
    if file.stem != product:
        raise UserError(
            f"{file.name}: its product is '{product}'; name the file {product}.yaml, "
            "for DAGs are called after the file"
        )
    return Chain(product), "" if product in spec_names() else str(file.resolve())


def run_options(source: Path | None, **options: Any) -> dict[str, Any]:
    """Return a run's configuration: the options that were given."""
    given = {name: value for name, value in options.items() if value}
    return {**given, **({"source": str(source.resolve())} if source else {})}
