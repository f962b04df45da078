"""What a spec may say: one pydantic model a section, wrong values refused with their path.

Every model is frozen and refuses unknown keys; everything with a sensible default may be left out.
"""

from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from features.days import whole_days
from features.spec.base import Duration, Name, Scalar, Section, listed
from features.spec.policy import Alerts, Audit, Drift, Evaluation, Gate, Training


class DayColumn(Section):
    """The column that says which day a row belongs to, when it is not the time's own day."""

    column: str
    format: str = "yyyy-MM-dd"
    """Spark's datetime pattern of the column."""


class TimeColumn(Section):
    """The column that holds the time of an event."""

    column: str
    unit: Literal["s", "ms", "us", "iso"] = "ms"
    """Unit of a count since 1970-01-01 UTC, or ``iso`` for text with a zone."""


Answer = Literal["evolve", "discard", "freeze"]
"""What is done about a change: go along with it, leave the changed out, or refuse the day."""


class Contract(Section):
    """What becomes of a day whose files differ from those that were published before."""

    new_column: Answer = "evolve"
    """A column that was not there before and that the spec does not name."""
    missing_column: Answer = "freeze"
    """A column that the spec names and a file lacks."""
    type_change: Answer = "evolve"
    """A column whose type means something else than before (JSON lines, Parquet)."""

    @property
    def lasting(self) -> "Contract":
        """What of it shows in published days: they are the same under evolve and freeze."""
        discards = {name: "discard" for name, answer in self if answer == "discard"}
        return Contract.model_validate(discards)


def _one_answer(value: object) -> object:
    return dict.fromkeys(Contract.model_fields, value) if isinstance(value, str) else value


class Source(Section):
    """One stream of events (has a time) or one table of attributes (has a key)."""

    path: str
    """Glob below the source folder; ``{ds}`` stands for the day of a file, YYYY-MM-DD."""
    format: Literal["csv", "jsonl", "parquet"] | None = None
    """Left out: read from the file's ending."""
    time: TimeColumn | None = None
    day: DayColumn | None = None
    key: str | None = None
    """Column that joins a table of attributes to the impression's column of the same name."""
    late: Duration = timedelta(0)
    """How much later than its day's file an event of that day may still arrive."""
    contract: Annotated[
        Contract, BeforeValidator(_one_answer, json_schema_input_type=Answer | Contract)
    ] = Contract()
    """One answer for all kinds of change, or one each."""

    @model_validator(mode="after")
    def _stream_or_table(self) -> Self:
        if (self.key is None) == (self.time is None):
            raise ValueError("give 'time' for a stream of events or 'key' for a table, not both")
        return self

    @property
    def daily(self) -> bool:
        """Whether each day has a file of its own."""
        return "{ds}" in self.path

    @property
    def kind(self) -> str:
        """The file format: as given, or read from the ending of ``path``."""
        if self.format:
            return self.format
        for ending, kind in _ENDINGS.items():
            if self.path.removesuffix(".gz").endswith(ending):
                return kind
        return "csv"


_ENDINGS = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".json": "jsonl"}


class Impression(Section):
    """The event that opens a sample."""

    source: str
    key: Annotated[tuple[str, ...], BeforeValidator(listed), Field(min_length=1)]
    """Columns that together name one impression."""
    user: str | None = None
    """Column of the person, by whom intervals are clustered; left out: the first key column."""
    columns: dict[Name, str] = Field(default_factory=dict)
    """More columns of the impression, for features and entities: name → SQL expression over its
    row, in which ``local_time`` is its time in the spec's time zone."""


class Scenarios(Section):
    """Where an impression was shown: a column with its values, or one SQL expression each."""

    column: str | None = None
    values: dict[Name, Annotated[tuple[Scalar, ...], BeforeValidator(listed)]] = Field(
        default_factory=dict
    )
    expressions: dict[Name, str] = Field(default_factory=dict)
    """Scenario name → SQL expression over the impression; the first that holds wins."""
    optional: tuple[Name, ...] = ()
    """Scenarios that may have no impression on a day."""
    other: Literal["quarantine", "history"] = "quarantine"
    """What an impression outside every scenario is: a broken row, or history without a sample."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.values) == bool(self.expressions):
            raise ValueError("give either 'column' with 'values', or 'expressions'")
        if bool(self.values) != (self.column is not None):
            raise ValueError("'column' and 'values' go together")
        for name in self.optional:
            if name not in self.names:
                raise ValueError(f"optional: '{name}' is not a scenario; known: {self.names}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The scenarios in the order of the file; the position is the scenario's index k."""
        return tuple(self.values or self.expressions)


