from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dags.day import asked, day_of, is_backfill
from dags.factory import samples_arguments, train_arguments


def context(key=None, run_type="manual", events=None, **params):
    run = SimpleNamespace(partition_key=key, run_type=SimpleNamespace(value=run_type))
    return {
        "dag_run": run,
        "params": params,
        "triggering_asset_events": {"asset": events or []},
    }


def event(**extra):
    return SimpleNamespace(extra=extra)


def test_the_partition_key_says_which_day_it_is():
    assert day_of(context("2026-11-10", day="2026-01-01")) == "2026-11-10"


def test_without_a_partition_key_the_parameter_says_it():
    assert day_of(context(day="2026-01-01")) == "2026-01-01"


def test_a_run_without_a_day_fails_and_says_how_to_give_one():
    with pytest.raises(AirflowFailException, match="trigger it with a partition key such as 2026"):
        day_of(context())


@pytest.mark.parametrize("key", ["today", "2026-02-30", "2026-11-10T00:00:00"])
def test_a_key_that_is_no_day_fails_and_names_it(key):
    with pytest.raises(AirflowFailException, match=f"'{key}' is not a day"):
        day_of(context(key))


@pytest.mark.parametrize(
    ("run_type", "expected"), [("backfill", True), ("manual", False), ("scheduled", False)]
)
def test_a_backfill_is_known_by_the_value_of_its_run_type(run_type, expected):
    assert is_backfill(context("2026-11-10", run_type)) is expected


def test_an_option_is_taken_from_the_run_before_its_announcement():
    assert asked(context(events=[event(source="/b")], source="/a"), "source") == "/a"
    assert asked(context(events=[event(source="/b")], source=None), "source") == "/b"
    assert asked(context(source=None), "source") is None


def test_a_night_makes_its_day():
    assert samples_arguments(context("2026-11-10", to=None)) == ["night", "--ds", "2026-11-10"]


def test_a_backfill_makes_its_day_and_may_go_ahead_to_the_last():
    found = samples_arguments(context("2026-11-10", "backfill", to="2026-11-12", source="/raw"))
    assert found == ["ahead", "--ds", "2026-11-10", "--to", "2026-11-12", "--source", "/raw"]


def test_a_backfill_that_does_not_say_its_end_goes_night_by_night():
    found = samples_arguments(context("2026-11-10", "backfill", to=None))
    assert found == ["night", "--ds", "2026-11-10"]


def test_training_again_is_asked_of_the_run_or_of_the_samples_before_it():
    day = ["--ds", "2026-11-10"]
    assert train_arguments(context("2026-11-10", retrain=False)) == day
    assert train_arguments(context("2026-11-10", retrain=True)) == [*day, "--retrain"]
    announced = context("2026-11-10", events=[event(retrain=True)], retrain=False)
    assert train_arguments(announced) == [*day, "--retrain"]
