"""What may be done with a version, given all that is held: pure, and asked under the lock."""

from features.errors import (
    ApprovalError,
    ChampionChangedError,
    RegistryError,
    VersionInUseError,
)
from training.trail import Event, event, leaving
from training.versions import PINNED, Held


def approve(held: Held, version: str, expect: str | None, who: str, why: str) -> Event | None:
    """Return the event of a person's consent to ``version``, unless another person refused it.

    Raises:
        ApprovalError: it was refused.
        UnknownVersionError, ChampionChangedError, VersionInUseError: it may not be promoted.
    """
    number = held.get(version).version
    for one in held.trail:
        if one.action == "reject" and one.version == number:
            raise ApprovalError(
                f"version {number} of {held.product} was refused by {one.who} at {one.at}; promote "
                "it all the same: autoifs models promote"
            )
    return promote(held, version, expect, who, why)


def promote(held: Held, version: str, expect: str | None, who: str, why: str) -> Event | None:
    """Return the event that makes ``version`` champion; None when it is already.

    Also whoever expected another champion then has what was wanted: a command that was cut off
    after it had promoted may be run again.

    Raises:
        UnknownVersionError, ChampionChangedError, VersionInUseError: it may not.
    """
    number = held.get(version).version
    if number == held.champion:
        return None
    _check_expected(held, expect)
    if number in leaving(held.trail):
        raise VersionInUseError(
            f"version {number} of {held.product} is being retired; end that "
            f"(autoifs models retire {number}) and promote another version"
        )
    return event(held.trail, "promote", who, why, before=held.champion, after=number)


def rollback(held: Held, expect: str | None, who: str, why: str) -> Event:
    """Return the event that makes the champion before the present one champion again.

    Raises:
        RegistryError, UnknownVersionError, ChampionChangedError: there is no way back.
    """
    _check_expected(held, expect)
    if not held.earlier:
        raise RegistryError(
            f"{held.product} has no earlier champion to roll back to; "
            "promote a version by number: autoifs models promote"
        )
    back = held.get(held.earlier[-1]).version
    return event(held.trail, "rollback", who, why, before=held.champion, after=back)


def reject(held: Held, version: str, who: str, why: str) -> Event:
    """Return the event of a person's refusal of ``version``.

    Raises:
        UnknownVersionError: there is none.
        ApprovalError: it is champion already.
    """
    number = held.get(version).version
    if number == held.champion:
        raise ApprovalError(
            f"version {number} of {held.product} is champion already; go back: "
            "autoifs models rollback"
        )
    return event(held.trail, "reject", who, why, version=number)


def retire(held: Held, version: str, who: str, why: str) -> Event:
    """Return the event that begins to retire ``version``, or has begun to.

    Raises:
        UnknownVersionError, VersionInUseError: it stays.
    """
    one = held.get(version)
    reasons = [f"it is the {alias}" for alias in one.aliases]
    if PINNED in one.tags:
        why_pinned = f" ({one.tags[PINNED]})" if one.tags[PINNED] else ""
        reasons.append(f"it is pinned{why_pinned}, see autoifs models unpin")
    if one.version in held.earlier[-1:]:
        reasons.append("a rollback goes back to it")
    if reasons:
        raise VersionInUseError(
            f"version {one.version} of {held.product} stays: {'; '.join(reasons)}"
        )
    begun = [e for e in held.trail if e.version == one.version and e.state == "begun"]
    fresh = event(held.trail, "retire", who, why, version=one.version, state="begun")
    return begun[0] if begun else fresh


def _check_expected(held: Held, expect: str | None) -> None:
    now = held.champion or "none"
    if expect is not None and now != str(expect):
        raise ChampionChangedError(
            f"the champion of {held.product} is version {now} and not {expect}: it changed "
            "since; evaluate against it and decide again"
        )
