"""What a spec decides about checking, training and promoting: audit, training, gate, alerts."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from features.conditions import ConditionError, parse
from features.spec.base import Duration, Name, Section
from features.spec.search import Search

AuditCheck = Literal[
    "schema",
    "key-unique",
    "volume",
    "label-rate",
    "null-rate",
    "feature-range",
    "maturity",
    "category-drift",
]


class Audit(Section):
    """Which checks of a staged partition stop its publication and which only warn."""

    stop: tuple[AuditCheck, ...] = ("schema", "key-unique", "volume", "feature-range", "maturity")
    warn: tuple[AuditCheck, ...] = ("label-rate", "null-rate", "category-drift")
    volume_tolerance: float = Field(default=0.5, gt=0)
    """Allowed change of the row count against the median of the same weekday, or the last days."""
    rate_tolerance: float = Field(default=0.5, gt=0)
    """Widest relative change of a cell's label rate, however much it varied on the days before."""
    null_tolerance: float = Field(default=0.1, ge=0, le=1)
    """How much larger than before a feature's share of nulls may be (absolute)."""
    drift_tolerance: float = Field(default=0.25, gt=0)
    """Population stability index from which a category is called drifted, by common usage."""
    history: int = Field(default=7, ge=1)
    """How many published days the limits are learned from."""
    weeks: int = Field(default=4, ge=1)
    """How many weeks back the same weekday's volume is looked up."""


Width = Annotated[int, Field(ge=1)]


class Network(Section):
    """Widths of the network every model of the zoo is built from."""

    trunk: tuple[Width, ...] = (256, 128)
    """Widths of the layers shared by all scenarios and tasks."""
    scenario: tuple[Width, ...] = Field(default=(64,), min_length=1)
    """Widths of the scenario layers (shared part plus a low-rank specific part)."""
    task: tuple[Width, ...] = ()
    """Widths of AutoIFS's hidden task layers, which are made like the scenario layers; the last
    layer of a task is one wide and always there."""
    rank: Width | Annotated[tuple[Width, ...], Field(min_length=1)] = 4
    """Rank of the own parts: one for all, or one for each scenario layer, then each task layer."""
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _a_rank_each(self) -> Self:
        layers = len(self.scenario) + len(self.task)
        if not isinstance(self.rank, int) and len(self.rank) != layers:
            raise ValueError(
                f"rank: {len(self.rank)} ranks for {layers} layers; give one number, or one for "
                "each scenario layer and each task layer"
            )
        return self

    @property
    def ranks(self) -> tuple[int, ...]:
        """The rank of each scenario layer, then of each task layer."""
        if isinstance(self.rank, int):
            return (self.rank,) * (len(self.scenario) + len(self.task))
        return self.rank


ModelName = Literal[
    "autoifs",
    "shared_bottom",
    "mlp_per_cell",
    "mlp_per_task",
    "mmoe",
    "ple",
    "star",
    "pepnet",
    "esmm",
    "aitm",
    "m3oe",
    "hinet",
    "causalint",
    "taml",
    "dffm",
    "lightgbm",
]
"""The models of the zoo; `training/README.md` says what each does and from which paper."""


class Trees(Section):
    """How LightGBM's trees are grown, for the model and for a teacher; the names are LightGBM's."""

    num_leaves: int = Field(default=63, ge=2)
    min_data_in_leaf: int = Field(default=200, ge=1)
    learning_rate: float = Field(default=0.04, gt=0)
    feature_fraction: float = Field(default=0.5, gt=0, le=1)
    bagging_fraction: float = Field(default=0.8, gt=0, le=1)
    lambda_l2: float = Field(default=5.0, ge=0)
    rounds: int = Field(default=1000, ge=1)
    """Most trees a task may have."""
    patience: int = Field(default=50, ge=1)
    """Trees without a better validation log loss after which growth stops."""


class Teacher(Section):
    """Who softens the labels that a network learns from; in the spec, its name is enough."""

    model: Literal["lightgbm"] = "lightgbm"
    weight: float = Field(default=0.8, gt=0, le=1)
    """Share of the teacher's probability in the target; the label has the rest."""
    folds: int = Field(default=4, ge=2)
    """Parts of the users; the teacher of each part saw the others only."""


