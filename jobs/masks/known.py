"""``autoifs masks planted``: the study of known flows, from data to table."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.home import Home
from jobs.masks.study import QUICK, Size, study
from jobs.masks.table import studied
from jobs.masks.verdict import goals
from jobs.provenance import in_words
from training.settings import prepare_torch

FIRST = 11
"""Seed of the first data set: recipe and prices were chosen on those before."""


def planted(
    *, home: Home, data: int, seeds: int, quick: bool = False, out: Path | None = None
) -> dict[str, Any]:
    """Train every kind of masks on data whose flows are known, and say what each is worth.

    Args:
        home: figures are kept in ``work/planted``, so that a stopped run goes on.
        data: how many data sets.
        seeds: models of each kind on each of them.
        quick: a tiny version, that only shows that it works.
        out: Markdown file that the tables are written to as well.
    """
    prepare_torch()
    # Every look at validation of some hundred trainings says nothing to a person.
    logging.getLogger("training").setLevel(logging.WARNING)
    size = QUICK if quick else Size()
    numbers = range(FIRST, FIRST + data)
    folder = home.root / "work" / "planted" / ("quick" if quick else "full")
    pairs = list(study(numbers, range(1, seeds + 1), size, folder))
    text = studied(pairs, _how(size, data, seeds)) + "\n"
    if out is not None:
        out.write_text(text, encoding="utf-8")
    return {"goals": [asdict(one) for one in goals(pairs)], "message": text}


def _how(size: Size, data: int, seeds: int) -> str:
    return (
        f"Data sets {FIRST} to {FIRST + data - 1}, {seeds} seeds each: {size.train:,} rows to "
        f"learn from, 4 scenarios (70, 20, 8, 2 %) × 3 tasks; {size.search} epochs of search, "
        f"{size.retrain} of retraining. AUC and log loss are means over cells and trainings, by "
        "the true probabilities of the test rows; gap closed: from none pruned to the truth, over "
        "the data sets where the truth is better, ± one standard error over them; strength: the "
        "mean, 0 where pruned; cost: time of one core in trainings without a search. "
        f"{in_words()}"
    )
