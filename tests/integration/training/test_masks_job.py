"""``masks explain`` on a registered version of a small encoded table."""

from datetime import date

import numpy as np
import pytest

from features.errors import TrainingError
from features.spec import FLOWS
from jobs.masks import shelf
from jobs.masks.explain import explain
from jobs.register import register
from jobs.train import train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("store")]
CELLS = [("feed", "click"), ("feed", "buy"), ("search", "click")]


@pytest.fixture
def night(shop, shop_lake, home):
    """Return a function that trains and registers a night."""

    def run(day: int, spec=shop) -> None:
        given = {"spec": spec, "lake": shop_lake, "home": home, "day": date(2026, 3, day)}
        train(**given)
        register(**given)

    return run


def changed(spec, **training):
    return spec.model_copy(update={"training": spec.training.model_copy(update=training)})


def test_a_versions_flows_are_explained_and_held_against_other_masks(
    night, shop, shop_lake, home, tmp_path, monkeypatch
):
    night(5)
    night(8)
    given = {"spec": shop, "lake": shop_lake, "home": home, "model": "2", "seeds": 2}
    out = tmp_path / "masks.md"
    found = explain(**given, out=out)

    cells = [(one["scenario"], one["task"]) for one in found["flows"]]
    assert sorted(set(cells)) == sorted(CELLS) and len(cells) == len(CELLS) * len(FLOWS)
    known = [one["loss"] for one in found["flows"] if one["loss"]["value"] is not None]
    assert known and all(one["low"] <= one["value"] <= one["high"] for one in known)
    assert max(one["value"] for one in known) > 0, "some flow helps"
    assert np.isclose(sum(one["share"] for one in found["flows"]), len(CELLS))

    what = [one["what"] for one in found["agreements"]]
    assert what == [
        "the start of its search",
        "version 1, searched 2026-03-05",
        "searches with 2 seeds",
    ]
    rivals = {one["name"]: one for one in found["rivals"]}
    assert rivals["none pruned"]["kept"] == 1.0 and rivals["all pruned"]["strength"] == 0.0
    assert rivals["random, as many"]["kept"] == pytest.approx(rivals["this model's masks"]["kept"])
    assert rivals["this model's masks"]["difference"] is None
    assert rivals["all pruned"]["difference"]["value"] > 0, "a bias a cell is worse"
    assert found["message"] == out.read_text()
    assert "\n- all pruned: " in found["message"]

    monkeypatch.setattr(shelf.night, "fit", None)
    assert explain(**given, out=None)["rivals"] == found["rivals"], "kept trainings are not redone"


def test_without_seeds_nothing_is_trained(night, shop, shop_lake, home, monkeypatch):
    night(8)
    monkeypatch.setattr(shelf.night, "fit", None)
    given = {"spec": shop, "lake": shop_lake, "home": home, "seeds": 0, "out": None}
    found = explain(**given, model="challenger")
    assert found["rivals"] == [] and len(found["flows"]) == 12


def test_a_version_without_flows_or_of_another_spec_is_one_clear_sentence(
    night, shop, shop_lake, home
):
    night(8, changed(shop, model="shared_bottom"))
    given = {"lake": shop_lake, "home": home, "model": "1", "seeds": 0, "out": None}
    with pytest.raises(TrainingError, match="version 1 of shop is a shared_bottom, which has no"):
        explain(spec=shop, **given)
    night(7)
    fewer = shop.model_copy(update={"tasks": {"click": shop.tasks["click"]}})
    with pytest.raises(TrainingError, match="was trained for other scenarios or tasks"):
        explain(spec=fewer, **{**given, "model": "2"})
