"""The published KuaiRand-Pure log, all eight days: built, restated, and built again."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from features.lake import Lake
from features.spec import Spec, load_spec
from features.spec.model import Rule
from jobs import samples
from jobs.home import Home
from tests.conftest import cache

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.realdata, pytest.mark.long, pytest.mark.timeout(1500)]

DAYS = [date(2022, 4, 25) + timedelta(days=n) for n in range(8)]
RESTATED = date(2022, 4, 28)


@dataclass(frozen=True)
class Log:
    """The published log and the lake that is made of it."""

    lake: Lake
    home: Home
    source: Path
    built: dict[str, Any]

    def places(self, spec: Spec) -> dict[str, Any]:
        return {
            "spec": spec,
            "spec_file_name": "kuairand.yaml",
            "lake": self.lake,
            "home": self.home,
            "source": self.source,
        }

    def backfill(self, spec: Spec) -> dict[str, Any]:
        return samples.run(**self.places(spec), first=DAYS[0], last=DAYS[-1])

    def hashes(self) -> dict[str, str]:
        return {ds: said["content_hash"] for ds, said in self.lake.commits("samples").items()}

    def files(self) -> set[str]:
        return {uri for uri in self.lake.open("samples").file_uris() if str(RESTATED) not in uri}


@pytest.fixture(scope="module")
def log(spark: "SparkSession", kuairand: Path, tmp_path_factory: pytest.TempPathFactory) -> Log:
    root = tmp_path_factory.mktemp("kuairand")
    empty = Log(Lake(str(root), "kuairand"), Home(root=root, cache=cache()), kuairand, {})
    built = empty.backfill(load_spec("kuairand"))
    return Log(empty.lake, empty.home, kuairand, built)


def test_every_repeated_row_of_the_published_log_is_in_quarantine_and_no_row_is_lost(
    log: Log,
) -> None:
    days, lake = log.built["days"], log.lake
    broken: Counter[str] = Counter()
    for day in days:
        broken.update(day["quarantined"])
    assert broken == {"duplicate-row": 3654, "duplicate-key": 297}
    assert sum(day["input"] for day in days) == 135_128
    assert all(day["input"] == day["rows"] + day["refused"] + day["history"] for day in days)
    assert lake.open("quarantine").to_pyarrow_table().num_rows == 3654 + 297
    ids = lake.open("samples").to_pyarrow_table(columns=["sample_id"])["sample_id"]
    assert len(ids) == len(ids.unique()) == log.built["rows"]
    # The first day has no history; the last one's samples mostly do.
    columns = ["ds", "n_count_user_id_all"]
    counted = lake.open("samples").to_pyarrow_table(columns=columns).to_pandas()
    known = (counted["n_count_user_id_all"] > 0).groupby(counted["ds"]).mean()
    assert known.iloc[0] == 0
    assert known.iloc[-1] > 0.5


def test_a_day_restated_under_another_rule_moves_alone_and_a_backfill_then_what_looks_back_on_it(
    log: Log,
) -> None:
    published = load_spec("kuairand")
    rule = Rule(id="short", reject="date = 20220428 AND duration_ms < 10000")
    stricter = published.model_copy(update={"rules": (*published.rules, rule)})
    first, files = log.hashes(), log.files()
    earlier = [str(day) for day in DAYS if day < RESTATED]
    later = [str(day) for day in DAYS if day > RESTATED]

    restated = samples.restate(**log.places(stricter), day=RESTATED)

    alone = log.hashes()
    assert log.files() == files
    assert {ds for ds in alone if alone[ds] != first[ds]} == {str(RESTATED)}
    assert restated["days"][0]["quarantined"]["short"] > 0
    assert restated["stale"] == later

    log.backfill(stricter)

    strict = log.hashes()
    assert [strict[ds] for ds in (*earlier, str(RESTATED))] == [
        alone[ds] for ds in (*earlier, str(RESTATED))
    ]
    assert all(strict[ds] != first[ds] for ds in later)

    log.backfill(published)

    assert log.hashes() == first
