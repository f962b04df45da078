"""What a nightly report says, as plain values: filled by the job, drawn by ``render``.

Everything that a night may lack (a champion, masks, an audit, mature labels) is optional here, and
the page has words for its absence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from validation.intervals import UNKNOWN, Estimate
from validation.reliability import Bin

Outcome = Literal[
    "promoted",
    "first champion",
    "rejected",
    "waiting",
    "reported",
    "unchanged",
    "failed",
    "undecided",
]
CellVerdict = Literal["better", "within", "worse", "unsure", "insufficient", "none"]
Measure = Literal["logloss", "auc"]
Use = Literal["train", "validate", "judge"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the gate decided."""

    outcome: Outcome
    reasons: tuple[str, ...] = ()
    """Sentences; the first is shown under the verdict."""
    version: str | None = None
    """The challenger's version; None when no model was trained."""
    champion: str | None = None
    """The version that was champion before the decision; None on the first night."""
    since: tuple[str, ...] = ()
    """What became of the version after that night, a sentence each."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well one model did in one cell."""

    auc: Estimate = UNKNOWN
    logloss: Estimate = UNKNOWN
    """Mean log loss in nats."""
    ne: float | None = None
    """Log loss over that of always predicting the cell's mean rate; below 1 is better than that."""
    pcoc: float | None = None
    """Sum of predictions over sum of positives; 1 is calibrated."""


