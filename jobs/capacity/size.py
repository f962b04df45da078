"""``autoifs capacity size``: machines, bytes, files and money of a night, from measured costs."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from features.errors import UserError

MILLION = 1_000_000
HOUR = 3600.0
GB = 1e9


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Table(_Strict):
    """What a table takes."""

    bytes: PositiveFloat
    """An impression, compressed."""
    days: PositiveInt
    """How many are kept."""


class Measured(_Strict):
    """Costs that ``autoifs bench cluster`` measures; seconds are CPU seconds of one core."""

    build_seconds: PositiveFloat
    """Of executors, a million impressions."""
    shuffle_bytes: PositiveFloat
    """An impression."""
    train_seconds: PositiveFloat
    """A million samples of the window: all that a night trains, challenger and baseline."""
    efficiency: PositiveFloat
    """Of twice the executor cores: half of one core's seconds over those of two."""
    row_bytes: PositiveFloat
    """Of a sample in a training's memory."""
    requests: dict[str, PositiveInt]
    """``write`` and ``read``: of a night whose tables have one file a day."""
    tables: dict[str, Table]


class Assumed(_Strict):
    """What nobody measured here: machines, their prices, how the time is divided."""

    gpu_over_core: PositiveFloat
    """How many cores' training one GPU does."""
    window: PositiveInt
    """Days that a training reads."""
    build_hours: PositiveFloat
    """In which the samples must be made."""
    train_hours: PositiveFloat
    executor_cores: PositiveInt
    """Of one executor."""
    file_bytes: PositiveFloat
    """Of a data file: what Spark writes and reads best."""
    executors: PositiveInt
    """The most that the team's share of the cluster holds."""
    disk_bytes: PositiveFloat
    """An executor's, for its part of the shuffle."""
    gpus: PositiveInt
    """The most that one training may have."""
    gpu_host_bytes: PositiveFloat
    """Memory of a host beside each GPU: a training that has more rows than fit streams them."""
    files: PositiveInt
    """Data files of one table from which planning a query over all of them takes minutes."""
    dollars: dict[str, PositiveFloat]
    """``core_hour``, ``gpu_hour``, ``gb_month``, ``write`` and ``read`` (1,000 requests)."""


class Costs(_Strict):
    """The file with both."""

    measured: Measured
    assumed: Assumed


def read_costs(path: Path) -> Costs:
    """Read measured and assumed costs.

    Raises:
        UserError: with the file, the path inside it and what is wrong there.
    """
    try:
        return Costs(**(yaml.safe_load(path.read_text(encoding="utf-8")) or {}))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} can't be read as costs: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path.name}: {place}: {first['msg']}") from None


def sizes(costs: Costs, impressions: Sequence[float]) -> dict[str, Any]:
    """Return what each number of impressions a day asks for, and what each limit allows.

    Returns:
        ``sizes``: one of :func:`size` each; ``limits``: limit → impressions a day at which it is
        met, the first first.
    """
    found = limits(costs)
    return {
        "sizes": [size(costs, each) for each in impressions],
        "limits": dict(sorted(found.items(), key=lambda one: one[1])),
    }


def size(costs: Costs, impressions: float) -> dict[str, Any]:
    """Return the machines, bytes, files and dollars of a night with so many impressions."""
    known, wanted = costs.measured, costs.assumed
    millions = impressions / MILLION
    core_hours = known.build_seconds * millions / known.efficiency / HOUR
    cores = ceil(core_hours / wanted.build_hours)
    gpu_hours = _gpu_hours(costs) * impressions
    stored = {name: impressions * one.bytes * one.days for name, one in known.tables.items()}
    files = {name: _files(costs, impressions, one) for name, one in known.tables.items()}
    requests = {
        # A night touches each day's files; a day of one file is what was measured.
        kind: ceil(count * max(1.0, _night_files(costs, impressions)))
        for kind, count in known.requests.items()
    }
    price = wanted.dollars
    dollars = {
        "samples": core_hours * price["core_hour"],
        "training": gpu_hours * price["gpu_hour"],
        "storage": sum(stored.values()) / GB * price["gb_month"] / 30,
        "requests": sum(requests[kind] / 1000 * price[kind] for kind in requests),
    }
    return {
        "impressions": impressions,
        "executors": ceil(cores / wanted.executor_cores),
        "core_hours": core_hours,
        "shuffle_bytes": known.shuffle_bytes * impressions,
        "gpus": ceil(gpu_hours / wanted.train_hours),
        "gpu_hours": gpu_hours,
        "stored_bytes": stored,
        "files": files,
        "requests": requests,
        "dollars": {**dollars, "night": sum(dollars.values())},
    }


def limits(costs: Costs) -> dict[str, float]:
    """Return limit → impressions a day at which it is met."""
    known, wanted = costs.measured, costs.assumed
    cores = wanted.executors * wanted.executor_cores
    seconds = cores * wanted.build_hours * HOUR * known.efficiency
    largest = max(known.tables.values(), key=lambda one: one.bytes * one.days)
    return {
        "executors": seconds / known.build_seconds * MILLION,
        "shuffle disks": wanted.executors * wanted.disk_bytes / known.shuffle_bytes,
        "GPU hours": wanted.gpus * wanted.train_hours / _gpu_hours(costs),
        "rows in a training's memory": (
            wanted.gpus * wanted.gpu_host_bytes / (known.row_bytes * wanted.window)
        ),
        "files of one table": wanted.files / largest.days * wanted.file_bytes / largest.bytes,
    }


def _gpu_hours(costs: Costs) -> float:
    """Return the GPU hours of a night, for each impression a day."""
    known, wanted = costs.measured, costs.assumed
    seconds = known.train_seconds / MILLION * wanted.window
    return seconds / wanted.gpu_over_core / HOUR


def _files(costs: Costs, impressions: float, table: Table) -> int:
    return table.days * max(1, ceil(impressions * table.bytes / costs.assumed.file_bytes))


def _night_files(costs: Costs, impressions: float) -> float:
    """Return how many files a table's day has, on average over the tables."""
    tables = costs.measured.tables.values()
    return sum(_files(costs, impressions, one) / one.days for one in tables) / len(tables)
