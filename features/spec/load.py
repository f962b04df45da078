"""From a name or a path to a checked spec, with errors a person can act on."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from pydantic import ValidationError

from features.conditions import ConditionError, parse
from features.errors import SpecError
from features.spec.layout import layout_of, slug
from features.spec.model import Spec
from features.spec.policy import CLOCK


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans: ``on`` is a key a join is declared with, not the word for true."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:bool"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"true|false", re.IGNORECASE), list("tTfF")
)


def specs_folder() -> Path:
    """Return the folder of the specs that come with the product."""
    return Path(__file__).resolve().parents[2] / "infra" / "specs"


def spec_names() -> list[str]:
    """Return the names of the specs that come with the product."""
    return sorted(path.stem for path in specs_folder().glob("*.yaml"))


def find_spec(name_or_path: str) -> Path:
    """Return the file a person means by a shipped name or a path.

    Raises:
        SpecError: when there is no such file.
    """
    shipped = specs_folder() / f"{name_or_path}.yaml"
    path = shipped if shipped.exists() else Path(name_or_path)
    if not path.is_file():
        known = ", ".join(spec_names())
        raise SpecError(f"spec '{name_or_path}' not found; give a path, or one of: {known}")
    return path


def load_spec(name_or_path: str) -> Spec:
    """Read and check a spec.

    Raises:
        SpecError: one sentence with the file, the path inside it and the fix.
    """
    path = find_spec(name_or_path)
    return parse_spec(path.read_text(encoding="utf-8"), path.name)


def parse_spec(text: str, file: str) -> Spec:
    """Return the spec written in ``text``; ``file`` is how errors call it.

    Raises:
        SpecError: when the text is no YAML, no mapping, or breaks a rule of the model.
    """
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise SpecError(
            f"{file}: not valid YAML: {_one_line(str(error))}; mend that line"
        ) from None
    if not isinstance(content, Mapping):
        raise SpecError(
            f"{file}: must be a mapping with 'product', 'sources', …; it is {content!r}"
        )
    try:
        spec = Spec.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{file}: {_explain(error)}") from None
    for place, names in _namings(spec).items():
        _require_apart(f"{file}: {place}", names)
    _check_slices(spec, file)
    return spec


def _check_slices(spec: Spec, file: str) -> None:
    """Ask every slice of a table without rows, so that no night finds out that it can't be."""
    layout = layout_of(spec)
    kinds = {"scenario": pa.string(), **dict.fromkeys(CLOCK, pa.int64())}
    kinds |= {column.name: pa.string() for column in layout.of("category")}
    kinds |= {column.name: pa.float32() for column in layout.of("number")}
    nothing = pa.table({name: pa.array([], kind) for name, kind in kinds.items()})
    for name, text in spec.evaluation.slices.items():
        try:
            parse(text).holds(nothing)
        except ConditionError as error:
            raise SpecError(f"{file}: evaluation.slices.{name}: {error}") from None


def spec_hash(spec: Spec, *sections: str) -> str:
    """Return a hash of what ``spec`` says other than the defaults; of the named sections, if given.

    A setting that a later version adds therefore leaves the hashes, and the days built, alone.

    >>> from features.spec import load_spec
    >>> len(spec_hash(load_spec("bazaar")))
    16
    """
    said = spec.model_dump(mode="json", include=set(sections) or None, exclude_defaults=True)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _namings(spec: Spec) -> dict[str, list[tuple[str, str]]]:
    """Return section of the spec → what is named there, with the column that it becomes."""
    entities = dict.fromkeys(column for entity in spec.entities for column in entity)
    joined = dict.fromkeys(column for task in spec.tasks.values() for column in task.on)
    return {
        "features": [(column.source, column.name) for column in layout_of(spec).columns],
        "features (entities)": [(name, slug(name)) for name in entities],
        "tasks (on)": [(name, slug(name)) for name in joined],
    }


def _require_apart(place: str, names: list[tuple[str, str]]) -> None:
    """Check that no two names become one column.

    Raises:
        SpecError: naming both.
    """
    taken: dict[str, str] = {}
    for name, column in names:
        if column in taken:
            raise SpecError(
                f"{place}: '{taken[column]}' and '{name}' would both be the column {column}; "
                "remove or rename one"
            )
        taken[column] = name


def _explain(error: ValidationError) -> str:
    """Return the first complaint as ``path: what is wrong and what to do``."""
    # A misspelt key comes first: the "missing" beside it is its echo.
    complaints = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    first = complaints[0]
    path = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    where = f"{path}: " if path else ""
    return f"{where}{_words(first['type'], first['msg'], first.get('ctx', {}))}{more}"


def _words(kind: str, message: str, context: Mapping[str, Any]) -> str:
    if kind == "extra_forbidden":
        return "unknown key; remove it or correct its spelling"
    if kind == "missing":
        return "is required; add it"
    if kind == "literal_error":
        return f"must be one of {context.get('expected')}"
    return _one_line(message.removeprefix("Value error, "))


def _one_line(text: str) -> str:
    return " ".join(text.split())
