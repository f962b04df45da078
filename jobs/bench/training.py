"""``autoifs bench training``: what loading, a step, an answer and the tables' optimiser cost.

Everything is a ratio of two things measured in turn in one run, for machines differ and have other
work. The networks are of the paper's scale: 90 fields of width 16, layers 1024-512-256, batches of
4096, three scenarios, two tasks, rank 8.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch

from features.spec.policy import Embeddings
from jobs.bench.goals import Goal, check_parts, told
from jobs.bench.literal_autoifs import LiteralAutoIFS, LiteralSteps, Published
from jobs.bench.loading import rates
from jobs.bench.table import GOALS, goal_row
from jobs.benchmark.cost import in_turn
from jobs.console import Tables, show_tables, tables_in_markdown
from jobs.home import Home
from training.architecture import Architecture
from training.autoifs import AutoIFS
from training.crossfit import CrossFit
from training.folded import fold
from training.model import Model
from training.optimiser import Optimiser, Trained
from training.prepare import Inputs
from training.ranks import ALONE
from training.rows import Examples
from training.scores import predict
from training.settings import Settings, prepare_torch
from training.trainer import Trainer, constant
from training.zoo import build

Result = dict[str, Any]
Works = dict[str, Callable[[], Any]]

PARTS = ("loader", "step", "answer", "optimiser")
FIELDS, TOKENS, DIM = 90, 1000, 16
TRUNK, SCENARIO, RANK = (1024, 512), 256, 8
SCENARIOS, TASKS, BATCH = 3, 2, 4096
STEPS = 2
"""Steps that are timed at once."""
LOOKED_UP, LARGE, SMALL = 20, 5_000_000, 500_000
"""Fields and rows of the tables whose optimisers are timed."""


def bench(*, home: Home, parts: Collection[str], rows: int, repeats: int) -> Result:
    """Measure what a training is made of, each part beside what it is held to.

    Args:
        home: its scratch space holds the loader's table meanwhile.
        parts: which of ``PARTS``.
        rows: of the loader's table.
        repeats: rounds; medians are told.

    Returns:
        Milliseconds and rates, ``goals``, and both as ``markdown``.

    Raises:
        UserError: for an unknown part.
    """
    check_parts(parts, PARTS)
    prepare_torch()
    found: Result = {}
    goals: list[Goal] = []
    if "loader" in parts:
        with home.scratch() as folder:
            found["loader, million values a second"] = rates(folder, rows, repeats)
        goals += _of_loader(found["loader, million values a second"])
    for part, measure in (("step", _steps), ("answer", _answers), ("optimiser", _optimisers)):
        if part in parts:
            taken, held = measure(repeats)
            found[f"{part}, ms"] = {name: round(1000 * one, 1) for name, one in taken.items()}
            goals += held
    found["goals"] = told(goals)
    shown = _tables(found)
    show_tables(shown)
    return {**found, "markdown": tables_in_markdown(shown)}


def _of_loader(rate: Mapping[str, float]) -> list[Goal]:
    ours = rate["loader"]
    return [
        Goal("loader ÷ a bare pyarrow scan", ours / rate["pyarrow scan"], 0.8, least=True),
        Goal("loader ÷ a row-wise DataLoader", ours / rate["row-wise DataLoader"], 10, least=True),
    ]


def _steps(repeats: int) -> tuple[Mapping[str, float], list[Goal]]:
    rows = _rows(BATCH)
    works: Works = {"shared bottom": _stepping(_network("shared_bottom"), rows)}
    for stage in ("search", "retrain"):
        model = _network("autoifs")
        assert isinstance(model, AutoIFS)  # noqa: S101 (what the zoo builds by that name)
        works[f"AutoIFS, {stage}"] = _stepping(model, rows, soft=stage == "search")
        works[f"literal, {stage}"] = _literally(rows, ticket=stage == "retrain")
    taken = {name: one / STEPS for name, one in in_turn(works, repeats).items()}
    goals = []
    for stage, limit in (("retrain", 1.25), ("search", 1.6)):
        ours = taken[f"AutoIFS, {stage}"]
        goals.append(Goal(f"{stage} step ÷ shared bottom's", ours / taken["shared bottom"], limit))
        literal = taken[f"literal, {stage}"] / ours
        goals.append(Goal(f"literal {stage} step ÷ ours", literal, 3, least=True))
    return taken, goals


def _answers(repeats: int) -> tuple[Mapping[str, float], list[Goal]]:
    rows = _rows(BATCH).inputs
    model, bottom = _network("autoifs"), _network("shared_bottom")
    models = {"AutoIFS": model, "AutoIFS, folded": fold(model.eval()), "shared bottom": bottom}
    works: Works = {name: _answering(one, rows) for name, one in models.items()}
    taken = in_turn(works, repeats)
    ratio = taken["AutoIFS, folded"] / taken["shared bottom"]
    return taken, [Goal("folded answer ÷ shared bottom's", ratio, 1.1)]


def _optimisers(repeats: int) -> tuple[Mapping[str, float], list[Goal]]:
    dense, sparse = Embeddings(optimiser="adam"), Embeddings(optimiser="adagrad")
    works: Works = {
        "row-wise Adagrad, 0.5 M rows": _moving(SMALL, sparse),
        "row-wise Adagrad, 5 M rows": _moving(LARGE, sparse),
        "fused dense Adam, 5 M rows": _moving(LARGE, dense),
        "dense Adam, 5 M rows": _moving(LARGE, dense, fused=False),
    }
    taken = in_turn(works, repeats)
    small, large, _, adam = taken.values()
    return taken, [
        Goal("dense Adam ÷ row-wise Adagrad, 5 M rows", adam / large, 25, least=True),
        Goal("row-wise Adagrad, 5 M rows ÷ 0.5 M rows", large / small, 1.5),
    ]


def _network(
    kind: Any, *, fields: int = FIELDS, tokens: int = TOKENS, small: bool = False
) -> Model:
    torch.manual_seed(1)
    layers = ((8,), (8,), (2,)) if small else (TRUNK, (SCENARIO,), (RANK,))
    architecture = Architecture(
        kind=kind,
        cells=((True,) * TASKS,) * SCENARIOS,
        sizes=(tokens,) * fields,
        dims=(DIM,) * fields,
        bags=0,
        numbers=0,
        trunk=layers[0],
        scenario=layers[1],
        task=(),
        rank=layers[2],
        dropout=0.0,
    )
    return build(architecture, 1)


def _rows(n: int, *, fields: int = FIELDS, tokens: int = TOKENS) -> Examples:
    random = torch.Generator().manual_seed(2)
    inputs = Inputs(
        scenario=torch.randint(0, SCENARIOS, (n,), generator=random),
        index=torch.randint(0, tokens, (n, fields), generator=random, dtype=torch.int32),
        numbers=torch.zeros(n, 0),
    )
    return Examples(inputs, torch.randint(0, 2, (n, TASKS), generator=random).float())


def _settings(embeddings: Embeddings | None = None) -> Settings:
    return Settings(
        batch=BATCH,
        learning_rate=1e-3,
        gate_learning_rate=5e-3,
        ema=0.0,
        seed=1,
        device=torch.device("cpu"),
        task_weights=(1.0,) * TASKS,
        embeddings=embeddings or Embeddings(),
    )


def _stepping(model: Model, rows: Examples, *, soft: bool = False) -> Callable[[], Any]:
    """Return ``STEPS`` steps of the trainer, with flows that are searched or that hold still."""
    trainer = Trainer(model, rows, rows.narrow(0, 64), _settings())
    if not isinstance(model, AutoIFS):
        return lambda: trainer.run("timing", STEPS, constant, keep="last")
    if model.coefficients is None:
        raise TypeError("a table of strengths is what is timed")
    if not soft:
        model.harden()
        return lambda: trainer.run("timing", STEPS, constant, keep="last")
    model.soften()
    folds = CrossFit(model)
    trainer.hold(folds)

    def after(_: int) -> None:
        folds.strengths.shrink(1e-3)
        folds.balance()

    return lambda: trainer.run("timing", STEPS, constant, after=after, keep="last")


def _literally(rows: Examples, *, ticket: bool) -> Callable[[], Any]:
    """Return ``STEPS`` steps as the paper's code takes them, on the same rows."""
    torch.manual_seed(1)
    model = LiteralAutoIFS(
        rows=FIELDS * TOKENS,
        fields=FIELDS,
        dim=DIM,
        trunk=TRUNK,
        scenario=SCENARIO,
        scenarios=SCENARIOS,
        tasks=TASKS,
        rank=RANK,
    )
    if ticket:
        model.harden()
    steps = LiteralSteps(model, Published())
    index = rows.inputs.index.long() + torch.arange(FIELDS) * TOKENS

    def take() -> None:
        for _ in range(STEPS):
            steps.step(index, rows.inputs.scenario, rows.labels)

    return take


