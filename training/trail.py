"""Who made which version champion, when and why: the trail that every change leaves.

An event is a tag ``trail.<number>`` of the registered model, so that it lies where the alias lies.
Where both can't be written in one transaction, an event is written first as begun; what became of
it is read off the alias, by whoever comes next. All functions here are pure.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

PREFIX = "trail."
WHY_LENGTH = 1000
"""Characters kept of a reason: MLflow's column of a tag's value takes 5000 in all."""

Action = Literal["promote", "rollback", "retire", "reject", "observe"]
"""``observe``: the alias was moved by something else than this product, and that was noticed."""
State = Literal["begun", "done", "dropped"]
"""``dropped``: it was begun, its process ended, and the champion did not change."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change of the champion, or a decision about a version."""

    number: int
    at: str
    """When, in UTC: ``2026-11-10T04:05:06+00:00``."""
    who: str
    action: Action
    before: str | None = None
    """The champion until then."""
    after: str | None = None
    """The champion from then on."""
    version: str | None = None
    """Of ``retire`` and ``reject``: the version it is about."""
    why: str = ""
    state: State = "done"

    @property
    def key(self) -> str:
        """The tag's name; it sorts by number."""
        return f"{PREFIX}{self.number:06d}"

    @property
    def moves(self) -> bool:
        """Whether it is about who the champion is."""
        return self.action in ("promote", "rollback", "observe")

    def to_json(self) -> dict[str, Any]:
        """Return what ``autoifs models history`` prints of it."""
        said = {
            "number": self.number,
            "at": self.at,
            "who": self.who,
            "action": self.action,
            "from": self.before,
            "to": self.after,
            "version": self.version,
            "why": self.why,
            "state": self.state,
        }
        return {key: value for key, value in said.items() if key != "version" or value}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Event":
        """Return the event that :meth:`to_json` wrote."""
        renamed = {"from": "before", "to": "after"}
        return cls(**{renamed.get(key, key): value for key, value in said.items()})

    @property
    def value(self) -> str:
        """The tag's value."""
        short = replace(self, why=self.why[:WHY_LENGTH])
        return json.dumps(short.to_json(), ensure_ascii=False)


def event(trail: Sequence[Event], action: Action, who: str, why: str = "", **fields: Any) -> Event:
    """Return the event that follows ``trail``, of this moment."""
    number = trail[-1].number + 1 if trail else 1
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Event(number=number, at=at, who=who, action=action, why=why, **fields)


def read_trail(tags: Mapping[str, str]) -> tuple[Event, ...]:
    """Return the events in the tags of a registered model, oldest first."""
    keys = sorted(key for key in tags if key.startswith(PREFIX))
    return tuple(Event.from_json(json.loads(tags[key])) for key in keys)


def champion_of(trail: Sequence[Event]) -> str | None:
    """Return who is champion by what the trail says."""
    moves = [one for one in trail if one.moves and one.state == "done"]
    return moves[-1].after if moves else None


def earlier(trail: Sequence[Event]) -> tuple[str, ...]:
    """Return the champions that rollbacks go back to, the next one last."""
    found: list[str] = []
    for one in trail:
        if not one.moves or one.state != "done":
            continue
        if one.action == "rollback":
            del found[-1:]
        elif one.before is not None:
            found.append(one.before)
    return tuple(found)


def leaving(trail: Sequence[Event]) -> set[str]:
    """Return the versions whose removal was begun and not ended."""
    begun = (one for one in trail if one.action == "retire" and one.state == "begun")
    return {one.version for one in begun if one.version}


def mend(
    trail: Sequence[Event], champion: str | None, versions: Sequence[str]
) -> tuple[Event, ...]:
    """Return the trail as it must be to say what is the case.

    Args:
        trail: as it is.
        champion: the version that has the alias, or None.
        versions: the numbers of all versions.
    """
    settled = tuple(_settled(one, champion, versions) for one in trail)
    said = champion_of(settled)
    if said == champion:
        return settled
    why = "the alias was not moved by autoifs"
    return (*settled, event(settled, "observe", "unknown", why, before=said, after=champion))


def changed(before: Sequence[Event], after: Sequence[Event]) -> list[Event]:
    """Return the events of ``after`` that ``before`` lacks or has otherwise."""
    return [one for one in after if one not in before]


def _settled(one: Event, champion: str | None, versions: Sequence[str]) -> Event:
    """Return an event that was begun as it ended, if that can be seen."""
    if one.state != "begun":
        return one
    if one.action == "retire":
        return one if one.version in versions else replace(one, state="done")
    return replace(one, state="done" if champion == one.after else "dropped")
