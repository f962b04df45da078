from datetime import date

import pytest

from features.spec import layout_of, load_spec
from training.schedule import decide, search_key

NIGHT = date(2026, 1, 20)


@pytest.fixture
def spec():
    return load_spec("bazaar")


def version(spec, number, ds, searched_on, **tags):
    key = search_key(spec, layout_of(spec))
    return str(number), {"ds": ds, "searched_on": searched_on, "search_key": key, **tags}


def decided(spec, *versions, night=NIGHT, evaluated=lambda _: {}):
    return decide(spec, layout_of(spec), night, versions, evaluated)


def test_the_first_night_searches(spec):
    found = decided(spec)
    assert (found.search, found.searched_on, found.previous) == (True, NIGHT, None)


@pytest.mark.parametrize(
    ("searched", "again"),
    [("2026-01-19", False), ("2026-01-14", False), ("2026-01-13", True), ("2026-01-01", True)],
)
def test_flows_are_searched_every_seven_nights_and_frozen_in_between(spec, searched, again):
    found = decided(spec, version(spec, 4, "2026-01-19", searched))
    assert found.search is again
    assert found.previous == "4"
    assert found.searched_on == (NIGHT if again else date.fromisoformat(searched))


def test_the_newest_night_before_this_one_counts(spec):
    found = decided(
        spec,
        version(spec, 1, "2026-01-10", "2026-01-01"),
        version(spec, 2, "2026-01-18", "2026-01-16"),
        version(spec, 3, "2026-01-18", "2026-01-17"),
        version(spec, 4, "2026-01-20", "2026-01-20"),
        version(spec, 5, "2026-02-01", "2026-02-01"),
    )
    assert (found.search, found.previous) == (False, "3")


def test_other_scenarios_or_settings_are_searched_anew(spec):
    old = version(spec, 4, "2026-01-19", "2026-01-19", search_key="another")
    assert decided(spec, old).search
    network = spec.training.network.model_copy(update={"rank": 9})
    changed = spec.model_copy(
        update={"training": spec.training.model_copy(update={"network": network})}
    )
    assert decided(changed, version(spec, 4, "2026-01-19", "2026-01-19")).search


@pytest.mark.parametrize(("masks", "again"), [("rows", True), ("cells", False)])
def test_masks_that_a_net_decides_row_by_row_are_searched_every_night(spec, masks, again):
    held = version(spec, 4, "2026-01-19", "2026-01-19", masks=masks)
    assert decided(spec, held).search is again


def finding(measure, severity="warn"):
    return {"drift": {"findings": [{"measure": measure, "severity": severity, "text": "it moved"}]}}


def compared(verdict):
    return {"comparisons": [{"scenario": "feed", "task": None, "verdict": verdict}]}


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [
        ({}, None),
        (finding("psi"), None),
        (finding("psi", "stop"), "it moved"),
        (finding("label-rate"), "it moved"),
        (finding("prediction-psi"), "it moved"),
        (compared("same"), None),
        (compared("worse"), "worse than the champion in feed"),
    ],
)
def test_a_night_searches_early_when_the_last_one_recorded_drift_or_got_worse(
    spec, recorded, reason
):
    nights = [version(spec, 4, "2026-01-19", "2026-01-18")]
    found = decided(spec, *nights, evaluated=lambda night: recorded if night.day == 19 else {})
    assert found.search is (reason is not None)
    assert reason is None or found.reason == f"night of 2026-01-19: {reason}"
    search = spec.training.search.model_copy(update={"on_drift": False})
    calm = spec.model_copy(update={"training": spec.training.model_copy(update={"search": search})})
    held = version(
        spec, 4, "2026-01-19", "2026-01-18", search_key=search_key(calm, layout_of(calm))
    )
    assert not decided(calm, held, evaluated=lambda _: recorded).search


def test_a_model_without_flows_searches_nothing(spec):
    changed = spec.model_copy(
        update={"training": spec.training.model_copy(update={"model": "shared_bottom"})}
    )
    assert not decided(changed).search
    assert decided(changed).searched_on is None
