"""Two nights of a small marketplace through the real commands and the real Airflow."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from features.errors import UserError
from features.lake import Lake
from features.spec import load_spec
from jobs.airflow import Airflow
from jobs.chain import Chain
from jobs.home import Home
from jobs.replay import replay
from jobs.runs import results
from jobs.train import registry_of
from tests.conftest import cache
from training.artifact import load
from training.data import read_days

pytestmark = [pytest.mark.slow, pytest.mark.spark, pytest.mark.airflow, pytest.mark.timeout(1800)]

HISTORY = ("2026-01-01", "2026-01-06")
FIRST, SECOND = "2026-01-07", "2026-01-08"


@dataclass(frozen=True)
class Market:
    """A home with eight simulated days of the shipped spec ``bazaar``."""

    home: Path

    def run(self, *words: str) -> dict[str, Any]:
        """Run ``autoifs`` to its end and return its last line."""
        place = {**os.environ, "AUTOIFS_HOME": str(self.home), "AUTOIFS_CACHE": str(cache())}
        done = subprocess.run(
            [sys.executable, "-m", "jobs", *words],
            env=place,
            capture_output=True,
            text=True,
            timeout=1500,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return said

    @property
    def lake(self) -> Lake:
        return Lake(str(self.home / "lake"), "bazaar")

    def hashes(self, ds: str) -> tuple[Any, Any]:
        """Return the content hashes of a day's samples and encoded rows."""
        shown = self.run("samples", "show", "--ds", ds)
        return shown["content_hash"], shown["encoded_hash"]

    def versions(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.run("models", "list")["versions"]
        return listed


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """Eight days of raw logs, and an Airflow that all commands share, as with ``autoifs up``."""
    made = Market(tmp_path_factory.mktemp("market"))
    made.run("simulate", "--days", "8", "--rows", "3000", "--out", str(made.home / "raw/bazaar"))
    chain = Chain("bazaar")
    airflow = Airflow(Home(root=made.home, cache=cache()), shared=True)
    try:
        airflow.start()
        chain.make_pools(airflow.wait(chain.dags))
        yield made
    finally:
        airflow.stop()


@pytest.fixture(scope="module")
def backfilled(market: Market) -> dict[str, Any]:
    return market.run("backfill", "--from", HISTORY[0], "--to", HISTORY[1])


@pytest.fixture(scope="module")
def first(market: Market, backfilled: dict[str, Any]) -> dict[str, Any]:
    return market.run("nightly", "--ds", FIRST)


@pytest.fixture(scope="module")
def second(market: Market, first: dict[str, Any]) -> dict[str, Any]:
    replayed = market.run("replay", "--from", FIRST, "--to", SECOND)
    assert replayed["skipped"] == [FIRST]
    (night,) = replayed["nights"]
    return dict(night)


def test_a_backfill_builds_its_days_and_starts_no_training(
    market: Market, backfilled: dict[str, Any]
) -> None:
    assert len(backfilled["days"]) == 6
    assert len(market.lake.days("samples")) == 6
    assert not (market.home / "mlflow" / "mlflow.db").exists()


def test_the_first_night_has_a_champion_without_a_rival(
    market: Market, first: dict[str, Any]
) -> None:
    gate = first["results"]["gate"]

    assert (gate["verdict"], gate["previous"]) == ("first", None)
    assert gate["champion"] == gate["version"] == "1"


def test_the_second_night_is_judged_against_the_first(
    market: Market, second: dict[str, Any]
) -> None:
    said = second["results"]

    assert said["evaluate"]["champion"] == "1"
    assert said["gate"]["verdict"] in ("promoted", "rejected")
    assert {row["version"] for row in market.versions()} == {"1", "2"}
    report = Path(said["report"]["report"])
    assert report.name == f"{SECOND}.html"
    assert "<script src" not in report.read_text()


def test_no_model_saw_a_label_it_is_judged_on(market: Market, second: dict[str, Any]) -> None:
    split = second["results"]["train"]["split"]

    assert split["judge"]["click"] == SECOND
    assert split["judge"]["purchase"] < SECOND
    assert not set(split["judge"].values()) & {*split["train"], *split["validate"]}


def test_the_night_restates_the_day_whose_purchase_window_closes(
    market: Market, second: dict[str, Any]
) -> None:
    said = market.lake.commit_of("samples", date(2026, 1, 5))

    assert said is not None
    assert said["as_of"] == SECOND


def test_metrics_and_masks_are_tables_with_the_numbers_of_the_page(
    market: Market, second: dict[str, Any]
) -> None:
    metrics = market.lake.open("metrics").to_pyarrow_table().to_pylist()
    shown = {
        (cell["scenario"], cell["task"]): cell["auc"]
        for cell in results(market.lake, date.fromisoformat(SECOND))["evaluate"]["cells"]
    }

    kept = {
        (row["scenario"], row["task"]): row["value"]
        for row in metrics
        if (row["ds"], row["role"], row["metric"]) == (SECOND, "challenger", "auc")
        and (row["stage"], row["slice"]) == ("provisional", "")
    }
    assert kept
    assert kept == {cell: auc for cell, auc in shown.items() if auc is not None}
    masks = market.lake.open("masks").to_pyarrow_table()
    assert {row["flow"] for row in masks.to_pylist()} == {
        "shared_shared",
        "specific_specific",
        "shared_specific",
        "specific_shared",
    }


def test_raw_samples_scored_offline_are_what_the_model_says_of_encoded_ones(
    market: Market, second: dict[str, Any], tmp_path: Path
) -> None:
    out, samples = tmp_path / "scores.parquet", market.lake.path("samples")
    said = market.run(
        *("score", "--model", "1", "--in", samples, "--ds", SECOND, "--out", str(out))
    )
    assert said["rows"] > 2000 and said["unknown_scenario"] == 0

    registry = registry_of(load_spec("bazaar"), Home(root=market.home, cache=cache()))
    scorer = load(registry.download("1", tmp_path))
    version = market.lake.open("encoded").version()
    rows = read_days(market.lake, scorer.layout, [date.fromisoformat(SECOND)], version)
    wanted = scorer.score(rows)
    scores = pq.read_table(out).sort_by("sample_id")
    assert scores["sample_id"].to_pylist() == rows.sample_id.tolist()
    for m, task in enumerate(scorer.layout.tasks):
        found = scores[f"p_{task}"].to_numpy()
        assert np.allclose(found, wanted[:, m], rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("2026-01-05", "the samples of 2026-01-02 know what happened until 2026-01-06"),
        ("2026-01-06", "the samples of 2026-01-04 know what happened until 2026-01-07"),
    ],
)
def test_a_replay_of_nights_whose_future_is_known_is_refused(
    market: Market, second: dict[str, Any], asked: str, sentence: str
) -> None:
    night = date.fromisoformat(asked)
    home = Home(root=market.home, cache=cache())

    with pytest.raises(UserError) as refused:
        replay(spec_name="bazaar", first=night, last=night, home=home)

    assert sentence in str(refused.value)
    assert "a home of its own" in str(refused.value)


def test_the_same_night_again_beside_a_backfill_changes_nothing(
    market: Market, second: dict[str, Any]
) -> None:
    before = market.hashes(SECOND), market.versions(), market.lake.open("samples").file_uris()

    with ThreadPoolExecutor(2) as pool:
        night = pool.submit(market.run, "nightly", "--ds", SECOND)
        history = pool.submit(market.run, "backfill", "--from", HISTORY[0], "--to", HISTORY[1])

    assert night.result()["results"]["train"]["skipped"] is True
    assert len(history.result()["days"]) == 6
    after = market.hashes(SECOND), market.versions(), market.lake.open("samples").file_uris()
    assert after == before
