"""``train`` and ``register`` on a small encoded table and a real MLflow store."""

import json
import shutil
from datetime import date

import numpy as np
import pytest

from features.errors import RegistryError, TrainingError
from features.spec import layout_of
from features.spec.policy import Teacher, WarmStart
from features.spec.search import Search
from jobs.models import history, list_versions, promote, rollback
from jobs.register import register
from jobs.train import registry_of, train
from training.artifact import load, verify
from training.data import read_days

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("store")]
NIGHT = date(2026, 3, 8)


@pytest.fixture
def run(shop, shop_lake, home):
    """Return a function that trains (and registers) one night."""

    def night(day: date = NIGHT, *, then_register: bool = False, spec=shop, **options):
        result = train(spec=spec, lake=shop_lake, home=home, day=day, **options)
        if then_register:
            register(spec=spec, lake=shop_lake, home=home, day=day)
        return result

    return night


def changed(spec, **training):
    """Return ``spec`` with other training settings."""
    return spec.model_copy(update={"training": spec.training.model_copy(update=training)})


def test_a_night_trains_a_challenger_and_a_baseline_that_can_score_its_judge_days(
    run, home, shop_lake
):
    result = run()
    assert result["split"] == {
        "train": [f"2026-03-0{d}" for d in (1, 2, 3, 4, 5)],
        "validate": ["2026-03-07"],
        "judge": {"click": "2026-03-08", "buy": "2026-03-06"},
    }
    assert result["rows"] == {"train": 2000, "validate": 400}
    assert result["search"] and result["searched_on"] == "2026-03-08"
    assert result["challenger"]["flows"]["of"] == 12, "search has no buy: three cells"
    assert set(result["steps"]) >= {"read", "train challenger", "train baseline"}
    json.dumps(result)
    folder = home.work("shop", NIGHT) / "train"
    for part in ("challenger", "baseline"):
        verify(folder / part)
        scorer = load(folder / part)
        version = shop_lake.open("encoded").version()
        rows = read_days(shop_lake, scorer.layout, [NIGHT], version)
        scores = scorer.score(rows)
        assert np.isnan(scores[rows.scenario == 1, 1]).all()
        assert not np.isnan(scores[:, 0]).any()


def test_every_cell_is_calibrated_on_the_validation_days_unless_the_spec_says_no(
    run, shop, home, shop_lake
):
    run()
    folder = home.work("shop", NIGHT) / "train" / "challenger"
    line = load(folder).calibration
    version = shop_lake.open("encoded").version()
    validation = read_days(shop_lake, layout_of(shop), [date(2026, 3, 7)], version)
    known = ~np.isnan(validation.labels)
    for k in range(2):
        counts = tuple(known[validation.scenario == k].sum(axis=0).tolist())
        assert line.labels[k] == counts
    assert sum(map(sum, line.labels)) > 0
    run(spec=changed(shop, calibration="none"))
    assert load(folder).calibration is None
    assert not (folder / "calibration.json").exists()


def test_the_same_night_is_trained_once_before_and_after_it_is_registered(
    run, shop, shop_lake, home
):
    first = run()
    again = run()
    assert (first["skipped"], again["skipped"], again["version"]) == (False, True, None)
    assert again["challenger"]["checksum"] == first["challenger"]["checksum"]
    made = register(spec=shop, lake=shop_lake, home=home, day=NIGHT)
    twice = register(spec=shop, lake=shop_lake, home=home, day=NIGHT)
    assert (made["version"], made["skipped"]) == ("1", False)
    assert (twice["version"], twice["skipped"]) == ("1", True)
    third = run()
    assert (third["skipped"], third["version"]) == (True, "1")
    assert register(spec=shop, lake=shop_lake, home=home, day=NIGHT)["version"] == "1"


def test_a_version_remembers_what_it_was_trained_on(run, shop, shop_lake, home):
    run(then_register=True)
    tags = registry_of(shop, home).get("1").tags
    assert tags["ds"] == "2026-03-08"
    assert tags["window"] == "2026-03-01..2026-03-05"
    assert tags["delta_version_encoded"] == "7"
    assert tags["vocabulary_version"] == "0"
    assert tags["seed"] == "1"
    assert tags["judge"] == "click:2026-03-08,buy:2026-03-06"
    assert len(tags["git_commit"]) in (7, 40) and len(tags["checksum"]) == 64
    assert tags["searched_on"] == "2026-03-08"


def test_files_that_were_lost_are_fetched_back_from_the_registry(run, home):
    run(then_register=True)
    folder = home.work("shop", NIGHT) / "train"
    shutil.rmtree(folder)
    assert run()["version"] == "1"
    for part in ("challenger", "baseline"):
        verify(folder / part)


