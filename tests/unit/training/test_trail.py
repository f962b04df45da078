"""The trail of champions: what is read off it, and how it is mended."""

from dataclasses import replace

import pytest

from training.trail import Event, champion_of, changed, earlier, event, leaving, mend, read_trail


def moves(*steps: tuple[str, str | None, str | None]) -> tuple[Event, ...]:
    """Return a trail of (action, from, to)."""
    trail: tuple[Event, ...] = ()
    for action, before, after in steps:
        trail = (*trail, event(trail, action, "anna", before=before, after=after))
    return trail


UP = moves(("promote", None, "1"), ("promote", "1", "2"), ("promote", "2", "3"))


def test_events_are_numbered_and_come_back_from_their_tags_in_order():
    trail = (*UP, event(UP, "reject", "bob", "too old", version="4"))
    assert [one.number for one in trail] == [1, 2, 3, 4]
    tags = {one.key: one.value for one in reversed(trail)}
    assert read_trail({**tags, "team": "ranking"}) == trail


def test_a_long_reason_is_cut_to_what_a_tag_takes():
    said = event((), "promote", "anna", "x" * 9000, after="1").value
    assert len(said) < 1500


@pytest.mark.parametrize(
    ("trail", "champion", "back"),
    [
        ((), None, ()),
        (UP, "3", ("1", "2")),
        ((*UP, *moves(*[("promote", None, None)] * 3, ("rollback", "3", "2"))[3:]), "2", ("1",)),
        (moves(("observe", None, "7"), ("promote", "7", "8")), "8", ("7",)),
        ((*UP[:2], replace(UP[2], state="dropped")), "2", ("1",)),
        ((*UP[:2], replace(UP[2], state="begun")), "2", ("1",)),
    ],
)
def test_who_is_champion_and_where_rollbacks_go_is_read_off_the_trail(trail, champion, back):
    assert (champion_of(trail), earlier(trail)) == (champion, back)


def test_a_promotion_that_was_cut_off_is_settled_by_the_alias():
    cut = (*UP[:2], replace(UP[2], state="begun"))
    assert [one.state for one in mend(cut, "3", ["1", "2", "3"])] == ["done"] * 3
    assert [one.state for one in mend(cut, "2", ["1", "2", "3"])] == ["done", "done", "dropped"]


def test_an_alias_that_was_moved_by_hand_is_written_down():
    *_, last = mend(UP, "2", ["1", "2", "3"])
    assert (last.action, last.who, last.before, last.after) == ("observe", "unknown", "3", "2")
    *_, last = mend(UP, None, ["1", "2"])
    assert (last.before, last.after) == ("3", None)
    assert mend((), "5", ["5"])[0].after == "5"


def test_a_trail_that_says_what_is_the_case_is_left_alone():
    assert mend(UP, "3", ["1", "2", "3"]) == UP
    assert mend((), None, []) == ()


def test_a_version_is_leaving_until_it_is_gone():
    begun = (*UP, event(UP, "retire", "anna", version="1", state="begun"))
    assert leaving(mend(begun, "3", ["1", "2", "3"])) == {"1"}
    ended = mend(begun, "3", ["2", "3"])
    assert leaving(ended) == set()
    assert changed(begun, ended) == [replace(begun[-1], state="done")]
