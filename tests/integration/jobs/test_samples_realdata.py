"""The published KuaiRand-Pure log, all eight days."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from features.lake import Lake
from features.spec import load_spec
from jobs import samples
from jobs.home import Home
from tests.conftest import cache

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.realdata, pytest.mark.long, pytest.mark.timeout(1500)]


def test_every_repeated_row_of_the_published_log_is_in_quarantine_and_no_row_is_lost(
    spark: "SparkSession", kuairand: Path, tmp_path: Path
) -> None:
    spec = load_spec("kuairand")
    lake = Lake(str(tmp_path / "lake"), "kuairand")
    first = date(2022, 4, 25)
    result = samples.run(
        spec=spec,
        spec_file_name="kuairand.yaml",
        lake=lake,
        home=Home(root=tmp_path, cache=cache()),
        source=kuairand,
        first=first,
        last=first + timedelta(days=7),
    )
    days = result["days"]
    broken: Counter[str] = Counter()
    for day in days:
        broken.update(day["quarantined"])
    assert broken == {"duplicate-row": 3654, "duplicate-key": 297}
    assert sum(day["input"] for day in days) == 135_128
    assert all(day["input"] == day["rows"] + day["refused"] + day["history"] for day in days)
    assert lake.open("quarantine").to_pyarrow_table().num_rows == 3654 + 297
    assert lake.open("samples").to_pyarrow_table(columns=["ds"]).num_rows == result["rows"]
    # The first day has no history; the last one's samples mostly do.
    columns = ["ds", "n_count_user_id_all"]
    counted = lake.open("samples").to_pyarrow_table(columns=columns).to_pandas()
    known = (counted["n_count_user_id_all"] > 0).groupby(counted["ds"]).mean()
    assert known.iloc[0] == 0
    assert known.iloc[-1] > 0.5
