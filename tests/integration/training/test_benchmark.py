"""``autoifs benchmark`` on a small table: what it writes, and that it goes on after a kill."""

import re
from dataclasses import replace
from datetime import date

import pytest

from features.errors import UserError
from jobs.benchmark import run as benchmark_run
from jobs.benchmark import runs
from jobs.benchmark.picture import Point, front
from jobs.benchmark.protocol import FULL, QUICK, Entry, narrowed
from jobs.benchmark.run import compare
from jobs.benchmark.worlds import World
from training import night

pytestmark = pytest.mark.slow
ENTRIES = ("lightgbm", "shared_bottom", "mmoe", "autoifs")
PROTOCOL = replace(
    QUICK,
    entries=(
        Entry(name="autoifs, taught", model="autoifs", changes={"teacher": "lightgbm"}),
        *(Entry(name=name, model=name) for name in ENTRIES),
        Entry(name="autoifs, not taught", model="autoifs", changes={"teacher": None}),
    ),
)


@pytest.fixture
def world(shop, shop_lake) -> World:
    return World(name="shop", title="A shop", spec=shop, lake=shop_lake, test=date(2026, 3, 6))


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """The models that are really trained, in order."""
    names: list[str] = []
    fit = night.fit

    def counted(spec, material, kind, folder, **options):
        names.append(kind)
        return fit(spec, material, kind, folder, **options)

    monkeypatch.setattr(night, "fit", counted)
    return names


def test_every_model_is_tuned_trained_judged_and_timed_and_a_second_run_trains_nothing(
    world, home, tmp_path, trained
):
    found = compare([world], PROTOCOL, home=home, out=tmp_path / "out", repeats=1)
    # Two trials with the first seed, then the better one with the second.
    assert [trained.count(name) for name in ENTRIES] == [3, 3, 3, 6]
    table = re.sub(" +", " ", (tmp_path / "out" / "benchmark.md").read_text())
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", table.split("AUC / log loss")[0], re.M))
    assert set(rows) == {*ENTRIES, "autoifs, taught"}
    assert rows["autoifs, taught"].split(" | ")[0] != rows["autoifs"].split(" | ")[0]
    assert rows["shared_bottom"].split(" | ")[9] == "1.00×"
    assert rows["lightgbm"].split(" | ")[8:10] == ["–", "–"], "trees have no matrices and no steps"
    assert re.match(r"0\.\d{4} ± 0\.\d{4} \| [+-]0\.\d{4} \([+-]0\.\d{4} … ", rows["autoifs"])
    assert "Rows: 1,600 train, 400 validate, 400 test (2026-03-06)." in table
    assert "feed × buy" in table and "search × buy" not in table
    assert {goal["data"] for goal in found["goals"]} == {"shop"} and len(found["goals"]) == 4
    picture = (tmp_path / "out" / "benchmark.svg").read_text()
    words = set(re.findall(r"<text[^>]*>([^<]+)</text>", picture))
    assert {*ENTRIES, "autoifs, taught", "A shop"} <= words

    trained.clear()
    again = compare([world], PROTOCOL, home=home, out=tmp_path / "out", repeats=1)
    assert trained == []
    assert [one["figure"] for one in again["goals"][:3]] == [
        one["figure"] for one in found["goals"][:3]
    ]


def test_a_run_that_was_killed_goes_on_where_it_was(world, home, tmp_path, trained, monkeypatch):
    counted = night.fit

    def killed(*given, **options):
        if len(trained) == 4:
            raise KeyboardInterrupt
        return counted(*given, **options)

    monkeypatch.setattr(night, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        compare([world], PROTOCOL, home=home, out=tmp_path, repeats=1)
    assert not (tmp_path / "benchmark.md").exists()
    monkeypatch.setattr(night, "fit", counted)
    two = narrowed(PROTOCOL, "shared_bottom", None)
    compare([world], two, home=home, out=tmp_path, repeats=1)
    assert trained == ["autoifs"] * 3 + ["lightgbm"] * 3 + ["shared_bottom"] * 3


def test_other_data_or_other_code_is_trained_anew(
    world, home, tmp_path, trained, rewrite, monkeypatch
):
    one = narrowed(PROTOCOL, "lightgbm", 1)
    compare([world], one, home=home, out=tmp_path, repeats=1)
    before = len(trained)
    rewrite(2, seed=5)
    compare([world], one, home=home, out=tmp_path, repeats=1)
    assert len(trained) == 2 * before
    monkeypatch.setattr(runs, "training_code", lambda: "changed")
    compare([world], one, home=home, out=tmp_path, repeats=1)
    assert len(trained) == 3 * before


def test_the_full_protocol_gives_every_model_of_the_zoo_as_many_trials():
    assert len(FULL.networks) == len(FULL.trees) and len(FULL.seeds) == 3
    assert {"lightgbm", "autoifs", "dffm", "m3oe"} <= {one.model for one in FULL.entries}


def test_models_and_data_sets_are_chosen_by_name(home, tmp_path):
    kept = narrowed(FULL, "mmoe", 5)
    assert [one.name for one in kept.entries] == ["shared_bottom", "mmoe", "lightgbm"]
    assert kept.seeds == (1, 2, 3, 4, 5)
    with pytest.raises(UserError, match="--models: 'nosuch' is no model; known: aitm, "):
        narrowed(FULL, "nosuch", None)
    with pytest.raises(UserError, match="--data: 'nosuch' is no data set; known: planted, plain"):
        benchmark_run.benchmark(home=home, out=tmp_path, data="nosuch")


def test_real_data_that_is_absent_is_skipped_in_words(home, tmp_path, caplog):
    with pytest.raises(UserError, match="none of it is there; give --kuairand its folder"):
        benchmark_run.benchmark(home=home, out=tmp_path, data="kuairand", kuairand=tmp_path / "no")
    assert "kuairand is skipped: its published files are looked for in" in caplog.text


def test_the_front_holds_what_nothing_beats_in_both():
    points = [Point(str(n), s, q, 0) for n, (s, q) in enumerate([(1, 5), (2, 4), (3, 4), (4, 1)])]
    assert [one.name for one in front(points)] == ["0", "1", "3"]