def _by_name(value: object) -> object:
    return {"model": value} if isinstance(value, str) else value


class Loss(Section):
    """What a label weighs in the loss."""

    tasks: Literal["weighted", "uncertainty"] = "weighted"
    """By `tasks.<task>.weight` alone, or also by how well each task can be learned (Kendall et al.,
    CVPR 2018), which is learned with the weights."""
    balance: float = Field(default=0.0, ge=0, le=1)
    """A row of a scenario with n rows weighs n^-balance: 0 weighs rows alike, 1 scenarios."""


class Embeddings(Section):
    """How the tables of embeddings are trained."""

    optimiser: Literal["adam", "adagrad"] = "adam"
    """Adam moves every row at every step; row-wise Adagrad those that a batch holds, at a cost that
    does not grow with the table."""
    learning_rate: float = Field(default=0.02, gt=0)
    """Of Adagrad; Adam has the network's."""
    sharded: bool = False
    """Whether each of several ranks holds and moves a part of the rows, for tables that are larger
    than one of them; needs Adagrad."""

    @model_validator(mode="after")
    def _rows_move_apart(self) -> Self:
        if self.sharded and self.optimiser != "adagrad":
            raise ValueError("'sharded: true' needs 'optimiser: adagrad', which moves single rows")
        return self


class WarmStart(Section):
    """A night that goes on from the weights of the version before it."""

    epochs: int = Field(default=1, ge=1)
    """Over the window, in the place of the warm-up and ``training.epochs``."""


def _started(value: object) -> object:
    return WarmStart() if value is True else None if value is False else value