@dataclass(frozen=True, kw_only=True)
class NextDay:
    """What a cell showed on the day after the night, which its model had been made for."""

    auc: Estimate = UNKNOWN
    logloss: Estimate = UNKNOWN
    difference: Estimate = UNKNOWN
    """Challenger minus champion in the gate's measure."""
    verdict: CellVerdict = "none"
    n: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One scenario × task: the challenger's scores, and how far they are from the champion's."""

    scenario: str
    """Empty for all scenarios together."""
    task: str
    """Empty for the mean over tasks."""
    exists: bool = True
    """False when the spec says that the scenario has no such task."""
    verdict: CellVerdict = "none"
    n: int | None = None
    positives: int | None = None
    challenger: Scores = Scores()
    champion: Scores = Scores()
    baseline: Scores = Scores()
    """A shared-bottom network trained on the same days."""
    difference: Estimate = UNKNOWN
    """Challenger minus champion in the gate's measure, on the same samples."""
    next_day: NextDay | None = None
    """None until the labels of that day are known."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """How often predictions of a cell came true; each bin has a share of the samples."""

    scenario: str
    task: str
    bins: tuple[Bin, ...] = ()
    champion: tuple[Bin, ...] = ()
    pcoc: Estimate = UNKNOWN
    """The challenger's predicted over observed positives."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A night on a trend line."""

    ds: str
    value: Estimate
    final: bool
    """Whether it is of the day after the night, as all are in the end."""
    crowned: bool
    """Whether this night's model became champion."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """All measures of one group: what the pictures are made of, and what they leave out."""

    scenario: str
    task: str
    slice: str
    n: int
    positives: int
    note: str
    models: Mapping[str, Mapping[str, Estimate]]
    """Role → measure → value."""
    changes: Mapping[str, Estimate]
    """Measure → challenger minus champion."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How the cells were judged."""

    cells: tuple[Cell, ...] = ()
    measure: Measure = "logloss"
    tolerance: float = 0.0
    """How much worse than the champion a cell may be, in the unit of the measure."""
    confidence: float = 0.95
    judged: Mapping[str, str] = field(default_factory=dict)
    """Task → the day on which it was judged, YYYY-MM-DD."""
    next_day: str = ""
    """The day after the night; empty when nobody said."""
    settles: str = ""
    """The night that brings the next day's last labels."""
    settled: tuple[str, ...] = ()
    """The tasks that were judged on the next day."""
    curves: tuple[Curve, ...] = ()
    trends: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)
    """Task → the gate's measure of the last nights' challengers over all scenarios."""
    numbers: tuple[Numbers, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One of a cell's four flows, in the challenger and in the champion."""

    name: str
    """One of ``features.spec.FLOWS``: the scenario's part, then the task's."""
    keep_rate: float
    """Share of the cell's samples that keep the flow, 0–1."""
    strength: float
    """Mean weight of the flow over the cell's samples; a pruned one counts 0."""
    champion_keep_rate: float | None = None
    champion_strength: float | None = None
    flip: bool = False
    """Kept by one of the two models and pruned by the other."""


@dataclass(frozen=True, kw_only=True)
class CellMask:
    """The mask of one cell: its four flows, measured on the same samples for both models."""

    scenario: str
    task: str
    flows: tuple[Flow, ...]


@dataclass(frozen=True, kw_only=True)
class Masks:
    """The masks of all cells."""

    cells: tuple[CellMask, ...] = ()
    """Empty for a model without masks."""
    agreement: float | None = None
    """Share of flows on which challenger and champion agree, 0–1."""
    chance: float | None = None
    """The agreement expected of two unrelated masks that keep as many flows."""
    chance_range: tuple[float, float] | None = None
    """Where 95 of 100 such pairs agree."""
    since_search: float | None = None
    """Share of flows that flipped since the search before; None when there was none."""
    searched_on: str | None = None
    samples: int | None = None
    """How many samples both models were looked at with."""


@dataclass(frozen=True, kw_only=True)
class Day:
    """One published day of samples, and what it was used for tonight."""

    ds: str
    uses: tuple[Use, ...] = ()
    judged: tuple[str, ...] = ()
    """The tasks that were judged on it."""
    rows: int | None = None
    """None when the day is not published."""
    scenarios: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, float | None] = field(default_factory=dict)
    """Task → share of positives among mature labels; None while none is mature."""
    quarantined: Mapping[str, int] = field(default_factory=dict)
    """Rule → rejected rows; a row may break several rules."""
    as_of: str | None = None
    """Last day whose files the partition was built with."""
    version: int | None = None
    """Delta version of the samples table that published it."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something the audit noticed."""

    ds: str
    severity: Literal["stop", "warn"]
    check: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Data:
    """The days behind the models."""

    days: tuple[Day, ...] = ()
    """Oldest first; the last is the night's own."""
    findings: tuple[Finding, ...] | None = None
    """None when no audit was recorded."""
    docs_link: str | None = None
    """Relative link to Great Expectations' Data Docs."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A number that may have drifted."""

    kind: Literal["input", "prediction", "mask"]
    measure: str
    scenario: str = ""
    task: str = ""
    subject: str = ""
    value: float
    usual: float | None = None
    moved: float
    change: Estimate = UNKNOWN
    """Relative change with its interval, of predictions."""
    limit: float | None = None
    stop: float | None = None
    severity: Literal["", "warn", "stop"] = ""
    text: str


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What moved since the days before and since the champion."""

    rows: tuple[Moved, ...] = ()
    findings: tuple[tuple[Literal["warn", "stop"], str], ...] = ()
    """Severity and sentence, the most serious first."""
    probe: str | None = None
    """The day from which the samples were drawn that predictions are compared on."""
    probe_rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where to look further."""

    name: str
    address: str


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at the validation days during training."""

    stage: str
    step: int
    """Batches trained on in the stage so far."""
    train_loss: float | None = None
    """Mean over the batches since the last look."""
    validation_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of the night."""

    name: str
    seconds: float
    started: datetime | None = None
    rows: int | None = None
    parts: tuple[tuple[str, float], ...] = ()
    """Name and seconds of what the step spent its time on."""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """One night of one product."""

    product: str
    ds: str
    scenarios: tuple[str, ...]
    tasks: tuple[str, ...]
    decision: Decision
    written: datetime
    """When the report was written."""
    quality: Quality | None = None
    """None when the night was not evaluated."""
    masks: Masks | None = None
    """None when the night was not evaluated."""
    drift: Drift | None = None
    """None when the night was not evaluated, or by a release that did not look."""
    data: Data = Data()
    looks: tuple[Look, ...] = ()
    """The training, oldest look first."""
    steps: tuple[Step, ...] = ()
    model: str | None = None
    """Which model of the zoo was trained; None when none was."""
    provenance: tuple[tuple[str, str], ...] = ()
    """What the model can be rebuilt from: name and value."""
    link: str | None = None
    """Address of the report, for the short message."""
    links: tuple[Link, ...] = ()
    """The night's runs in Airflow and MLflow, and its Data Docs."""


@dataclass(frozen=True, kw_only=True)
class Night:
    """One line of the index of all nights."""

    ds: str
    file: str
    outcome: Outcome
    version: str | None = None
    champion: str | None = None
    reason: str = ""
    rows: int | None = None
    seconds: float | None = None
    moved: int | None = None
    """How many numbers moved beyond their limit; None when nobody looked."""
    settled: bool | None = None
    """Whether its model was judged on the next day; None without a model."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two versions that are compared."""

    version: str
    ds: str = ""
    """Its night, when it has one."""
    created: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Change:
    """A fact about both versions; empty where one has none."""

    name: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Diff:
    """Two versions on the same samples, and what each is made of."""

    old: Side
    new: Side
    report: ReportData
    """Quality, masks and predictions, the older as the champion."""
    made: tuple[Change, ...] = ()
    spec: tuple[Change, ...] = ()
    spec_note: str = "The specs are the same."
    """What is said where nothing is listed."""
