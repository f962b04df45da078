"""``evaluate`` on a small encoded table: what its tables hold of cells, slices and differences."""

from datetime import date

import pytest

from features.errors import RegistryError
from features.spec.load import parse_spec
from jobs.compare import diff
from jobs.evaluate import evaluate
from jobs.models import promote
from jobs.register import register
from jobs.runs import record, results
from jobs.train import train
from tests.integration.training.conftest import (
    SHOP,
    SIZES,
    put_back,
    stored_home,
    write_day,
    write_march,
)

pytestmark = pytest.mark.slow
FIRST, SECOND, THIRD = date(2026, 3, 7), date(2026, 3, 8), date(2026, 3, 9)
SLICED = SHOP + "evaluation: {slices: {young: n_age < 0, nobody: n_age > 1e9}}\n"


class Nights:
    """Nights of a shop that has slices."""

    def __init__(self, home):
        self.home, self.lake = home, home.lake("shop")
        self.spec = parse_spec(SLICED, "shop.yaml")
        write_march(self.lake, self.spec)

    def run(self, day, spec=None):
        """Train, register and evaluate a night, and keep what the commands said."""
        place = {"spec": spec or self.spec, "lake": self.lake, "home": self.home, "day": day}
        for name, step in (("train", train), ("register", register)):
            record(self.lake, day, name, 1.0, step(**place))
        said = evaluate(**place)
        record(self.lake, day, "evaluate", 1.0, said)
        return said

    def write(self, day, **mature):
        """Write one day of March anew, with other labels known."""
        known = {"click": True, "buy": True, **mature}
        write_day(self.lake, self.spec, SIZES, date(2026, 3, day), rows=400, mature=known)


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory, empty_store):
    """Two nights, the first one's model champion; with them, what was said of the first alone."""
    made = Nights(stored_home(tmp_path_factory.mktemp("nights"), empty_store))
    made.first = made.run(FIRST)
    made.alone = made.lake.open("metrics").to_pyarrow_table().to_pylist()
    promote(spec=made.spec, home=made.home, version=made.first["version"], expect=None)
    made.second = made.run(SECOND)
    return made


@pytest.fixture
def nights(two_nights, tmp_path):
    """The same, to go on from."""
    with put_back(two_nights.home, tmp_path):
        yield two_nights


def test_a_nights_table_holds_every_measure_of_cells_and_slices_with_differences(two_nights):
    first, alone, said = two_nights.first, two_nights.alone, two_nights.second
    shop_lake = two_nights.lake
    assert first["champion"] is None
    assert {row["diff"] for row in alone if row["role"] != "uncalibrated"} == {None}
    before, after = (
        next(
            row
            for row in alone
            if (row["role"], row["metric"], row["scenario"], row["task"], row["slice"])
            == (role, "logloss", "", "click", "")
        )
        for role in ("challenger", "uncalibrated")
    )
    assert after["diff"] == pytest.approx(after["value"] - before["value"], abs=1e-8)
    assert after["diff"] != 0

    rows = shop_lake.open("metrics").to_pyarrow_table(filters=[("ds", "=", str(SECOND))])
    rows = rows.to_pylist()
    measured = {"auc", "logloss", "ne", "pcoc", "ece"}  # nobody has two impressions of a day
    for place in (("feed", "click", ""), ("", "click", "young"), ("", "", "young"), ("", "", "")):
        own = [
            row
            for row in rows
            if (row["scenario"], row["task"], row["slice"]) == place
            and row["role"] == "challenger"
            and row["metric"] in measured
        ]
        assert {row["metric"] for row in own} == measured
        if place[1]:
            assert all(row["low"] <= row["value"] <= row["high"] for row in own)
            assert all(row["diff_low"] <= row["diff"] <= row["diff_high"] for row in own)
            assert all(0 <= row["diff_p"] <= 1 for row in own)
    champion = [row for row in rows if row["role"] == "champion"]
    assert {row["diff"] for row in champion} == {None}
    nobody = [row for row in rows if row["slice"] == "nobody"]
    assert {row["metric"] for row in nobody} == {"n", "positives"}
    assert {row["note"] for row in nobody} == {"no label to judge"}
    assert not any("slice" in cell for cell in said["cells"]), "the page shows cells"
    drifted = shop_lake.open("drift").to_pyarrow_table(filters=[("ds", "=", str(SECOND))])
    kinds = {(row["kind"], row["measure"]) for row in drifted.to_pylist()}
    assert {measure for kind, measure in kinds if kind == "input"} >= {"psi", "volume"}
    assert {measure for kind, measure in kinds if kind == "prediction"} == {
        "prediction-mean", "prediction-psi", "logit-shift",
    }  # fmt: skip
    assert ("mask", "keep-rate") in kinds
    assert {row["champion"] for row in drifted.to_pylist()} == {first["version"]}
    assert said["drift"]["readings"] == len(drifted)
    assert said["drift"]["probe"] == first["drift"]["probe"], "the probe stays the same"
    assert len(shop_lake.days("profiles")) == 8
    change = {(one["scenario"], one["task"]): one["difference"] for one in said["comparisons"]}
    loss = next(
        row
        for row in rows
        if (row["scenario"], row["task"], row["slice"]) == ("feed", "click", "")
        and (row["role"], row["metric"]) == ("challenger", "logloss")
    )
    assert loss["diff"] == pytest.approx(change["feed", "click"], abs=1e-8)


