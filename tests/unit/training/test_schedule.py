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


def decided(spec, *versions, night=NIGHT):
    return decide(spec, layout_of(spec), night, versions)


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


def test_instance_gates_are_searched_every_night(spec):
    search = spec.training.search.model_copy(update={"gates": "instance"})
    changed = spec.model_copy(
        update={"training": spec.training.model_copy(update={"search": search})}
    )
    assert decided(changed, version(changed, 4, "2026-01-19", "2026-01-19")).search


def test_a_model_without_flows_searches_nothing(spec):
    changed = spec.model_copy(
        update={"training": spec.training.model_copy(update={"model": "shared_bottom"})}
    )
    assert not decided(changed).search
    assert decided(changed).searched_on is None
