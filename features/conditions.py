"""Conditions on a table's rows, such as ``n_count_user_id_all = 0 and not c_place in (2, 3)``.

A small language for people who declare slices: comparisons of a column with a number, a text, true
or false; ``in (…)``; ``is null`` and ``is not null``; ``and``, ``or``, ``not`` and parentheses. As
in SQL, a comparison with null is unknown, and a row of which it is unknown is left out. Nothing is
evaluated but this: a condition can't call, compute or reach anything.

>>> table = pa.table({"age": [17, None, 44], "place": ["feed", "live", "feed"]})
>>> parse("age >= 18 and place = 'feed'").holds(table).tolist()
[False, False, True]
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Value = str | int | float | bool
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<sign><=|>=|!=|<>|=|<|>|\(|\)|,)|(?P<word>[A-Za-z_][\w]*))"
)
_WORDS = {"and", "or", "not", "in", "is", "null", "true", "false"}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_Rows = Callable[[pa.Table], Any]


class ConditionError(ValueError):
    """A condition that can't be read, or that a table can't answer; the text is one sentence."""


@dataclass(frozen=True)
class Condition:
    """A condition that was read."""

    text: str
    columns: tuple[str, ...]
    """The columns it asks for, each once."""
    _rows: _Rows

    def holds(self, table: pa.Table) -> NDArray[np.bool_]:
        """Return for which rows of ``table`` it holds.

        Raises:
            ConditionError: a column is absent, or of another kind than what it is compared with.
        """
        for column in self.columns:
            if column not in table.column_names:
                known = ", ".join(table.column_names)
                raise ConditionError(f"there is no column '{column}'; known: {known}")
        return np.asarray(pc.fill_null(self._rows(table), False), dtype=bool)


def parse(text: str) -> Condition:
    """Read a condition.

    Raises:
        ConditionError: saying what was expected, and where.
    """
    return _Reader(text).whole()


class _Reader:
    """Reads a condition from left to right; one method for each level of its grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.place = 0
        self.columns: dict[str, None] = {}

    def whole(self) -> Condition:
        rows = self._any()
        if self.place < len(self.tokens):
            self._fail("'and', 'or' or the end")
        return Condition(self.text, tuple(self.columns), rows)

    def _any(self) -> _Rows:
        rows = self._all()
        while self._take("or"):
            rows = _joined(pc.or_kleene, rows, self._all())
        return rows

    def _all(self) -> _Rows:
        rows = self._one()
        while self._take("and"):
            rows = _joined(pc.and_kleene, rows, self._one())
        return rows

    def _one(self) -> _Rows:
        if self._take("not"):
            return _inverted(self._one())
        if self._take("("):
            rows = self._any()
            self._require(")")
            return rows
        return self._test(self._column())

    def _test(self, column: str) -> _Rows:
        if self._take("is"):
            inverted = self._take("not")
            self._require("null")
            return _inverted(_null(column)) if inverted else _null(column)
        if self._take("not"):
            self._require("in")
            return _inverted(_among(column, self._values()))
        if self._take("in"):
            return _among(column, self._values())
        for sign in _COMPARE:
            if self._take(sign):
                return _compared(column, sign, self._value())
        self._fail(f"a comparison such as = or in (…) after '{column}'")

    def _column(self) -> str:
        kind, word = self._peek()
        if kind != "word" or word in _WORDS:
            self._fail("a column's name")
        self.place += 1
        self.columns[word] = None
        return word

    def _values(self) -> list[Value]:
        self._require("(")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._require(")")
        return values

    def _value(self) -> Value:
        kind, word = self._peek()
        self.place += 1
        if kind == "text":
            return word[1:-1].replace("''", "'")
        if kind == "number":
            return float(word) if re.search(r"[.eE]", word) else int(word)
        if word.lower() in ("true", "false"):
            return word.lower() == "true"
        self.place -= 1
        self._fail("a number, a text in '…', true or false")

    def _peek(self) -> tuple[str, str]:
        return self.tokens[self.place] if self.place < len(self.tokens) else ("end", "the end")

    def _take(self, wanted: str) -> bool:
        kind, word = self._peek()
        found = kind in ("word", "sign") and word.lower() == wanted
        self.place += found
        return found

    def _require(self, wanted: str) -> None:
        if not self._take(wanted):
            self._fail(f"'{wanted}'")

    def _fail(self, expected: str) -> NoReturn:
        raise ConditionError(f"expected {expected}, found {self._peek()[1]} in: {self.text}")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            raise ConditionError(f"can't read {text[place:end].strip()!r} in: {text}")
        kind = str(found.lastgroup)
        yield kind, found[kind].lower() if found[kind].lower() in _WORDS else found[kind]
        place = found.end()


def _joined(how: Callable[[Any, Any], Any], one: _Rows, other: _Rows) -> _Rows:
    return lambda table: how(one(table), other(table))


def _inverted(rows: _Rows) -> _Rows:
    return lambda table: pc.invert(rows(table))


def _null(column: str) -> _Rows:
    return lambda table: pc.is_null(table[column], nan_is_null=True)


def _compared(column: str, sign: str, value: Value) -> _Rows:
    return lambda table: _COMPARE[sign](table[column], _fitting(table, column, value))


def _among(column: str, values: list[Value]) -> _Rows:
    first, *others = [_compared(column, "=", value) for value in values]
    for other in others:
        first = _joined(pc.or_kleene, first, other)
    return first


def _fitting(table: pa.Table, column: str, value: Value) -> Any:
    """Return ``value`` in a form that the column's values can be compared with."""
    kind = table.schema.field(column).type
    fits = (
        (pa.types.is_boolean(kind) and isinstance(value, bool))
        or (_is_number(kind) and isinstance(value, int | float) and not isinstance(value, bool))
        or ((pa.types.is_string(kind) or pa.types.is_large_string(kind)) and isinstance(value, str))
    )
    if not fits:
        raise ConditionError(f"column '{column}' holds {kind} and can't be compared with {value!r}")
    return value


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