class Task(Section):
    """A label to predict: an expression over the impression's row, or a later event."""

    label: str | None = None
    """SQL expression over the columns of a wide log's row, true for a positive."""
    source: str | None = None
    """Stream whose event, joined on ``on`` within ``window``, makes the label positive."""
    on: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    where: str | None = None
    """SQL expression over the outcome stream that says which of its events count."""
    window: Duration = timedelta(0)
    scenarios: tuple[Name, ...] | None = None
    """Scenarios that have this task; left out: all."""
    weight: float = Field(default=1.0, gt=0)
    """Weight of the task's loss."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.label is None) == (self.source is None):
            raise ValueError("give 'label' (wide log) or 'source' (event stream), not both")
        if self.source is not None and not self.on:
            raise ValueError("'source' needs 'on', the columns that join it to the impression")
        if self.source is not None and self.window <= timedelta(0):
            raise ValueError("'source' needs a 'window' such as 3d")
        if self.label is not None and (self.on or self.where or self.window):
            raise ValueError("'on', 'where' and 'window' go with 'source'")
        return self


class Category(Section):
    """A categorical feature: one token a sample, or several."""

    column: str
    """A column of the impression, or ``source.column`` of a table of attributes; in JSON lines and
    Parquet a dot also leads into a nested field."""
    multi: bool = False
    separator: str = ","
    """Separates the tokens of a multi-value column that is text."""
    min_count: int = Field(default=1, ge=1)
    """Tokens seen less often in the training window share the index 0."""
    dim: int = Field(default=8, ge=1)
    """Width of the embedding."""
    edges: tuple[float, ...] = ()
    """Where a number is cut into buckets, ascending; a value on an edge is in the bucket above."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("edges must ascend, such as [10, 50, 100]")
        if self.edges and self.multi:
            raise ValueError("give 'edges' for a number or 'multi' for tokens, not both")
        return self


class Number(Section):
    """A numeric feature."""

    column: str
    scale: Literal["none", "log1p"] = "none"


def _from_one(days: tuple[int | str, ...]) -> tuple[int | str, ...]:
    if any(isinstance(day, int) and day < 1 for day in days):
        raise ValueError("a window is a number of days from 1, or all")
    return days


Windows = Annotated[
    tuple[int | Literal["all"], ...], BeforeValidator(listed), AfterValidator(_from_one)
]
"""Lengths in whole days before the sample's day, or all of them."""


Entities = Annotated[
    tuple[Annotated[tuple[str, ...], BeforeValidator(listed)], ...], BeforeValidator(listed)
]
"""Columns, or lists of columns that are an entity together."""


class Rates(Section):
    """Smoothed rates and counts over whole days before the sample's day."""

    of: Annotated[tuple[Name, ...], BeforeValidator(listed), Field(min_length=1)]
    """Tasks whose rate is taken, and facts whose mean is."""
    by: Entities
    """Entities: a column, or several columns together."""
    days: Windows = ("all",)
    half_life: int | None = Field(default=None, ge=1)
    """Days after which a fact counts half, in one more window than those of ``days``."""
    prior: float = Field(default=20.0, gt=0)
    """Impressions' worth of the overall rate that a rate is smoothed with."""

    @property
    def windows(self) -> tuple[int | str, ...]:
        """The windows by their names: days, ``all``, ``half_2``."""
        fading = () if self.half_life is None else (f"{FADING}{self.half_life}",)
        return (*self.days, *fading)


FADING = "half_"
"""How the name of a window begins in which facts fade, before the days of its half-life."""


class Residuals(Section):
    """How far a rate is above what the contexts of the same impressions have on the whole.

    Of a person who sees long videos it says whether they click more than others do on long videos.
    """

    of: Annotated[tuple[Name, ...], BeforeValidator(listed), Field(min_length=1)]
    """Tasks and facts."""
    by: Entities
    """Entities: a column, or several columns together."""
    against: Annotated[tuple[str, ...], BeforeValidator(listed), Field(min_length=1)]
    """The context: a column, or several columns together, of one value each."""
    days: Windows = ("all",)
    prior: float = Field(default=20.0, gt=0)
    """Impressions' worth of no difference that it is smoothed with."""


class Distinct(Section):
    """How many different values of a column an entity met, over whole days before the sample's."""

    of: str
    """The column whose different values are counted, such as the items a person saw."""
    by: Entities
    """Entities: a column, or several columns together."""
    days: Windows = ("all",)


