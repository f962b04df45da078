import pytest

from features.errors import UserError
from jobs.capacity.calendar import Calendar, read_calendar
from jobs.capacity.nights import Simulation
from jobs.capacity.report import nights

USUAL = {
    "nights": 5,
    "deadline": 6,
    "hours": {"make": 1.0, "train": 2.0, "judge": 0.5},
    "slots": {"spark": 1, "train": 1},
    "retry_after": 0.25,
}


def ended(events=(), **changes):
    """Return night → hours after its day, of a calendar with one product."""
    simulation = Simulation(Calendar(**{**USUAL, **changes}, events=events))
    simulation.run()
    return {night.night: night.ended for night in simulation.nights}


def lost(night, events=(), **changes):
    simulation = Simulation(Calendar(**{**USUAL, **changes}, events=events))
    simulation.run()
    return dict(simulation.nights[night - 1].lost)


def test_undisturbed_nights_take_what_their_jobs_take():
    assert ended() == dict.fromkeys(range(1, 6), 3.5)
    assert lost(1) == {}


def test_late_data_delay_their_own_night_alone():
    events = [{"night": 2, "late": 4}]
    assert ended(events)[2] == 7.5
    assert ended(events)[3] == 3.5
    assert lost(2, events) == {"late data": 4}


def test_a_job_that_starts_over_costs_its_work_again_and_the_pause():
    events = [{"night": 1, "fails": "make", "at": 0.5, "times": 2}]
    assert ended(events)[1] == pytest.approx(3.5 + 2 * (0.5 + 0.25))
    assert lost(1, events) == {"retries": pytest.approx(1.5)}


def test_a_training_goes_on_from_its_checkpoint():
    events = [{"night": 1, "fails": "train", "at": 0.5}]
    assert ended(events)[1] == pytest.approx(3.5 + 0.25)
    assert ended(events, resumes=())[1] == pytest.approx(3.5 + 1.0 + 0.25)


def test_a_job_that_fails_every_time_is_given_up_and_the_next_night_goes_on():
    events = [{"night": 1, "fails": "make", "times": 3}]
    assert ended(events)[1] is None
    assert ended(events)[2] == 3.5


def test_products_that_share_slots_wait_for_each_other():
    simulation = Simulation(Calendar(**USUAL, products=2))
    simulation.run()
    first, second = simulation.nights[:2]
    assert (first.ended, second.ended) == (3.5, pytest.approx(6.0))
    assert second.lost == {"waiting for spark": 1.0, "waiting for train": 1.5}
    assert simulation.busy["train"] == pytest.approx(5 * 2 * 2.5)


def test_a_backfill_lets_a_night_in_after_the_day_that_it_is_at():
    events = [{"night": 1, "backfill": 30}]
    found = ended(events)
    # The night and the backfill are ready at once; the night goes first.
    assert found[1] == 3.5
    assert all(hours <= 3.5 + 1.0 for hours in found.values())


def test_tables_have_one_writer_however_many_slots_the_machines_have():
    simulation = Simulation(
        Calendar(
            **{**USUAL, "slots": {"spark": 8, "train": 1}}, events=[{"night": 1, "backfill": 9}]
        )
    )
    simulation.run()
    assert simulation.backfills[0].ended == pytest.approx(10.0)


def test_days_that_grow_make_a_night_miss_its_deadline_one_day():
    events = [{"night": night, "growth": 1.3} for night in range(2, 6)]
    found = ended(events)
    assert [night for night, hours in found.items() if hours > 6] == [4, 5]


def test_in_an_outage_nothing_runs_and_no_try_is_used_up():
    events = [{"night": 2, "outage": 5}]
    assert ended(events)[2] == 8.5
    assert lost(2, events) == {"outage": 5}
    assert lost(3, events) == {}
    held_up = [*events, {"night": 1, "late": 23}]
    # A day's samples were half made when it went out; they start over afterwards, first.
    assert ended(held_up, attempts=1)[1] == pytest.approx(24 + 5 + 3.5)
    assert lost(1, held_up)["outage"] == pytest.approx(1.0 + 5.0)


@pytest.fixture
def calendar(tmp_path):
    """Return a function that writes a calendar and returns its path."""

    def write(text: str):
        path = tmp_path / "calendar.yaml"
        path.write_text(text)
        return path

    return write


TEXT = """
nights: 3
deadline: 3
hours: {make: 1, train: 2, judge: 0.5}
slots: {spark: 1, train: 1}
events: [{night: 2, late: 1.5}]
"""


def test_missed_deadlines_are_told_with_what_cost_the_time(calendar):
    found = nights(path=calendar(TEXT))
    assert found["first_missed"] == (
        "night 1 ended 3.5 h after its day, due after 3 h (its jobs alone take longer)"
    )
    assert found["missed"][1] == (
        "night 2 ended 5.0 h after its day, due after 3 h (late data 1.5 h)"
    )
    assert nights(path=calendar(TEXT.replace("deadline: 3", "deadline: 5")))["missed"] == []


def test_slots_can_be_tried_without_changing_the_file(calendar):
    text = TEXT.replace("nights: 3", "nights: 3\nproducts: 3").replace("deadline: 3", "deadline: 6")
    few, many = nights(path=calendar(text)), nights(path=calendar(text), slots={"train": 3})
    assert len(few["missed"]) > len(many["missed"])
    assert many["slots"] == {"spark": 1, "train": 3}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("deadline: 3", "calendar.yaml: deadline: "),
        ("slots: {spark: 1, train: 1}", "calendar.yaml: slots: "),
        ("late: 1.5", "calendar.yaml: events.0: .*exactly one of late, fails"),
    ],
)
def test_what_is_missing_is_told_with_its_place(calendar, wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        read_calendar(calendar(TEXT.replace(wrong, "night: 2" if "late" in wrong else "")))