def test_other_data_another_spec_or_retrain_trains_again(run, shop, rewrite):
    first = run()
    assert run(retrain=True)["skipped"] is False
    other = run(spec=changed(shop, seed=2))
    assert other["skipped"] is False and other["fingerprint"] != first["fingerprint"]
    run()
    rewrite(3, seed=5)
    assert run()["skipped"] is False


def test_a_day_outside_the_nights_window_changes_nothing(run, rewrite):
    first = run(date(2026, 3, 7))
    rewrite(8, seed=5)
    again = run(date(2026, 3, 7))
    assert again["skipped"] and again["fingerprint"] == first["fingerprint"]


def test_training_again_gives_the_same_weights_to_the_bit(run, home):
    def weights() -> bytes:
        path = home.work("shop", NIGHT) / "train" / "challenger" / "model.safetensors"
        return path.read_bytes()

    run()
    first = weights()
    run(retrain=True)
    assert weights() == first


def test_flows_are_frozen_until_the_next_search_and_flips_are_counted_then(
    run, shop, shop_lake, home
):
    run(date(2026, 3, 5), then_register=True)
    frozen = run(date(2026, 3, 6), then_register=True)
    assert (frozen["search"], frozen["searched_on"], frozen["flips"]) == (False, "2026-03-05", 0)
    assert frozen["previous"] == "1"
    stages = json.loads(
        (home.work("shop", date(2026, 3, 6)) / "train/challenger/history.json").read_text()
    )["stages"]
    assert [stage["stage"] for stage in stages] == ["freeze", "warm-up", "retrain"]
    masks = [
        json.loads((home.work("shop", d) / "train/challenger/masks.json").read_text())["strength"]
        for d in (date(2026, 3, 5), date(2026, 3, 6))
    ]
    assert masks[0] == masks[1]
    searched = run(date(2026, 3, 8), then_register=True)
    assert (searched["search"], searched["searched_on"]) == (True, "2026-03-08")
    assert searched["flips"] is not None
    assert registry_of(shop, home).get("3").tags["flips"] == str(searched["flips"])


@pytest.mark.parametrize(
    "search",
    [
        {"form": "official"},
        {"gates": "instance"},
        {"gates": "context", "context": ["item", "price"]},
        {"recipe": "masks"},
        {"recipe": "official"},
    ],
    ids=lambda search: "-".join(map(str, search.values())),
)
def test_the_other_ways_to_choose_flows_train_too(run, shop, home, search):
    result = run(spec=changed(shop, search=Search(**search)))
    assert np.isfinite(result["challenger"]["validation_logloss"])
    verify(home.work("shop", NIGHT) / "train" / "challenger")


@pytest.mark.parametrize(
    "search",
    [
        {"form": "official"},
        {"gates": "context", "context": ("item",), "collapse": 9.0},
        {"gates": "instance"},
    ],
    ids=["official", "collapsed", "rows"],
)
def test_masks_of_any_kind_are_frozen_if_they_are_a_table(run, shop, home, search):
    spec = changed(shop, search=Search(**search))
    run(date(2026, 3, 5), spec=spec, then_register=True)
    tags = registry_of(shop, home).get("1").tags
    assert tags["masks"] == ("rows" if search.get("gates") == "instance" else "cells")
    later = run(date(2026, 3, 6), spec=spec)
    assert later["search"] is (tags["masks"] == "rows")
    verify(home.work("shop", date(2026, 3, 6)) / "train" / "challenger")


def test_a_product_can_train_lightgbm_beside_a_network_as_its_baseline(run, shop, home, shop_lake):
    result = run(spec=changed(shop, model="lightgbm", teacher=Teacher()), then_register=True)
    assert result["searched_on"] is None and result["challenger"]["flows"] is None
    assert result["challenger"]["parameters"] > 0 and result["challenger"]["best_epoch"] is None
    assert result["challenger"]["validation_logloss"] < 0.69
    assert {look["stage"] for look in result["challenger"]["looks"]} >= {"trees click", "trees"}
    folder = home.work("shop", NIGHT) / "train" / "challenger"
    verify(folder)
    rows = read_days(shop_lake, load(folder).layout, [NIGHT], shop_lake.open("encoded").version())
    scores = load(folder).score(rows)
    assert np.isnan(scores[rows.scenario == 1, 1]).all() and not np.isnan(scores[:, 0]).any()
    tags = registry_of(shop, home).get("1").tags
    assert tags["model"] == "lightgbm"
    first = (folder / "trees-0.txt").read_bytes()
    run(spec=changed(shop, model="lightgbm", teacher=Teacher()), retrain=True)
    assert (folder / "trees-0.txt").read_bytes() == first