class Sequence(Section):
    """The values of a column that an entity met last, before the sample's day."""

    of: str
    """The column whose values are listed, such as the items a person saw."""
    by: Annotated[tuple[str, ...], BeforeValidator(listed), Field(min_length=1)]
    """The entity: a column, or several columns together, of one value each."""
    last: int = Field(default=20, ge=1)
    """How many different values, at most."""
    task: Name | None = None
    """List only what brought a positive of this task; left out: all that was shown."""
    dim: int = Field(default=8, ge=1)
    """Width of the embedding."""


Entity = tuple[str, ...]
"""The columns whose values together name what a rate or recency is about."""


def _category(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


class Features(Section):
    """What the model may look at; every feature is known before the impression."""

    ids: tuple[Annotated[Category, BeforeValidator(_category)], ...] = ()
    """Categories with many values; the same as ``categories`` with a min_count of 3."""
    categories: tuple[Annotated[Category, BeforeValidator(_category)], ...] = ()
    numbers: tuple[Annotated[Number, BeforeValidator(_category)], ...] = ()
    facts: dict[Name, str] = Field(default_factory=dict)
    """What is known of an impression once it is over, beside the tasks, for rates alone: name → SQL
    expression over its row, a number or true or false; null is not known."""
    rates: tuple[Rates, ...] = ()
    residuals: tuple[Residuals, ...] = ()
    recency: tuple[Annotated[tuple[str, ...], BeforeValidator(listed)], ...] = ()
    """Entities whose days since their last impression (whole days before) are a feature."""
    distinct: tuple[Distinct, ...] = ()
    sequences: tuple[Sequence, ...] = ()

    @property
    def embedded(self) -> tuple[Category, ...]:
        """Every category, ids first."""
        return (*self.ids, *self.categories)

    @property
    def numeric(self) -> tuple[str, ...]:
        """The columns that must hold numbers: features, and those that are cut into buckets."""
        bucketed = [item.column for item in self.embedded if item.edges]
        return tuple(dict.fromkeys([*(item.column for item in self.numbers), *bucketed]))

    @property
    def meetings(self) -> tuple[tuple[Entity, str], ...]:
        """Entities with the columns whose values they met, each once, in the file's order."""
        counted = [(by, item.of) for item in self.distinct for by in item.by]
        listed_ = [(item.by, item.of) for item in self.sequences]
        return tuple(dict.fromkeys([*counted, *listed_]))

    @field_validator("ids")
    @classmethod
    def _rare(cls, ids: tuple[Category, ...]) -> tuple[Category, ...]:
        return tuple(
            item
            if "min_count" in item.model_fields_set
            else item.model_copy(update={"min_count": 3})
            for item in ids
        )


class Rule(Section):
    """A row rule: rows for which ``reject`` is true go to quarantine under ``id``."""

    id: str
    reject: str
    """SQL expression over the impression's columns."""


class Spec(Section):
    """A product: what it reads, predicts, checks and trains."""

    product: Name
    timezone: str = "UTC"
    sources: dict[Name, Source]
    impression: Impression
    scenarios: Scenarios
    tasks: dict[Name, Task] = Field(min_length=1)
    features: Features
    rules: tuple[Rule, ...] = ()
    audit: Audit = Audit()
    drift: Drift = Drift()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    gate: Gate = Gate()
    alerts: Alerts = Alerts()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"'{zone}' is not a time zone; write one such as Asia/Shanghai"
            ) from None
        return zone

    @model_validator(mode="after")
    def _references(self) -> Self:
        for complaint in _dangling(self):
            raise ValueError(complaint)
        return self

    @property
    def user(self) -> str:
        """The impression's column that names the person."""
        return self.impression.user or self.impression.key[0]

    @property
    def log(self) -> Source:
        """The source of impressions."""
        return self.sources[self.impression.source]

    @property
    def window_days(self) -> dict[str, int]:
        """Task → partitions after its own in which its label may still change (0: none)."""
        return {name: whole_days(task.window) for name, task in self.tasks.items()}

    def locate(self, column: str) -> tuple[str, str]:
        """Return the source of a feature's ``column``, and what the column is called there.

        A dotted name that begins with a table of attributes is that table's; every other is the
        impression's own, where dots lead into nested fields.
        """
        first, _, rest = column.partition(".")
        if rest and first in self.sources and self.sources[first].key is not None:
            return first, rest
        return self.impression.source, column

    def numbers_of(self, source: str) -> list[str]:
        """Return the columns of ``source`` that must hold numbers."""
        raw = [name for name in self.features.numeric if name not in self.impression.columns]
        return [column for found, column in map(self.locate, raw) if found == source]

    def has(self, scenario: str, task: str) -> bool:
        """Return whether the cell exists."""
        limited = self.tasks[task].scenarios
        return limited is None or scenario in limited

    @property
    def subjects(self) -> tuple[Entity, ...]:
        """Every entity whose history is a feature of the sample, once, in the file's order."""
        rated = [entity for rates in self.features.rates for entity in rates.by]
        compared = [entity for item in self.features.residuals for entity in item.by]
        meeting = [entity for entity, _ in self.features.meetings]
        return tuple(dict.fromkeys([*rated, *compared, *self.features.recency, *meeting]))

    @property
    def entities(self) -> tuple[Entity, ...]:
        """Every entity whose history is counted, once: subjects, and with whom they meet what."""
        met = [(*by, of) for by, of in self.features.meetings]
        apart = [
            entity
            for item in self.features.residuals
            for entity in (item.against, *((*by, *item.against) for by in item.by))
        ]
        return tuple(dict.fromkeys([*self.subjects, *met, *apart]))


