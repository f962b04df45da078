"""The report's files: written whole, newest on top, and none for a night that never ran."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from features.errors import UserError
from features.lake import Lake
from features.spec import Spec, load_spec
from jobs.home import Home, open_home
from jobs.report import publishable, report
from jobs.runs import record

FIRST, SECOND = date(2026, 1, 13), date(2026, 1, 14)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home")


@pytest.fixture
def spec() -> Spec:
    return load_spec("bazaar")


@pytest.fixture
def lake(home: Home, spec: Spec) -> Lake:
    return home.lake(spec.product)


def _gate(verdict: str, **other: Any) -> dict[str, Any]:
    return {"verdict": verdict, "reasons": ["so it was"], "version": "2", "previous": "1", **other}


def test_a_day_that_never_ran_is_answered_with_its_name_and_the_command(
    spec: Spec, lake: Lake, home: Home
) -> None:
    with pytest.raises(
        UserError, match=r"no night of 2026-01-14 .* autoifs nightly --ds 2026-01-14"
    ):
        report(spec=spec, lake=lake, home=home, day=SECOND)
    assert not home.reports("bazaar").exists()


def test_a_night_that_ran_gets_a_page_an_index_and_a_message(
    spec: Spec, lake: Lake, home: Home
) -> None:
    record(lake, SECOND, "gate", 1.5, _gate("rejected"))
    said = report(spec=spec, lake=lake, home=home, day=SECOND)
    assert said["outcome"] == "rejected"
    assert "Version 2 was not promoted; version 1 stays champion." in said["report"].read_text()
    assert 'href="2026-01-14.html"' in said["index"].read_text()
    assert said["latest"].read_bytes() == said["report"].read_bytes()
    assert str(said["report"]) in said["message"]


def test_latest_stays_the_newest_night_when_an_older_one_is_reported_again(
    spec: Spec, lake: Lake, home: Home
) -> None:
    for day, verdict in ((FIRST, "first"), (SECOND, "promoted")):
        record(lake, day, "gate", 1.0, _gate(verdict))
        report(spec=spec, lake=lake, home=home, day=day)
    said = report(spec=spec, lake=lake, home=home, day=FIRST)
    assert "14 January 2026" in said["latest"].read_text()
    assert said["index"].read_text().count("<tr>") == 3


def test_nothing_but_finished_pages_is_left_in_the_folder(
    spec: Spec, lake: Lake, home: Home
) -> None:
    record(lake, SECOND, "gate", 1.0, _gate("rejected"))
    report(spec=spec, lake=lake, home=home, day=SECOND)
    left = sorted(path.name for path in home.reports("bazaar").iterdir())
    assert left == ["2026-01-14.html", "index.html", "latest.html"]


def test_a_link_in_messages_uses_the_address_where_reports_are_served(
    spec: Spec, lake: Lake, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOIFS_REPORTS_URL", "https://reports.example.org/")
    record(lake, SECOND, "gate", 1.0, _gate("rejected"))
    said = report(spec=spec, lake=lake, home=home, day=SECOND)
    assert "https://reports.example.org/bazaar/2026-01-14.html" in said["message"]


def test_the_page_links_to_the_data_docs_when_there_are_any(
    spec: Spec, lake: Lake, home: Home
) -> None:
    record(lake, SECOND, "gate", 1.0, _gate("rejected"))
    home.docs("bazaar").mkdir(parents=True)
    (home.docs("bazaar") / "index.html").write_text("docs")
    said = report(spec=spec, lake=lake, home=home, day=SECOND)
    assert 'href="../../docs/bazaar/index.html"' in said["report"].read_text()


def test_a_days_volumes_and_rates_are_those_of_its_published_partition(
    spec: Spec, lake: Lake, home: Home
) -> None:
    ds = SECOND.isoformat()
    cells = {"feed/click": {"known": 3, "positives": 1}}
    said = {"ds": ds, "rows": 4, "measures": {"scenarios": {"feed": 3, "live": 1}, "cells": cells}}
    write_deltalake(
        lake.path("samples"),
        pa.table({"ds": [ds]}),
        commit_properties=CommitProperties(custom_metadata={"userMetadata": json.dumps(said)}),
    )
    record(lake, SECOND, "samples", 1.0, {"rows": 4, "quarantined": {"no-device": 3}})
    page = report(spec=spec, lake=lake, home=home, day=SECOND)["report"].read_text()
    assert "feed by day, the last is 3" in page
    assert "click by day, the last is 33.3%" in page
    assert "purchase by day" not in page
    assert "no-device" in page


def test_trends_come_from_the_metrics_of_the_nights_before(
    spec: Spec, lake: Lake, home: Home
) -> None:
    cell = {"scenario": "", "task": "click"}
    for day, value in ((FIRST, 0.40), (SECOND, 0.36)):
        ds = day.isoformat()
        row = {**cell, "ds": ds, "role": "challenger", "metric": "logloss", "value": value}
        lake.replace("metrics", {"ds": ds}, pa.Table.from_pylist([row]))
    record(lake, SECOND, "evaluate", 1.0, {"version": "2", "cells": [{**cell, "logloss": 0.36}]})
    said = report(spec=spec, lake=lake, home=home, day=SECOND)
    assert "log loss of click over 2 nights" in said["report"].read_text()


def test_pages_of_the_nights_that_this_one_settled_are_written_anew(
    spec: Spec, lake: Lake, home: Home
) -> None:
    cells = [{"scenario": "", "task": "click", "logloss": 0.4, "auc": 0.7}]
    record(lake, FIRST, "evaluate", 1.0, {"version": "1", "cells": cells})
    first = report(spec=spec, lake=lake, home=home, day=FIRST)["report"]
    assert "Provisional" in first.read_text()
    record(lake, FIRST, "settle", 1.0, {"version": "1", "tasks": ["click"], "cells": cells})
    settled = [{"ds": str(FIRST), "version": "1", "tasks": ["click"]}]
    record(lake, SECOND, "evaluate", 1.0, {"version": "2", "cells": cells, "settled": settled})
    said = report(spec=spec, lake=lake, home=home, day=SECOND)
    assert said["pages"] == [str(FIRST), str(SECOND)]
    assert "Judged again on 14 Jan" in first.read_text()
    kept = Path(home.lake_root) / "bazaar" / "reports" / first.name
    assert kept.read_bytes() == first.read_bytes()


def test_the_page_lies_in_the_lake_too_and_publishable_names_what_to_upload(
    spec: Spec, lake: Lake, home: Home
) -> None:
    record(lake, SECOND, "gate", 1.0, _gate("rejected"))
    report(spec=spec, lake=lake, home=home, day=SECOND)
    kept = Path(home.lake_root) / "bazaar" / "reports"
    for page in ("2026-01-14.html", "latest.html", "index.html"):
        assert (kept / page).read_bytes() == (home.reports("bazaar") / page).read_bytes()
    names = [name for name, _ in publishable(home, spec, SECOND)]
    assert names == ["2026-01-14.html", "index.html", "latest.html"]
    assert publishable(home, spec) == publishable(home, spec, SECOND)


def test_the_page_links_to_its_runs_also_when_it_is_written_again_from_elsewhere(
    spec: Spec, lake: Lake, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(lake, SECOND, "register", 1.0, {"version": "2", "run_id": "abc"})
    monkeypatch.setenv("AUTOIFS_RUN_ID", "manual__7")
    monkeypatch.setenv("AUTOIFS_MLFLOW_URL", "https://mlflow.example.org/")
    said = report(spec=spec, lake=lake, home=home, day=SECOND)
    record(lake, SECOND, "report", 1.0, said)
    monkeypatch.delenv("AUTOIFS_RUN_ID")
    page = report(spec=spec, lake=lake, home=home, day=SECOND)["report"].read_text()
    assert "http://127.0.0.1:8080/dags/bazaar_training/runs/manual__7" in page
    assert "https://mlflow.example.org/#/runs/abc" in page
