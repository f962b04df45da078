"""The data sets of a benchmark: made once below the home, with all labels of all days mature."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from features.days import DAY
from features.lake import Lake
from features.spec import Spec, find_spec, load_spec
from features.spec.policy import Embeddings
from jobs.benchmark.protocol import BAR, BASELINE, OURS
from jobs.home import Home

log = logging.getLogger(__name__)

START = date(2026, 1, 1)
SEED = 7
SMALL = {"batch": 256, "learning_rate": 2e-3, "embeddings": Embeddings(optimiser="adagrad")}
"""Training on simulated days: they have few rows, of which weights need some hundred steps."""
WINDOW = 5
"""Days after the last one until every outcome has come: 3 to buy in, 1 to be late, 1 over."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A data set, its samples built: the last day tests, the one before validates."""

    name: str
    title: str
    spec: Spec
    lake: Lake
    test: date
    models: tuple[str, ...] = ()
    """Models that are compared on it; none: all."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a simulated data set is."""

    days: int = 8
    rows: int = 6_000
    """Impressions a day."""


Maker = Callable[[Home, Size, Path | None], World | None]


def planted(home: Home, size: Size, _: Path | None) -> World:
    """Return the simulator's marketplace, where some flows carry nothing or harm."""
    return _simulated("planted", "simulator, planted flows", home, size, planted=True)


def plain(home: Home, size: Size, _: Path | None) -> World:
    """Return the same marketplace with every flow of use in every cell."""
    return _simulated("plain", "simulator, every flow of use", home, size, planted=False)


def kuairand(home: Home, _: Size, source: Path | None) -> World | None:
    """Return KuaiRand-Pure's eight days; None where its files are not."""
    if source is None or not source.is_dir():
        where = source or "nowhere: give --kuairand or set KUAIRAND_PURE"
        log.warning("kuairand is skipped: its published files are looked for in %s", where)
        return None
    first, last = date(2022, 4, 25), date(2022, 5, 2)
    return _built("kuairand", "KuaiRand-Pure", load_spec("kuairand"), home, source, first, last)


def kuairand_before(home: Home, size: Size, source: Path | None) -> World | None:
    """Return the same without its last day: what holds on one day should hold on another."""
    world = kuairand(home, size, source)
    if world is None:
        return None
    return replace(
        world,
        name="kuairand_before",
        title="KuaiRand-Pure, a day earlier",
        test=world.test - DAY,
        models=(BAR, BASELINE, OURS),
    )


MAKERS: dict[str, Maker] = {
    "planted": planted,
    "plain": plain,
    "kuairand": kuairand,
    "kuairand_before": kuairand_before,
}


def _simulated(name: str, title: str, home: Home, size: Size, *, planted: bool) -> World:
    from jobs.simulator import simulate

    raw = home.root / "benchmark" / name / "raw"
    simulate(raw, days=size.days + WINDOW, rows=size.rows, seed=SEED, start=START, planted=planted)
    last = START + (size.days - 1) * DAY
    spec = load_spec("bazaar")
    training = spec.training.model_copy(update=SMALL)
    spec = spec.model_copy(update={"training": training})
    return _built(name, title, spec, home, raw, START, last, WINDOW)


def _built(
    name: str,
    title: str,
    spec: Spec,
    home: Home,
    source: Path,
    first: date,
    last: date,
    wait: int = 0,
) -> World:
    """Build what is not built of the days, as known ``wait`` days after the last."""
    from jobs import samples

    own = Home(root=home.root / "benchmark" / name, cache=home.cache)
    lake = own.lake(spec.product)
    samples.run(
        spec=spec,
        spec_file_name=find_spec(spec.product).name,
        lake=lake,
        home=own,
        source=source,
        first=first,
        last=last,
        as_of=last + wait * DAY,
    )
    return World(name=name, title=title, spec=spec, lake=lake, test=last)