def test_a_teacher_softens_what_the_challenger_and_the_baseline_learn_from(run, shop):
    plain, taught = run(), run(spec=changed(shop, teacher=Teacher()))
    assert not taught["skipped"] and taught["fingerprint"] != plain["fingerprint"]
    for part in ("challenger", "baseline"):
        one, other = (said[part]["looks"][-1] for said in (plain, taught))
        assert one["train_loss"] != other["train_loss"]
        # What is looked at stays the labels themselves: near to, not half of, the plain one's.
        assert abs(one["validation"] - other["validation"]) < 0.1
    assert taught["steps"]["teach"] > 0


def test_registering_before_training_is_one_clear_sentence(shop, shop_lake, home):
    with pytest.raises(RegistryError, match="no model was trained for 2026-03-08; train it first"):
        register(spec=shop, lake=shop_lake, home=home, day=NIGHT)


def test_a_file_that_changed_after_training_is_not_registered(run, shop, shop_lake, home):
    run()
    path = home.work("shop", NIGHT) / "train" / "challenger" / "masks.json"
    path.write_text(path.read_text().replace("feed", "food"))
    with pytest.raises(RegistryError, match=r"masks\.json of the model in"):
        register(spec=shop, lake=shop_lake, home=home, day=NIGHT)


def test_a_loss_that_explodes_leaves_the_last_good_weights_and_no_challenger(run, shop, home):
    with pytest.raises(TrainingError, match=r"in batch \d+ of .*kept in .*challenger-last-good"):
        run(spec=changed(shop, learning_rate=1e38))
    folder = home.work("shop", NIGHT) / "train"
    verify(folder / "challenger-last-good")
    assert not (folder / "challenger").exists()


def test_models_are_listed_promoted_and_rolled_back(run, shop, home):
    run(date(2026, 3, 7), then_register=True)
    run(date(2026, 3, 8), then_register=True)
    assert promote(spec=shop, home=home, version="1") == {
        "product": "shop",
        "champion": "1",
        "before": None,
        "changed": True,
    }
    promote(spec=shop, home=home, version="2", expect="1")
    listed = list_versions(spec=shop, home=home)
    assert listed["champion"] == "2"
    assert [(one["version"], one["ds"], one["aliases"]) for one in listed["versions"]] == [
        ("2", "2026-03-08", ["challenger", "champion"]),
        ("1", "2026-03-07", []),
    ]
    again = promote(spec=shop, home=home, version="2", why="twice")
    assert (again["champion"], again["changed"]) == ("2", False)
    back = rollback(spec=shop, home=home, why="slow")
    assert (back["champion"], back["before"]) == ("1", "2")
    told = history(spec=shop, home=home)
    assert (told["champion"], told["rollback_to"]) == ("1", None)
    assert [(one["action"], one["from"], one["to"]) for one in told["events"]] == [
        ("rollback", "2", "1"),
        ("promote", "1", "2"),
        ("promote", None, "1"),
    ]
    newest = [cell.strip() for cell in told["message"].splitlines()[2].split("|")[1:-1]]
    assert newest[2:] == ["rollback", "2", "1", "slow"]
    assert told["events"][0]["why"] == "slow" and "@" in told["events"][0]["who"]


def test_a_warm_night_goes_on_from_the_version_before_it_and_says_what_moved(run, shop, home):
    warm = changed(shop, warm_start=WarmStart())
    first = run(date(2026, 3, 6), spec=warm, then_register=True)
    assert first["start"] is None and first["challenger"]["warm"] is None
    second = run(date(2026, 3, 7), spec=warm, then_register=True)
    assert (second["start"], second["search"]) == ("1", False)
    said = second["challenger"]["warm"]
    assert said["from"] == "1" and said["new_scenarios"] == []
    assert 0 < said["moved"]["mean"] <= said["moved"]["most"]
    assert said["moved"]["correlation"] > 0.9
    assert second["baseline"]["warm"] is None
    folder = home.work("shop", date(2026, 3, 7)) / "train" / "challenger"
    stages = [one["stage"] for one in json.loads((folder / "history.json").read_text())["stages"]]
    assert stages == ["start", "freeze", "retrain"], "no warm-up, and nothing of the night before"
    before = home.work("shop", date(2026, 3, 6)) / "train" / "challenger"
    assert load(folder).card.stats == load(before).card.stats, "the scale that the weights know"
    assert set(second["unknown"]) == {"feed", "search"}
    assert set(second["unknown"]["feed"]) == {"c_user_id", "c_item_id", "c_place"}

    fewer = warm.features.model_copy(update={"numbers": warm.features.numbers[:-1]})
    with pytest.raises(TrainingError, match="version 2 can't be gone on from: column 'n_flat' is"):
        run(date(2026, 3, 8), spec=warm.model_copy(update={"features": fewer}))
