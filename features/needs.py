"""What a spec needs of its sources: which of them, and which of their columns, and why."""

import re
from collections.abc import Iterator

from features.spec import Spec
from features.spec.model import Task


def used_sources(spec: Spec) -> list[str]:
    """Return the sources a day is made of: log, outcomes, and the tables that features use."""
    return [*streams(spec), *used_tables(spec)]


def streams(spec: Spec) -> list[str]:
    """Return the streams of events a day is made of, that of impressions first."""
    outcomes = [task.source for task in spec.tasks.values() if task.source]
    return list(dict.fromkeys([spec.impression.source, *outcomes]))


def tasks_of(spec: Spec, stream: str) -> dict[str, Task]:
    """Return the tasks whose outcomes come in a stream."""
    return {name: task for name, task in spec.tasks.items() if task.source == stream}


def used_tables(spec: Spec) -> list[str]:
    """Return the tables of attributes that features and entities name, in the file's order."""
    named = {spec.locate(column)[0] for column in feature_columns(spec)}
    return [name for name in spec.sources if name in named and spec.sources[name].key is not None]


def feature_columns(spec: Spec) -> list[str]:
    """Return the columns that features and entities are made of, each once."""
    return list(dict.fromkeys(column for _, column in _feature_places(spec)))


def needed_columns(spec: Spec) -> dict[str, dict[str, str]]:
    """Return source → column → the place in the spec that needs it."""
    found: dict[str, dict[str, str]] = {name: {} for name in spec.sources}
    for source, column, place in _places(spec):
        found[source].setdefault(column, place)
    return found


def sql_words(spec: Spec) -> dict[str, dict[str, str]]:
    """Return source → word, in lower case → the place in the spec of the SQL that says it.

    Which of the words are columns is known to who knows the columns; text in quotes and names of
    functions are none.
    """
    found: dict[str, dict[str, str]] = {name: {} for name in spec.sources}
    for source, sql, place in _expressions(spec):
        for word in _WORD.findall(_QUOTED.sub("", sql)):
            found[source].setdefault(word.strip("`").lower(), place)
    return found


def number_columns(spec: Spec) -> dict[str, set[str]]:
    """Return source → the columns that the spec reads as nothing but numbers.

    A whole number and its fraction are the same there; as text, 7 and 7.0 are two.
    """
    places: dict[tuple[str, str], set[str]] = {}
    for source, column, place in _places(spec):
        places.setdefault((source, column), set()).add(place)
    return {
        name: {
            column
            for (source, column), found in places.items()
            if source == name and found <= {"features.numbers", f"sources.{name}.time"}
        }
        for name in spec.sources
    }


_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_WORD = re.compile(r"`[^`]+`|\b[A-Za-z_]\w*\b(?!\s*\()")


def _expressions(spec: Spec) -> Iterator[tuple[str, str, str]]:
    """Yield source, SQL and place in the spec of every expression."""
    log = spec.impression.source
    for name, sql in spec.scenarios.expressions.items():
        yield log, sql, f"scenarios.expressions.{name}"
    for name, task in spec.tasks.items():
        if task.label:
            yield log, task.label, f"tasks.{name}.label"
        if task.where:
            yield str(task.source), task.where, f"tasks.{name}.where"
    for rule in spec.rules:
        yield log, rule.reject, f"rules.{rule.id}"
    for name, sql in spec.impression.columns.items():
        yield log, sql, f"impression.columns.{name}"
    for name, sql in spec.features.facts.items():
        yield log, sql, f"features.facts.{name}"


def _places(spec: Spec) -> Iterator[tuple[str, str, str]]:
    """Yield source, column and place in the spec of everything it names."""
    log = spec.impression.source
    yield from _source_places(spec)
    for column in (*spec.impression.key, spec.user):
        yield log, column, "impression"
    if spec.scenarios.column:
        yield log, spec.scenarios.column, "scenarios.column"
    for name, task in spec.tasks.items():
        for column in task.on:
            yield log, column, f"tasks.{name}.on"
            yield str(task.source), column, f"tasks.{name}.on"
    for place, column in _feature_places(spec):
        if column in spec.impression.columns:
            continue  # made of what its expression names
        source, plain = spec.locate(column)
        yield source, plain, place
        if source != log:
            yield log, str(spec.sources[source].key), f"sources.{source}.key"


def _source_places(spec: Spec) -> Iterator[tuple[str, str, str]]:
    for name, source in spec.sources.items():
        if source.time is not None:
            yield name, source.time.column, f"sources.{name}.time"
        if source.day is not None:
            yield name, source.day.column, f"sources.{name}.day"
        if source.key is not None:
            yield name, source.key, f"sources.{name}.key"


def _feature_places(spec: Spec) -> Iterator[tuple[str, str]]:
    """Yield place in the spec and column of every feature and entity, in the file's order."""
    features = spec.features
    yield from (("features.ids", item.column) for item in features.ids)
    yield from (("features.categories", item.column) for item in features.categories)
    yield from (("features.numbers", item.column) for item in features.numbers)
    for rates in features.rates:
        yield from (("features.rates", column) for entity in rates.by for column in entity)
    for compared in features.residuals:
        for entity in (*compared.by, compared.against):
            yield from (("features.residuals", column) for column in entity)
    yield from (("features.recency", column) for entity in features.recency for column in entity)
    for entity, of in features.meetings:
        yield from (("features.distinct and sequences", column) for column in (*entity, of))
