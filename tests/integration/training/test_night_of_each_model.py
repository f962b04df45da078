"""A night with a model of each kind: one line of the spec, from training to the report."""

from datetime import date

import pytest

from features.spec.load import parse_spec
from jobs.evaluate import evaluate
from jobs.gate import gate
from jobs.register import register
from jobs.report import report
from jobs.runs import record
from jobs.train import registry_of, train
from tests.integration.training.conftest import SHOP
from training.zoo import MODELS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("store")]
REPORTED = SHOP + "gate: {mode: report}\n"
"""The gate only says what it thinks: some networks are no better than chance after so short a
training, and what a promotion makes of each model is tested beside its serving bundle."""
EVERY_TIME = ("autoifs", "m3oe", "aitm", "lightgbm")
"""With flows, with rows held out, with a loss of its own, and no network; after training, the night
of every other model takes the way of one of these, so it is walked in the long run only."""
STEPS = {"train": train, "register": register, "evaluate": evaluate, "gate": gate, "report": report}


@pytest.mark.parametrize(
    "kind",
    [pytest.param(one, marks=() if one in EVERY_TIME else pytest.mark.long) for one in MODELS],
)
def test_one_line_of_the_spec_gives_a_whole_night_of_another_model(home, shop_lake, kind):
    line = f"training:\n  model: {kind}"
    spec = parse_spec(REPORTED.replace("training:", line), "shop.yaml")
    day = date(2026, 3, 8)
    said = {}
    # The gate loads the model in a process of its own, which takes long; once is enough for trees.
    steps = [name for name in STEPS if name != "gate" or kind == "lightgbm"]
    for name, step in ((name, STEPS[name]) for name in steps):
        said[name] = step(spec=spec, lake=shop_lake, home=home, day=day)
        record(shop_lake, day, name, 1.0, said[name])
    version = registry_of(spec, home).get(said["register"]["version"])
    assert version.tags["model"] == kind
    assert kind != "lightgbm" or said["gate"]["verdict"] == "reported"
    cells = {(one["scenario"], one["task"]): one for one in said["evaluate"]["cells"]}
    for name in ("auc", "logloss", "baseline_auc", "difference"):
        assert (cells["feed", "click"][name] is None) == (name == "difference"), "no champion yet"
    assert any(str(day) in path.name for path in home.reports("shop").rglob("*.html"))
