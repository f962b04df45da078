"""What becomes of files whose columns are new, missing or of another type; no Spark."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from features.errors import SourceError
from features.needs import needed_columns, number_columns, sql_words
from features.spec import Spec
from features.spec.model import Contract

Columns = Mapping[str, str]
"""Column, or path of a nested field → its type, as Spark writes it; ``void`` where no value says
one."""

Records = Mapping[str, Mapping[str, Columns]]
"""Day → source → the columns that were accepted up to then, as the day's commit says."""

VOID = "void"
RECORD = "record"
"""What the type of a column is called that has fields inside, as has a list of records."""
MISSING, CHANGED = "missing-column", "changed-type"
"""Built-in rules: ids under which rows of a file that broke its contract are refused."""

_KINDS = {
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), "integer"),
    **dict.fromkeys(("float", "double"), "real"),
    **dict.fromkeys(("string", "binary"), "text"),
    **dict.fromkeys(("timestamp", "timestamp_ntz"), "time"),
    "date": "date",
    "boolean": "yes or no",
}
SCALARS = frozenset(_KINDS.values())
NUMBERS = frozenset({"integer", "real"})


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a spec makes of a source's columns."""

    name: str
    contract: Contract
    needed: Mapping[str, str]
    """Column → the place in the spec that needs it."""
    words: Mapping[str, str]
    """Word in lower case → the place of the SQL that says it."""
    numbers: frozenset[str]
    """Columns that are read as nothing but numbers."""

    def place(self, column: str) -> str | None:
        """Return the place in the spec that names ``column``, if any does."""
        return self.needed.get(column) or self.words.get(column.lower())


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a file is read: its differences from what was accepted before, by the contract."""

    left_out: frozenset[str] = frozenset()
    """New columns that are not read."""
    former: tuple[tuple[str, str], ...] = ()
    """Column and the type it had, for those whose values are to be brought back to it."""
    absent: tuple[tuple[str, str], ...] = ()
    """Column and type of those that the spec names and the file lacks: read as null."""
    refused: bool = False
    """Whether all rows of the file are refused, for what it lacks."""


def use_of(spec: Spec, name: str) -> Use:
    """Return what ``spec`` makes of the columns of the source called ``name``."""
    return Use(
        name=name,
        contract=spec.sources[name].contract,
        needed=needed_columns(spec)[name],
        words=sql_words(spec)[name],
        numbers=frozenset(number_columns(spec)[name]),
    )


def agree(use: Use, path: Path, now: Columns, before: Columns | None) -> Terms:
    """Return how a file is read.

    Args:
        use: what the spec makes of the source, and its contract.
        path: the file, for errors.
        now: its columns.
        before: what was accepted before it; None if it is the first.

    Raises:
        SourceError: when the contract freezes what has changed.
    """
    known = before or {}
    absent = _absent(use, path, now, known)
    return Terms(
        left_out=frozenset(_new(use, path, now, known)) if before is not None else frozenset(),
        former=_former(use, path, now, known),
        absent=tuple((column, known.get(column, "string")) for column in absent),
        refused=bool(absent) and use.contract.missing_column == "discard",
    )


def accepted(now: Columns, before: Columns | None, terms: Terms) -> dict[str, str]:
    """Return what is accepted once a file was read: a column stays known when files lack it."""
    former = dict(terms.former)
    found = dict(before or {})
    for column, kind in now.items():
        if column not in terms.left_out and (kind != VOID or column not in found):
            found[column] = former.get(column, kind)
    return found


def changed(use: Use, column: str, before: str, now: str) -> bool:
    """Return whether a type means something else than the one before.

    Widths do not matter, nor does a fraction unless the spec reads the column as text, nor a file
    in which the column has no value.
    """
    if VOID in (before, now):
        return False
    kinds = {kind_of(before), kind_of(now)}
    as_text = column in use.needed and column not in use.numbers
    return len(kinds) > 1 and (as_text or kinds != NUMBERS)


def kind_of(kind: str) -> str:
    """Return what a type means, whatever its width.

    >>> kind_of("int") == kind_of("decimal(20,0)"), kind_of("array<bigint>")
    (True, 'array<integer>')
    """
    decimal = re.fullmatch(r"decimal\(\d+,(\d+)\)", kind)
    if decimal:
        return "integer" if decimal[1] == "0" else "real"
    if kind.startswith("array<"):
        return f"array<{kind_of(kind[6:-1])}>"
    return _KINDS.get(kind, kind)


def _new(use: Use, path: Path, now: Columns, before: Columns) -> list[str]:
    """Return the new columns that are left out."""
    new = [column for column in now if column not in before and not use.place(column)]
    if new and use.contract.new_column == "freeze":
        many = len(new) > 1
        raise SourceError(
            f"source '{use.name}': {path.name} has {'new columns' if many else 'a new column'} "
            f"{_quoted(new)}; deliver the file without {'them' if many else 'it'}, or set "
            f"sources.{use.name}.contract.new_column to evolve or discard"
        )
    # A record is read whole: what is new inside of it goes along.
    whole = [column for column in new if not _is_inside(column, now)]
    return whole if use.contract.new_column == "discard" else []


def _absent(use: Use, path: Path, now: Columns, before: Columns) -> list[str]:
    """Return the columns that the spec names and the file lacks."""
    named = [column for column in before if column not in use.needed and use.place(column)]
    absent = [column for column in (*use.needed, *named) if column not in now]
    if absent and use.contract.missing_column == "freeze":
        raise SourceError(
            f"source '{use.name}': {path.name} has no column '{absent[0]}', which "
            f"{use.place(absent[0])} needs; its columns are {', '.join(now)}; deliver the file "
            f"again, or set sources.{use.name}.contract.missing_column to evolve or discard"
        )
    return absent


def _former(use: Use, path: Path, now: Columns, before: Columns) -> tuple[tuple[str, str], ...]:
    """Return the columns whose values are brought back to the type they had, and that type."""
    others = {
        column: before[column]
        for column, kind in now.items()
        if column in before
        and (column in use.needed or not _is_inside(column, now))
        and changed(use, column, before[column], kind)
    }
    if others and use.contract.type_change == "freeze":
        column, kind = next(iter(others.items()))
        raise SourceError(
            f"source '{use.name}': column '{column}' of {path.name} is {now[column]} and was "
            f"{kind} before; deliver the file again as it was, or set "
            f"sources.{use.name}.contract.type_change to evolve or discard"
        )
    return tuple(others.items()) if use.contract.type_change == "discard" else ()


def _is_inside(column: str, now: Columns) -> bool:
    """Return whether a name is the path of a field inside another column."""
    return RECORD in now.get(column.rpartition(".")[0], "")


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
