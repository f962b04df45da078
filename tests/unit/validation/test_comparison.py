"""Champion against challenger: verdicts, tolerance, corrections for many cells."""

import json

import numpy as np
import pytest

from features.spec import Layout
from features.spec.policy import Gate
from validation.cells import judged
from validation.comparison import compare, differences
from validation.gate import decide, sanity
from validation.metrics import by_cell
from validation.statistic import measure

SHOP = Layout(scenarios=("feed", "live"), tasks=("click", "buy"), columns=())


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def market(n=8000, seed=1):
    """Return the true logits, labels, scenario and users of a made-up market, feed 4 to live 1."""
    rng = np.random.default_rng(seed)
    logits = rng.normal([-1.0, -2.0], 1.2, (n, 2))
    labels = (rng.random((n, 2)) < sigmoid(logits)).astype(float)
    return logits, labels, (rng.random(n) < 0.2).astype(int), rng.integers(0, n // 4, n)


def blurred(logits, amount, seed=5, rows=slice(None)):
    """Return the predictions of a model that knows the logits up to noise in the given rows."""
    noise = np.zeros_like(logits)
    noise[rows] = np.random.default_rng(seed).normal(0, amount, logits[rows].shape)
    return sigmoid(logits + noise)


def verdicts(found):
    return {(one.scenario, one.task): one.verdict for one in found}


@pytest.mark.parametrize("measure", ["logloss", "auc"])
def test_a_model_that_knows_more_is_better_and_the_other_way_round_worse(measure):
    logits, *rest = market()
    knows, guesses = sigmoid(logits), blurred(logits, 1.5)
    forth = compare(guesses, knows, *rest, SHOP, measure=measure)
    back = compare(knows, guesses, *rest, SHOP, measure=measure)
    assert set(verdicts(forth).values()) == {"better"}
    assert set(verdicts(back).values()) == {"worse"}
    for one, other in zip(forth, back, strict=True):
        assert one.difference == pytest.approx(-other.difference)
        assert one.worsening < 0 < other.worsening


@pytest.mark.parametrize("measure", ["logloss", "auc"])
def test_a_model_against_itself_is_the_same_everywhere(measure):
    logits, *rest = market()
    model = blurred(logits, 0.5)
    found = compare(model, model.copy(), *rest, SHOP, measure=measure)
    assert set(verdicts(found).values()) == {"same"}
    assert all((one.difference, one.p) == (0, 1) for one in found)


def test_cells_tasks_and_the_whole_are_all_there():
    logits, *rest = market()
    found = compare(sigmoid(logits), blurred(logits, 0.2), *rest, SHOP)
    assert [(one.scenario, one.task) for one in found] == [
        ("feed", "click"), ("feed", "buy"), ("live", "click"), ("live", "buy"),
        ("", "click"), ("", "buy"), ("", ""),
    ]  # fmt: skip
    assert found[0].name == "feed × click"
    assert found[-1].name == "overall"


def test_a_loss_in_one_scenario_is_seen_there_though_the_whole_gains():
    logits, labels, scenario, users = market(20_000)
    champion = blurred(logits, 0.8, rows=scenario == 0)
    challenger = blurred(logits, 0.8, rows=scenario == 1)
    found = verdicts(compare(champion, challenger, labels, scenario, users, SHOP))
    assert found["live", "click"] == "worse"
    assert found["feed", "click"] == "better"
    assert found["", ""] == "better"


def test_a_loss_within_the_tolerance_is_no_worsening_of_a_cell_but_one_of_the_whole():
    logits, *rest = market(40_000)
    champion, challenger = sigmoid(logits), blurred(logits, 0.3)
    strict = verdicts(compare(champion, challenger, *rest, SHOP))
    loose = verdicts(compare(champion, challenger, *rest, SHOP, tolerance=0.05))
    assert strict["feed", "click"] == "worse"
    assert loose["feed", "click"] == "same"
    assert loose["", ""] == "worse"


def test_each_cell_may_have_a_tolerance_of_its_own():
    logits, *rest = market(40_000)

    def allowed(scenario: str, task: str) -> float:
        return 0.05 if (scenario, task) == ("feed", "click") else 0.0

    found = compare(sigmoid(logits), blurred(logits, 0.3), *rest, SHOP, tolerance=allowed)
    assert verdicts(found)["feed", "click"] == "same"
    assert verdicts(found)["live", "click"] == "worse"


def test_too_few_positives_leave_a_cell_unjudged_and_out_of_the_whole():
    logits, labels, scenario, users = market(1000)
    labels[:, 1] = 0
    labels[:5, 1] = 1
    found = compare(blurred(logits, 1), sigmoid(logits), labels, scenario, users, SHOP, minimum=30)
    assert verdicts(found)["feed", "buy"] == "insufficient"
    whole, click = found[-1], next(one for one in found if one.name == "click")
    assert whole.difference == click.difference


def test_cells_without_labels_are_left_out():
    logits, labels, scenario, users = market(1000)
    labels[scenario == 1, 1] = np.nan
    found = compare(sigmoid(logits), sigmoid(logits), labels, scenario, users, SHOP)
    assert ("live", "buy") not in verdicts(found)


def test_predictions_that_are_not_finite_are_not_judged():
    logits, labels, scenario, users = market(1000)
    broken = sigmoid(logits)
    broken[:, 0] = np.inf
    found = verdicts(compare(sigmoid(logits), broken, labels, scenario, users, SHOP))
    assert found["feed", "click"] == "insufficient"
    assert found["feed", "buy"] == "same"


def test_many_equal_cells_seldom_give_a_single_false_alarm():
    layout = Layout(scenarios=tuple(f"s{k}" for k in range(10)), tasks=("click",), columns=())
    alarms = 0
    for run in range(100):
        rng = np.random.default_rng([3, run])
        logits = rng.normal(-1, 1, (2000, 1))
        labels = (rng.random((2000, 1)) < sigmoid(logits)).astype(float)
        models = [sigmoid(logits + rng.normal(0, 0.4, logits.shape)) for _ in range(2)]
        found = compare(
            *models, labels, rng.integers(0, 10, 2000), np.arange(2000), layout, replicates=100
        )
        alarms += any(one.verdict == "worse" for one in found if one.scenario)
    assert alarms <= 8


def test_the_decision_and_its_evidence_are_json():
    logits, *rest = market(2000)
    comparisons = compare(sigmoid(logits), blurred(logits, 0.5), *rest, SHOP)
    metrics = by_cell(sigmoid(logits), *rest, SHOP)
    decision = decide(Gate(), comparisons, True, sanity(sigmoid(logits), rest[0], metrics))
    said = json.loads(json.dumps(decision.to_json(), allow_nan=False))
    assert said["cells"][0]["scenario"] == "feed"
    assert said["checks"][0]["name"] == "finite"


def paired(before, after, labels, scenario, users, **options):
    """Return what two models differ by, in every measure and group."""
    samples = judged(labels, scenario, users, SHOP, **options)
    measured = [measure(model, samples, replicates=300) for model in (before, after)]
    found = differences(*measured, samples, confidence=0.95, minimum=30)
    names = {group: tuple(samples.names(group).values()) for _, group in found}
    return {(name, *names[group]): one for (name, group), one in found.items()}


def test_every_measure_has_a_paired_difference_in_cells_slices_and_the_whole():
    logits, labels, scenario, users = market()
    new = np.arange(len(users)) % 3 == 0
    found = paired(
        blurred(logits, 1.5), sigmoid(logits), labels, scenario, users, slices={"new": new}
    )
    for name, better in (("auc", 1), ("gauc", 1), ("logloss", -1), ("ne", -1), ("ece", -1)):
        for place in (("feed", "click", ""), ("", "click", "new"), ("", "click", ""), ("", "", "")):
            one = found[name, *place]
            assert one.change.value * better > 0
            assert one.change.low < one.change.value < one.change.high
            assert one.p < 0.05


def test_a_paired_difference_is_surer_than_two_intervals_apart():
    logits, *rest = market()
    before, after = blurred(logits, 0.3), sigmoid(logits)
    found = paired(before, after, *rest)
    alone = next(
        it for it in by_cell(after, *rest, SHOP) if (it.scenario, it.task) == ("", "click")
    )
    for name in ("auc", "logloss"):
        change, own = found[name, "", "click", ""].change, getattr(alone, name)
        assert change.high - change.low < 0.6 * (own.high - own.low)


def test_p_values_are_corrected_within_cells_and_slices_apart():
    logits, *rest = market()
    before, after = blurred(logits, 0.25), blurred(logits, 0.2, seed=6)
    halves = {f"part{part}": np.arange(8000) % 2 == part for part in range(2)}
    plain, sliced = paired(before, after, *rest), paired(before, after, *rest, slices=halves)
    assert all(sliced[place].p == pytest.approx(one.p) for place, one in plain.items())


def test_a_cell_that_does_not_suffice_has_no_difference():
    logits, labels, scenario, users = market(1000)
    labels[scenario == 1, 1] = 0
    found = paired(blurred(logits, 1), sigmoid(logits), labels, scenario, users)
    assert ("logloss", "live", "buy", "") not in found
    assert ("logloss", "live", "click", "") in found


def test_labels_of_a_few_users_are_insufficient_however_sure_they_look():
    logits, labels, scenario, users = market(2000)
    found = compare(blurred(logits, 1), sigmoid(logits), labels, scenario, users % 3, SHOP)
    assert set(verdicts(found).values()) == {"insufficient"}
