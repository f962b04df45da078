"""What may be done with a version: promoted, rolled back to, rejected, retired."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from features.errors import (
    ApprovalError,
    ChampionChangedError,
    RegistryError,
    UnknownVersionError,
    VersionInUseError,
)
from training.decisions import approve, promote, reject, retire, rollback
from training.trail import event
from training.versions import Held, Version


def version(number: str, *aliases: str, **tags: str) -> Version:
    return Version(
        version=number,
        run_id=f"run{number}",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        source=f"/models/{number}",
        tags=tags,
        aliases=aliases,
    )


FIRST = event((), "promote", "anna", after="1")
SECOND = event((FIRST,), "promote", "anna", before="1", after="2")
HELD = Held(
    product="shop",
    versions=[
        version("4", "challenger"),
        version("3"),
        version("2", "champion"),
        version("1"),
        version("0", pinned="the paper's model"),
    ],
    trail=(FIRST, SECOND),
)


def test_a_promotion_says_from_whom_to_whom_by_whom_and_why():
    done = promote(HELD, "4", "2", "bob", "better")
    assert (done.number, done.before, done.after, done.who, done.why) == (
        3,
        "2",
        "4",
        "bob",
        "better",
    )
    assert promote(HELD, "challenger", None, "bob", "").after == "4"


@pytest.mark.parametrize("expect", ["2", "1", None])
def test_the_champion_is_promoted_to_nothing(expect):
    assert promote(HELD, "2", expect, "bob", "") is None


@pytest.mark.parametrize("expect", ["1", "none"])
def test_another_champion_than_expected_refuses_promotion_and_rollback(expect):
    for ask in (
        lambda: promote(HELD, "4", expect, "bob", ""),
        lambda: rollback(HELD, expect, "", ""),
    ):
        with pytest.raises(ChampionChangedError, match=f"is version 2 and not {expect}"):
            ask()


@pytest.mark.parametrize("number", ["9", "latest", "-1", ""])
def test_an_unknown_version_is_answered_with_those_there_are(number):
    for ask in (
        lambda: promote(HELD, number, None, "bob", ""),
        lambda: reject(HELD, number, "bob", ""),
        lambda: retire(HELD, number, "bob", ""),
    ):
        with pytest.raises(UnknownVersionError, match="registered: 4, 3, 2, 1, 0 "):
            ask()


def test_of_consent_and_refusal_the_first_counts():
    held = replace(HELD, trail=(*HELD.trail, reject(HELD, "4", "carol", "too slow")))
    with pytest.raises(ApprovalError, match="version 4 of shop was refused by carol at 20"):
        approve(held, "4", "2", "bob", "")
    assert promote(held, "4", "2", "bob", "all the same").after == "4"
    assert approve(HELD, "4", "2", "bob", "").after == "4"
    with pytest.raises(ApprovalError, match="version 2 of shop is champion already; go back"):
        reject(HELD, "2", "carol", "")


def test_a_rollback_goes_to_the_champion_before_if_it_still_is_there():
    assert rollback(HELD, "2", "bob", "").after == "1"
    with pytest.raises(RegistryError, match="no earlier champion"):
        rollback(replace(HELD, trail=()), None, "bob", "")
    gone = replace(HELD, versions=HELD.versions[:3])
    with pytest.raises(UnknownVersionError, match="no model version 1; registered: 4, 3, 2 "):
        rollback(gone, None, "bob", "")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("2", "it is the champion"),
        ("4", "it is the challenger"),
        ("0", r"it is pinned \(the paper's model\)"),
        ("1", "a rollback goes back to it"),
    ],
)
def test_a_version_that_is_needed_is_not_retired(number, reason):
    with pytest.raises(VersionInUseError, match=f"version {number} of shop stays: {reason}"):
        retire(HELD, number, "bob", "")


def test_a_version_on_its_way_out_is_not_promoted_and_may_be_retired_again():
    begun = retire(HELD, "3", "bob", "")
    assert (begun.version, begun.state) == ("3", "begun")
    held = replace(HELD, trail=(*HELD.trail, begun))
    assert retire(held, "3", "carol", "") == begun
    with pytest.raises(VersionInUseError, match="version 3 of shop is being retired"):
        promote(held, "3", None, "bob", "")
