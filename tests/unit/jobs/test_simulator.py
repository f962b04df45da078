"""The simulator: its files, its promises about bytes and days, its faults and its truth."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import csv
from pyarrow import parquet as pq

from features.errors import UserError
from features.spec import FLOWS, load_spec
from jobs.simulator import simulate

ROWS = 2000
DAY_MS = 86_400_000
START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("market")
    simulate(out, days=7, rows=ROWS, seed=7)
    return out


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clean")
    simulate(out, days=7, rows=ROWS, seed=7, faults=False)
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def impressions(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("impressions/*")))


def events(folder: Path, stream: str) -> pa.Table:
    return pa.concat_tables(csv.read_csv(path) for path in sorted(folder.glob(f"{stream}/*")))


def truth(folder: Path) -> dict:
    return json.loads((folder / "truth.json").read_text())


# ── bytes and days ───────────────────────────────────────────────────────────────────────────────


def test_the_same_seed_gives_the_same_bytes(market, tmp_path):
    simulate(tmp_path, days=7, rows=ROWS, seed=7)
    assert files(tmp_path) == files(market)


def test_another_seed_gives_other_events_and_another_truth(market, tmp_path):
    simulate(tmp_path, days=1, rows=ROWS, seed=8)
    name = "impressions/2026-01-01.parquet"
    assert files(tmp_path)[name] != files(market)[name]
    assert truth(tmp_path)["cells"] != truth(market)["cells"]


def test_asking_for_fewer_days_gives_the_same_first_files(market, tmp_path):
    simulate(tmp_path, days=3, rows=ROWS, seed=7)
    fewer, more = files(tmp_path), files(market)
    del fewer["truth.json"]
    assert len(fewer) == 3 * 3 + 2
    assert {name: more[name] for name in fewer} == fewer


def test_a_folder_can_be_extended_by_asking_for_more_days(market, tmp_path):
    simulate(tmp_path, days=3, rows=ROWS, seed=7)
    simulate(tmp_path, days=7, rows=ROWS, seed=7)
    assert files(tmp_path) == files(market)


def test_the_first_day_is_chosen(tmp_path):
    told = simulate(tmp_path, days=2, rows=100, seed=7, start=date(2025, 3, 30))
    assert (told["first"], told["last"]) == ("2025-03-30", "2025-03-31")
    assert (tmp_path / "clicks" / "2025-03-31.csv.gz").exists()


def test_even_one_impression_a_day_writes_every_file(tmp_path):
    simulate(tmp_path, days=2, rows=1, seed=7)
    assert len(files(tmp_path)) == 2 * 3 + 3


# ── what the spec reads ──────────────────────────────────────────────────────────────────────────


def test_every_source_of_the_spec_has_its_files_and_columns(clean):
    spec = load_spec("bazaar")
    for name, source in spec.sources.items():
        path = clean / source.path.replace("{ds}", "2026-01-03")
        table = pq.read_table(path) if source.kind == "parquet" else csv.read_csv(path)
        wanted = {source.key} if source.key else {source.time.column}
        wanted |= {task.on[0] for task in spec.tasks.values() if task.source == name}
        assert wanted <= set(table.column_names), name


def test_every_feature_of_the_spec_is_a_column(clean):
    spec = load_spec("bazaar")
    tables = {
        "": set(impressions(clean).column_names),
        "users": set(csv.read_csv(clean / "users.csv").column_names),
        "items": set(pq.read_table(clean / "items.parquet").column_names),
    }
    features = spec.features
    plain = [it.column for it in (*features.ids, *features.categories, *features.numbers)]
    for column in [*plain, *(part for entity in spec.entities for part in entity)]:
        table, _, name = column.rpartition(".")
        assert name in tables[table], column


def test_each_day_has_the_asked_number_of_impressions_of_its_own(clean):
    days = (impressions(clean)["event_time"].to_numpy() - START_MS) // DAY_MS
    assert np.bincount(days).tolist() == [ROWS] * 7


def test_the_places_have_their_sizes(clean):
    counts = {
        row["values"]: row["counts"]
        for row in impressions(clean)["place"].value_counts().to_pylist()
    }
    shares = [counts[place] / (7 * ROWS) for place in ("feed", "search", "live", "deals")]
    assert shares == pytest.approx([0.70, 0.20, 0.08, 0.02], abs=0.02)


def test_nobody_likes_in_deals(clean):
    shown = impressions(clean)
    deals = shown.filter(pc.equal(shown["place"], "deals"))
    assert pc.sum(deals["liked"]).as_py() == 0
    assert pc.sum(shown["liked"]).as_py() > 0


def test_a_click_follows_its_impression_and_few_come_after_the_hour(clean):
    shown = impressions(clean)
    at = dict(zip(shown["impression_id"].to_pylist(), shown["event_time"].to_pylist(), strict=True))
    clicks = events(clean, "clicks").to_pylist()
    delays = np.array([click["event_time"] - at[click["impression_id"]] for click in clicks])
    assert delays.min() > 0
    assert 0.005 < (delays > 3_600_000).mean() < 0.05


def test_purchases_keep_coming_for_days_some_beyond_the_window(clean):
    shown = impressions(clean).to_pandas()
    bought = events(clean, "purchases").to_pandas()
    pairs = bought.merge(shown, on=["user_id", "item_id"], suffixes=("", "_shown"))
    delays = (pairs.event_time - pairs.event_time_shown) / DAY_MS
    delays = delays[delays > 0].groupby([pairs.user_id, pairs.item_id, pairs.event_time]).min()
    assert (delays > 1).mean() > 0.2
    assert (delays > 3).sum() > 0
    assert delays.max() <= 5


# ── late, repeated and broken ────────────────────────────────────────────────────────────────────


def test_a_file_holds_what_arrived_and_a_few_rows_are_a_day_late(market):
    for index, path in enumerate(sorted(market.glob("impressions/*"))):
        times = pq.read_table(path)["event_time"].drop_null().to_numpy()
        days = (times - START_MS) // DAY_MS - index
        assert set(np.unique(days)) <= {-1, 0}
        if index:
            assert 0.005 < (days == -1).mean() < 0.05


def test_without_faults_nothing_is_late_repeated_or_broken(clean):
    for index, path in enumerate(sorted(clean.glob("impressions/*"))):
        table = pq.read_table(path)
        days = (table["event_time"].to_numpy() - START_MS) // DAY_MS
        assert set(days) == {index}
        assert table.column("impression_id").null_count == 0
    assert len(impressions(clean)["impression_id"].unique()) == 7 * ROWS
    assert all(day["faults"]["impressions"] == {} for day in truth(clean)["days"])


def test_faults_only_add_rows_to_the_clean_ones(market, clean):
    spoilt = {tuple(row.values()) for row in impressions(market).to_pylist()}
    arrived = [
        day for day in impressions(clean).to_pylist() if day["event_time"] < START_MS + 6 * DAY_MS
    ]
    assert all(tuple(row.values()) in spoilt for row in arrived)


def test_the_truth_counts_the_faults_that_are_in_the_files(market):
    counted: dict[str, int] = {}
    for day in truth(market)["days"]:
        for kind, count in day["faults"]["impressions"].items():
            counted[kind] = counted.get(kind, 0) + count
    shown = impressions(market)
    assert counted["no-key"] == shown["impression_id"].null_count
    assert counted["no-user"] == shown["user_id"].null_count
    assert counted["no-device"] == shown["device"].null_count
    assert counted["no-time"] == shown["event_time"].null_count
    assert counted["negative-position"] == pc.sum(pc.less(shown["position"], 0)).as_py()
    assert counted["unknown-place"] == pc.sum(pc.equal(shown["place"], "billboard")).as_py()
    keys = shown["impression_id"].drop_null()
    assert counted["repeated"] + counted["same-key"] == len(keys) - len(keys.unique())


def test_a_csv_stream_holds_text_where_a_time_belongs(market):
    texts = [
        csv.read_csv(
            path, convert_options=csv.ConvertOptions(column_types={"event_time": pa.string()})
        )["event_time"].to_pylist()
        for path in market.glob("clicks/*")
    ]
    assert all("yesterday" in times for times in texts)


# ── the truth ────────────────────────────────────────────────────────────────────────────────────


def test_every_cell_of_the_spec_and_no_other_has_a_truth(market):
    spec = load_spec("bazaar")
    told = {(cell["scenario"], cell["task"]) for cell in truth(market)["cells"]}
    wanted = {
        (scenario, task)
        for scenario in spec.scenarios.names
        for task in spec.tasks
        if spec.has(scenario, task)
    }
    assert told == wanted


def test_every_flow_carries_signal_somewhere_and_every_cell_has_a_shared_signal(market):
    cells = truth(market)["cells"]
    for flow in FLOWS:
        assert any(cell["flows"][flow]["kind"] == "signal" for cell in cells)
    for cell in cells:
        kinds = {cell["flows"][flow]["kind"] for flow in ("shared_shared", "shared_specific")}
        assert "signal" in kinds
    kinds = {flow["kind"] for cell in cells for flow in cell["flows"].values()}
    assert kinds == {"signal", "noise", "harm"}


def test_the_true_probabilities_rank_well_and_are_calibrated(market):
    for cell in truth(market)["cells"]:
        days = [
            found
            for day in truth(market)["days"]
            for found in day["cells"]
            if (found["scenario"], found["task"]) == (cell["scenario"], cell["task"])
        ]
        positives, n = sum(day["positives"] for day in days), sum(day["n"] for day in days)
        expected = sum(day["mean_probability"] * day["n"] for day in days)
        in_time = 0.95 if cell["task"] == "purchase" else 0.98 if cell["task"] == "click" else 1
        assert abs(positives - in_time * expected) < 4 * np.sqrt(expected)
        if n > 4000:
            assert 0.76 < np.mean([day["auc"] for day in days]) < 0.90


def test_tastes_drift(tmp_path):
    for drift in (0.0, 40.0):
        simulate(tmp_path / str(drift), days=3, rows=ROWS, seed=7, drift=drift, faults=False)
    still, moving = (
        [truth(tmp_path / name)["days"][day]["cells"][0]["mean_probability"] for day in (0, 2)]
        for name in ("0.0", "40.0")
    )
    assert still[0] == moving[0]
    assert still[1] != moving[1]


# ── what people get wrong ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"days": 0}, "days: 0 is too few"),
        ({"rows": 0}, "rows: 0 impressions a day"),
        ({"rows": 10**8}, "rows: 100000000 impressions a day"),
        ({"seed": -1}, "seed: -1 is negative"),
        ({"late": 1.5}, "late: 1.5 is no share"),
    ],
)
def test_an_argument_out_of_range_is_named(wrong, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        simulate(tmp_path / "x", **{"days": 1, "rows": 10, "seed": 1, **wrong})
    assert not (tmp_path / "x").exists()


def test_a_path_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="give a folder that can be written to"):
        simulate(tmp_path / "file", days=1, rows=10, seed=1)


def test_a_folder_of_another_simulation_is_refused_and_left_alone(tmp_path):
    simulate(tmp_path, days=1, rows=10, seed=1)
    before = files(tmp_path)
    with pytest.raises(UserError, match="holds a simulation with seed 1; give another folder"):
        simulate(tmp_path, days=1, rows=10, seed=2)
    assert files(tmp_path) == before


def test_no_unfinished_file_stays_when_a_write_fails(tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jobs.simulator.files.pq.write_table", full)
    with pytest.raises(UserError, match="no space left on device"):
        simulate(tmp_path, days=1, rows=10, seed=1)
    assert [path.name for path in tmp_path.rglob("*")] == ["users.csv"]