def _answering(model: Model, rows: Inputs) -> Callable[[], Any]:
    return lambda: predict(model, rows)


def _moving(table: int, embeddings: Embeddings, *, fused: bool = True) -> Callable[[], Any]:
    """Return one step of a network that is little more than its table of embeddings.

    Without ``fused``, Adam is the one that torch makes unless told otherwise.
    """
    tokens = table // LOOKED_UP
    model = _network("shared_bottom", fields=LOOKED_UP, tokens=tokens, small=True)
    settings = _settings(embeddings)
    optimiser = Optimiser(Trained.of(model, settings), [], settings, 0.01)
    if not fused:
        optimiser.each = {"network": torch.optim.Adam(model.parameters())}
    batches = _batches(tokens)
    weights = torch.ones(TASKS) / TASKS

    def take() -> None:
        rows = next(batches)
        optimiser.step(model.loss(rows.inputs, rows.labels, weights), ALONE)

    return take


def _batches(tokens: int) -> Iterator[Examples]:
    held = _rows(8 * BATCH, fields=LOOKED_UP, tokens=tokens)
    while True:
        for start in range(0, len(held), BATCH):
            yield held.narrow(start, BATCH)


def _tables(found: Result) -> Tables:
    *measured, goals = found.items()
    return [
        *(
            (title, ("what", title), [(name, f"{value:,.1f}") for name, value in figures.items()])
            for title, figures in measured
        ),
        ("goals", GOALS, [goal_row(goal) for goal in goals[1]]),
    ]