def stage_of(lake, night, stage, **place):
    """Return metric → row of the night's challenger in a stage and group."""
    wanted = {"scenario": "", "task": "", "slice": "", "role": "challenger", **place}
    rows = lake.open("metrics").to_pyarrow_table(
        filters=[("ds", "=", str(night)), ("stage", "=", stage)]
    )
    return {row["metric"]: row for row in rows.to_pylist() if wanted.items() <= row.items()}


def test_a_nights_model_is_judged_on_the_next_day_as_its_labels_come_and_keeps_both_numbers(nights):
    first, shop_lake = nights.first, nights.lake
    assert first["settled"] == []
    alone = {
        row["metric"]: row
        for row in nights.alone
        if (row["role"], row["scenario"], row["task"], row["slice"])
        == ("challenger", "", "click", "")
    }
    before = stage_of(shop_lake, FIRST, "provisional", task="click")
    assert before == alone, "the second night left them as they were"
    assert before["auc"]["judged_on"] == str(FIRST)

    # The next day's clicks are known at once, its purchases are not.
    assert nights.second["settled"] == [
        {"ds": str(FIRST), "version": first["version"], "tasks": ["click"]}
    ]
    after = stage_of(shop_lake, FIRST, "final", task="click")
    assert after["auc"]["judged_on"] == str(SECOND)
    assert after["auc"]["value"] != before["auc"]["value"]
    assert stage_of(shop_lake, FIRST, "final", task="buy") == {}
    assert stage_of(shop_lake, FIRST, "final") == {}, "a mean over tasks waits for all of them"
    assert not results(shop_lake, FIRST)["settle"]["complete"]

    # Night three brings them; the night that they were compared with is judged as well.
    nights.write(8)
    nights.write(9, buy=False)
    third = nights.run(THIRD)
    assert [(one["ds"], one["tasks"]) for one in third["settled"]] == [
        (str(FIRST), ["click", "buy"]),
        (str(SECOND), ["click"]),
    ]
    settled = results(shop_lake, FIRST)["settle"]
    assert settled["complete"]
    assert {(cell["scenario"], cell["task"]) for cell in settled["cells"]} >= {
        ("feed", "buy"), ("search", "click"), ("", "buy"), ("", ""),
    }  # fmt: skip
    assert stage_of(shop_lake, FIRST, "final")["logloss"]["value"] is not None
    compared = stage_of(shop_lake, SECOND, "final", task="click")["logloss"]
    assert compared["diff_low"] < compared["diff"] < compared["diff_high"]

    again = nights.run(THIRD)
    assert again["settled"] == [], "what is settled is not judged again"


def test_two_versions_are_compared_by_quality_masks_data_and_spec(nights):
    wider = parse_spec(SLICED.replace("rank: 2", "rank: 3"), "shop.yaml")
    nights.run(SECOND, wider)
    place = {"spec": nights.spec, "lake": nights.lake, "home": nights.home}
    said = diff(**place, first="1", second="challenger")
    assert (said["first"], said["second"]) == ("1", "3")
    assert said["judged"] == {"click": str(SECOND), "buy": "2026-03-06"}
    assert said["spec"] == [{"name": "training.network.rank", "old": "2", "new": "3"}]
    assert {"trained on", "masks searched on"} <= {row["name"] for row in said["made"]}
    cells = {(cell["scenario"], cell["task"]): cell for cell in said["cells"]}
    assert cells["feed", "click"]["diff_low"] <= cells["feed", "click"]["difference"]
    assert 0 <= said["masks"]["chance_low"] <= said["masks"]["chance_high"] <= 1
    page = said["page"].read_text()
    assert "Version 1 <span" in page and "training.network.rank" in page
    back = diff(**place, first="3", second="1")
    assert back["cells"][0]["difference"] == pytest.approx(-said["cells"][0]["difference"])
    with pytest.raises(RegistryError, match="are both version 3"):
        diff(**place, first="3", second="challenger")
    with pytest.raises(RegistryError, match="no model version 7"):
        diff(**place, first="3", second="7")


def test_a_night_trained_anew_is_settled_anew_and_a_lost_model_stops_nothing(nights):
    said = results(nights.lake, FIRST)["evaluate"]
    record(nights.lake, FIRST, "evaluate", 1.0, {**said, "version": "99"})
    nights.write(9)
    third = nights.run(THIRD)
    assert [one["ds"] for one in third["settled"]] == [str(SECOND)]
    assert results(nights.lake, FIRST)["settle"]["version"] != "99"