class Training(Section):
    """What is trained on which days, and how."""

    model: ModelName = "autoifs"
    window: Duration = timedelta(days=28)
    validate_on: Duration = Field(default=timedelta(days=1), alias="validate")
    epochs: int = Field(default=3, ge=1)
    batch: int = Field(default=1024, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    gate_learning_rate: float = Field(default=5e-3, gt=0)
    """Of AutoIFS's gates, and of what another model learns from held-out rows."""
    ema: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the weights' moving average, per step; 0 turns it off."""
    calibration: Literal["cell", "none"] = "cell"
    """Whether each cell's probabilities are corrected by what its validation days showed."""
    seed: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    warm_start: Annotated[WarmStart | None, BeforeValidator(_started)] = None
    """Left out: every night trains from fresh weights. Trees are grown anew in any case."""
    memory: float | None = Field(default=None, gt=0)
    """GiB that the rows of a night may take, beyond which they are read while they train; left out:
    a quarter of the machine's."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the products inside the network while it trains; weights and predictions stay float32."""
    compile: bool = False
    """Whether torch compiles the network: worth its minute where a training takes many."""
    loss: Loss = Loss()
    embeddings: Embeddings = Embeddings()
    teacher: Annotated[Teacher | None, BeforeValidator(_by_name)] = None
    """Left out: networks learn from the labels alone. LightGBM has no teacher."""
    network: Network = Network()
    search: Search = Search()
    trees: Trees = Trees()

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


Bounds = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class CalibrationBounds(Section):
    """How far a cell's probabilities may be off before its model is refused."""

    pcoc: Bounds = (0.5, 2.0)
    """Least and most of predicted over observed positives."""
    ece: float | None = Field(default=None, gt=0)
    """Most of the expected calibration error, in probability; left out: any."""

    @field_validator("pcoc")
    @classmethod
    def _in_order(cls, pcoc: Bounds) -> Bounds:
        if pcoc[0] >= pcoc[1]:
            raise ValueError("give the least first, such as [0.8, 1.25]")
        return pcoc


class Approval(Section):
    """How a person is asked before the champion changes."""

    timeout: Duration = timedelta(days=7)
    """How long the question stands."""
    otherwise: Literal["reject", "approve"] = "reject"
    """What is done when nobody answers in time."""


def _asked(value: object) -> object:
    return Approval() if value is True else None if value is False else value


class Gate(Section):
    """The test a challenger must pass to become champion."""

    mode: Literal["enforce", "report", "off"] = "enforce"
    measure: Literal["logloss", "auc"] = "logloss"
    tolerance: float = Field(default=0.002, ge=0)
    """How much worse than the champion a cell may be."""
    tolerances: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """The same for a scenario, a task, or a cell (``scenario/task``), which goes first."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    minimum: int = Field(default=30, ge=1)
    """Positives, negatives and users a cell needs before it is judged."""
    calibration: CalibrationBounds = CalibrationBounds()
    approval: Annotated[
        Approval | None, BeforeValidator(_asked, json_schema_input_type=bool | Approval)
    ] = None
    """Whether, and how, a person must agree before the champion changes."""

    def tolerance_of(self, scenario: str, task: str) -> float:
        """Return how much worse a cell may be; ``''`` stands for all scenarios."""
        for name in (f"{scenario}/{task}", scenario, task):
            if name in self.tolerances:
                return self.tolerances[name]
        return self.tolerance


DriftMeasure = Literal[
    "psi",
    "oov",
    "volume",
    "label-rate",
    "prediction-psi",
    "prediction-mean",
    "logit-shift",
    "keep-rate",
    "strength",
    "agreement",
    "flips",
]
_WORTH_A_WORD: dict[DriftMeasure, float] = {
    "psi": 0.1,
    "oov": 0.02,
    "volume": 0.3,
    "label-rate": 0.1,
    "prediction-psi": 0.1,
    "prediction-mean": 0.1,
    "agreement": 0.0,
}


class Drift(Section):
    """How far inputs, predictions and masks may move before it is told, or stops a promotion.

    ``psi`` (population stability index of a feature) and ``oov`` (share of tokens that are new) are
    absolute, ``volume`` and ``label-rate`` relative to the last days; ``prediction-psi``,
    ``prediction-mean`` (relative) and ``logit-shift`` compare challenger and champion on the same
    probe samples, as do ``keep-rate``, ``strength``, ``agreement`` (how far below that of unrelated
    masks) and ``flips`` (share of flows since the last search).
    """

    reference: int = Field(default=7, ge=2)
    """Published days before a day that it is compared with."""
    warn: dict[DriftMeasure, float | None] = Field(default_factory=dict, validate_default=True)
    """The smallest change worth a word; what the last days vary by anyway raises it."""
    stop: dict[DriftMeasure, float | None] = Field(default_factory=dict)
    """A change that keeps a challenger from being promoted; none unless declared."""
    probe: int = Field(default=2000, ge=1)
    """Samples of each scenario that every model's predictions are compared on."""

    @field_validator("warn")
    @classmethod
    def _with_defaults(
        cls, warn: dict[DriftMeasure, float | None]
    ) -> dict[DriftMeasure, float | None]:
        return {**_WORTH_A_WORD, **warn}

    @field_validator("warn", "stop")
    @classmethod
    def _not_negative(
        cls, limits: dict[DriftMeasure, float | None]
    ) -> dict[DriftMeasure, float | None]:
        for measure, limit in limits.items():
            if limit is not None and limit < 0:
                raise ValueError(f"{measure}: {limit:g} is below 0; a limit is how far it may move")
        return limits


CLOCK = ("hour", "weekday")
"""What a slice may ask of a sample's time: 0 to 23, and 1 (Monday) to 7, in the spec's zone."""


class Evaluation(Section):
    """What models are measured on beside cells, scenarios and tasks."""

    slices: dict[Name, str] = Field(default_factory=dict)
    """Name → condition on ``scenario``, the features' columns, ``hour`` and ``weekday``; a sample
    may be in several slices."""

    @field_validator("slices")
    @classmethod
    def _readable(cls, slices: dict[str, str]) -> dict[str, str]:
        for name, text in slices.items():
            try:
                parse(text)
            except ConditionError as error:
                raise ValueError(f"{name}: {error}") from None
        return slices


Event = Literal["failure", "rejection", "drift", "late"]


class Alerts(Section):
    """Where a night that failed, was refused, drifted or is late is told."""

    webhook_env: str | None = None
    """Environment variable with the address of a Slack-compatible webhook."""
    on: tuple[Event, ...] = ("failure", "rejection", "drift", "late")