def _dangling(spec: Spec) -> list[str]:
    """Return a complaint for every name in ``spec`` that points at nothing."""
    streams = {name for name, source in spec.sources.items() if source.time}
    tables = set(spec.sources) - streams
    found = []
    if spec.impression.source not in streams:
        found.append(_unknown("impression.source", spec.impression.source, sorted(streams)))
    for name, task in spec.tasks.items():
        if task.source is not None and task.source not in streams:
            found.append(_unknown(f"tasks.{name}.source", task.source, sorted(streams)))
        for scenario in task.scenarios or ():
            if scenario not in spec.scenarios.names:
                found.append(_unknown(f"tasks.{name}.scenarios", scenario, spec.scenarios.names))
    found += _wrong_measures(spec)
    found += _wrong_sequences(spec)
    known = _features(spec)
    for column in spec.training.search.context:
        if column not in known:
            found.append(_unknown("training.search.context", column, known))
    cells = [f"{k}/{m}" for k in spec.scenarios.names for m in spec.tasks if spec.has(k, m)]
    judged = [*spec.scenarios.names, *spec.tasks, *cells]
    for name in spec.gate.tolerances:
        if name not in judged:
            found.append(_unknown("gate.tolerances", name, judged))
    log = spec.sources.get(spec.impression.source)
    nested = log is not None and log.kind != "csv"
    for column in _columns(spec):
        source, dot, _ = column.partition(".")
        if dot and source not in tables and not nested:
            found.append(_unknown(f"features: {column}", source, sorted(tables)))
    return found


def _wrong_measures(spec: Spec) -> list[str]:
    """Return what is wrong with what rates and residuals are taken of, and against."""
    features, known = spec.features, [*spec.tasks, *spec.features.facts]
    found = [
        f"features.facts.{name}: there is a task of that name; call one of them otherwise"
        for name in features.facts
        if name in spec.tasks
    ]
    multi = {item.column for item in features.embedded if item.multi}
    asked = {f"rates.{place}": one.of for place, one in enumerate(features.rates)}
    asked |= {f"residuals.{place}": one.of for place, one in enumerate(features.residuals)}
    for place, names in asked.items():
        found += [
            _unknown(f"features.{place}.of", name, known) for name in names if name not in known
        ]
    for position, compared in enumerate(features.residuals):
        for column in multi.intersection(compared.against):
            found.append(
                f"features.residuals.{position}.against: '{column}' has several values a row; "
                "name one that has one"
            )
    return found


def _wrong_sequences(spec: Spec) -> list[str]:
    found = []
    multi = {item.column for item in spec.features.embedded if item.multi}
    for position, item in enumerate(spec.features.sequences):
        place = f"features.sequences.{position}"
        if item.task is not None and item.task not in spec.tasks:
            found.append(_unknown(f"{place}.task", item.task, spec.tasks))
        for column in multi.intersection(item.by):
            found.append(f"{place}.by: '{column}' has several values a row; name one that has one")
    return found


def _unknown(path: str, name: str, known: Iterable[str]) -> str:
    return f"{path}: '{name}' is not declared; known: {', '.join(known)}"


def _features(spec: Spec) -> list[str]:
    """Return the columns that are categories or numbers themselves."""
    features = spec.features
    embedded = [item.column for item in features.embedded]
    return [*embedded, *(item.column for item in features.numbers)]


def _columns(spec: Spec) -> list[str]:
    return [*_features(spec), *(column for entity in spec.entities for column in entity)]
