"""Ten simulated days: eight as history, two as nights, with a report at the end."""

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date
from typing import Any

from features.days import DAY, span
from jobs.airflow import connect
from jobs.chain import Chain, run_options
from jobs.home import Home
from jobs.runs import results
from jobs.simulator import simulate
from jobs.timing import Stopwatch

PRODUCT = "bazaar"
START = date(2026, 1, 1)
DAYS = 10
NIGHTS = 2
ROWS = 6_000
SEED = 7

log = logging.getLogger(__name__)


def demo(*, home: Home, rows: int = ROWS, days: int = DAYS, nights: int = NIGHTS) -> dict[str, Any]:
    """Simulate a marketplace, backfill its first days and run the last ones as nights.

    One Airflow serves all of it; the logs are simulated while it starts.

    Args:
        home: where everything lies; the raw logs go to its ``raw/bazaar``.
        rows: impressions a simulated day.
        days: how many days.
        nights: how many of them, at the end, go through the whole chain.

    Returns:
        ``report`` (its path), ``model`` (the last night's version), ``champion``, ``days``,
        ``cells`` (scenario, task, auc, n), ``steps``.

    Raises:
        UserError: the sentence of the step that failed.
    """
    watch = Stopwatch()
    chain = Chain(PRODUCT)
    every = list(span(START, START + (days - 1) * DAY))
    history, later = every[:-nights], every[-nights:]
    with ExitStack() as stack:
        with watch.step("start"):
            beside = stack.enter_context(ThreadPoolExecutor(1))
            raw = beside.submit(
                simulate, home.raw(PRODUCT), days=days, rows=rows, seed=SEED, start=START
            )
            client = stack.enter_context(connect(home, chain.dags))
            chain.make_pools(client)
            log.info("simulated %d days of %d impressions", raw.result()["days"], rows)
        with watch.step("backfill"):
            conf = run_options(None, to=history[-1].isoformat())
            chain.backfill(client, history[0], history[-1], conf, "completed")
        with watch.step("nights"):
            chain.nights(client, later, {})
    return {**_outcome(home, later[-1]), "days": days, "steps": watch.seconds}


def _outcome(home: Home, day: date) -> dict[str, Any]:
    """Return what the last night came to, as its jobs wrote it down."""
    said = results(home.lake(PRODUCT), day)
    return {
        "report": said["report"]["report"],
        "model": said["evaluate"]["version"],
        "champion": said["gate"]["champion"],
        "cells": [
            {name: cell[name] for name in ("scenario", "task", "auc", "n")}
            for cell in said["evaluate"]["cells"]
            if cell["scenario"] and cell["task"]
        ],
    }
