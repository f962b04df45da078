"""The benchmark from data to table: build, train, judge, measure, write."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from features.errors import UserError
from jobs.benchmark.cost import Costs, Timed, costs
from jobs.benchmark.goals import goals
from jobs.benchmark.judge import Judgement, judge
from jobs.benchmark.picture import draw
from jobs.benchmark.protocol import BAR, FULL, QUICK, Changes, Protocol, narrowed
from jobs.benchmark.runs import Chosen, Trainings, words
from jobs.benchmark.table import markdown
from jobs.benchmark.worlds import MAKERS, Size, World
from jobs.home import Home
from jobs.provenance import in_words
from training.artifact import load
from training.material import Material
from training.settings import prepare_torch, settings_of

Result = dict[str, Any]


def benchmark(
    *,
    home: Home,
    out: Path,
    quick: bool = False,
    data: str = ",".join(MAKERS),
    models: str | None = None,
    seeds: int | None = None,
    kuairand: Path | None = None,
) -> Result:
    """Train, judge and time every model on every data set; write a table and a picture.

    What was trained is kept below the home, and taken over by a run that comes after.

    Args:
        home: where data sets and models are kept, below ``benchmark``.
        out: folder of ``benchmark.md`` and ``benchmark.svg``.
        quick: a tiny version of everything, that only shows that it works.
        data: names of data sets, separated by commas.
        models: entries, separated by commas; left out: all.
        seeds: how many; left out: as the protocol says.
        kuairand: folder of KuaiRand-Pure's files.

    Raises:
        UserError: an unknown name, or no data set at all.
    """
    prepare_torch()
    protocol = narrowed(QUICK if quick else FULL, models, seeds)
    size = Size(days=4, rows=600) if quick else Size()
    worlds, skipped = _worlds(home, size, data, kuairand)
    return compare(worlds, protocol, home=home, out=out, repeats=2 if quick else 6) | {
        "skipped": skipped
    }


def compare(
    worlds: Sequence[World], protocol: Protocol, *, home: Home, out: Path, repeats: int
) -> Result:
    """Do it on data sets that are there.

    Args:
        worlds: the data sets.
        protocol: what is compared.
        home: see :func:`benchmark`.
        out: see :func:`benchmark`.
        repeats: rounds in which steps and answers are timed.
    """
    # Every look at validation of some hundred trainings says nothing to a person.
    logging.getLogger("training").setLevel(logging.WARNING)
    judged: list[tuple[Judgement, Costs]] = []
    for world in worlds:
        trainings = Trainings(world, protocol, home.root / "benchmark" / world.name / "models")
        trained = list(trainings.all())
        material = trainings.material()
        rows = {"train": len(material.train), "validate": len(material.validate)}
        judged.append((judge(world, trained, rows), _costs(world, trained, material, repeats)))
    reached = [goal for one in judged for goal in goals(*one)]
    out.mkdir(parents=True, exist_ok=True)
    how = _how(protocol)
    table, drawn = out / "benchmark.md", out / "benchmark.svg"
    table.write_text(markdown(judged, reached, how), encoding="utf-8")
    drawn.write_text(draw(judged), encoding="utf-8")
    return {
        "table": str(table),
        "picture": str(drawn),
        "runs": sum(len(one.chosen.runs) for each, _ in judged for one in each.verdicts.values()),
        "goals": [asdict(goal) for goal in reached],
    }


def _worlds(
    home: Home, size: Size, data: str, kuairand: Path | None
) -> tuple[list[World], list[str]]:
    """Return the data sets that are there, made if need be, and the names of the others."""
    found, skipped = [], []
    for name in (one.strip() for one in data.split(",")):
        if name not in MAKERS:
            raise UserError(f"--data: '{name}' is no data set; known: {', '.join(MAKERS)}")
        world = MAKERS[name](home, size, kuairand)
        if world is None:
            skipped.append(name)
        else:
            found.append(world)
    if not found:
        raise UserError(f"--data {data}: none of it is there; give --kuairand its folder")
    return found, skipped


def _costs(world: World, trained: Sequence[Chosen], material: Material, repeats: int) -> Costs:
    models = {}
    for one in trained:
        scorer = load(Path(one.runs[0].folder))
        trees = material.trees if one.entry.model == BAR else None
        rows = trees.train if trees else material.held
        models[one.entry.name] = Timed(scorer.model, scorer.answering, rows)
    return costs(models, settings_of(world.spec), repeats)


def _how(protocol: Protocol) -> str:
    """Return the protocol and the machine in words."""
    seeds, trials = len(protocol.seeds), len(protocol.networks)
    networks, trees = _settings(protocol.networks), _settings(protocol.trees)
    if trials > 1:
        rule = (
            f"Every model tries {trials} settings with the first seed (networks: {networks}; "
            f"LightGBM: {trees}); the lowest log loss of the validation day wins and is trained "
            f"with {seeds} seeds. Then"
        )
    else:
        rule = (
            f"No network is tuned to a data set: each has the settings of its spec ({networks}; "
            f"LightGBM: {trees}) and {seeds} seeds. The validation day chooses epochs, trees and "
            "flows. Then"
        )
    return (
        f"{rule} the test day is read, once. Figures are means over the seeds, ± their standard "
        "deviation; differences are paired, with 95 % intervals clustered by user. Steps, answers "
        f"and training are seconds of one core. {in_words()}"
    )


def _settings(trials: Sequence[Changes]) -> str:
    return " or ".join(words(trial) or "nothing changed" for trial in trials)
