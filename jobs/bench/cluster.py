"""``autoifs bench cluster``: what executor cores, ranks and requests to a store cost.

Tables lie on a real object store, Spark has workers of its own.
"""

import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from features.errors import UserError
from jobs.bench.factory import PRODUCT
from jobs.bench.measure import Desk
from jobs.bench.request import Request
from jobs.cluster.spark import Spark
from jobs.cluster.store import Store
from jobs.console import Tables, show_tables, tables_in_markdown
from jobs.home import Home
from jobs.simulator.run import START

Result = dict[str, Any]

MANY = (1, 2)
"""Executor cores, and ranks, that are compared."""
BUILT = 2
"""Days of the build that is timed: its history, and itself."""
DAYS = 4
NIGHT = START + timedelta(days=DAYS - 1)
JUDGED = ("register", "evaluate", "gate", "report")
"""Jobs of a night after its training."""
BUCKET = "bench"
PRICES = {"write": 0.005, "read": 0.0004}
"""US dollars for 1,000 requests (S3 Standard, us-east-1, https://aws.amazon.com/s3/pricing/)."""
_REQUEST = re.compile(r" s3_(\w+) (\S+) ")
_WRITES = ("Put", "Post", "Copy", "Create", "Upload", "Complete", "List")
"""What S3 charges as writing; deleting is free."""

log = logging.getLogger(__name__)


def bench(*, home: Home, rows: int, night_rows: int, repeats: int) -> Result:
    """Measure a build against executor cores, a training against ranks, and a night's requests.

    Args:
        home: its scratch space holds raw files, tables and the servers' data meanwhile.
        rows: impressions of the day that is built on more and more executor cores; from
            ``jobs.partition.BULK`` on a day is spread over all of them.
        night_rows: impressions of each of the ``DAYS`` days with which a night is run and trained.
        repeats: how often a build is done in one session; the quickest counts.

    Returns:
        ``build`` and ``train`` (a row for each of ``MANY``), ``night`` (requests by job, dollars),
        ``tables`` (bytes and files a table, bytes a sample), and all of it as ``markdown``.

    Raises:
        UserError: for too few rows.
        ServiceError: when a server or a job fails.
    """
    if min(rows, night_rows) < 1000:
        raise UserError("a day of fewer than 1000 impressions tells nothing; ask for more rows")
    with (
        home.scratch() as folder,
        Store(folder=folder / "store", cache=home.cache).serving() as store,
    ):
        store.client().create_bucket(Bucket=BUCKET)
        yard = Yard(folder, home.cache, store, night_rows, repeats)
        found: Result = {"rows": rows, "night_rows": night_rows}
        found["build"] = [yard.build(rows, cores) for cores in MANY]
        found["night"], found["tables"] = yard.night(), yard.tables()
        found["train"] = [yard.train(ranks) for ranks in MANY]
    shown = _tables(found)
    show_tables(shown)
    return {**found, "markdown": tables_in_markdown(shown)}


class Yard(Desk):
    """Runs jobs whose tables lie on an object store, each in a process of its own."""

    def __init__(self, folder: Path, cache: Path, store: Store, rows: int, repeats: int) -> None:
        super().__init__(folder, cache, max(MANY), repeats)
        self.store, self.rows = store, rows
        self.raw = self._simulated(days=DAYS, rows=rows)
        self.seen = 0

    def build(self, rows: int, cores: int) -> Result:
        """Time a day's build on so many workers of one core; the driver has none of them."""
        raw = self.folder / f"raw-{rows}"
        if not raw.exists():
            self._simulated(days=BUILT, rows=rows)
        log.info("a day of %d impressions on %d executor cores", rows, cores)
        spark = Spark(
            folder=self.folder / f"spark-{cores}", cache=self.cache, workers=cores, memory="2g"
        )
        with spark.serving():
            place = {
                **self._place(f"cores-{cores}"),
                "AUTOIFS_SPARK_MASTER": spark.url,
                "SPARK_CONF_DIR": str(spark.settings),
            }
            request = Request(
                work="cluster",
                raw=raw,
                out=self.folder / f"cores-{cores}",
                cache=self.cache,
                days=tuple(START + timedelta(days=number) for number in range(BUILT)),
                cores=cores,
                repeats=self.repeats,
            )
            said = self._run(["jobs.bench.child", request.text()], place)
        builds = len(request.days) - 1 + self.repeats
        worked = {name: total / builds for name, total in spent(spark.events).items()}
        return {"cores": cores, "seconds": min(said["seconds"]), "steps": said["steps"], **worked}

    def night(self) -> list[Result]:
        """Count what the jobs of a night ask of the store, one after another."""
        self._job("samples", "run", "--from", START, "--to", NIGHT - timedelta(days=1))
        self._requests()
        found = []
        for words in (("samples", "night"), ("train",), *((name,) for name in JUDGED)):
            log.info("requests of %s", " ".join(words))
            self._job(*words, "--ds", NIGHT)
            found.append({"job": " ".join(words), **counted(self._requests())})
        return found

    def tables(self) -> list[Result]:
        """Return what each table occupies after the night: bytes and files, its log beside."""
        sizes: dict[str, Counter[str]] = {}
        pages = self.store.client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=BUCKET, Prefix=f"night/{PRODUCT}/"):
            for one in page.get("Contents", ()):
                table, _, rest = one["Key"].split("/", 2)[2].partition("/")
                kind = "log" if rest.startswith("_delta_log/") else "data"
                counts = sizes.setdefault(table, Counter())
                counts.update({f"{kind}_files": 1, f"{kind}_bytes": one["Size"]})
        samples = DAYS * self.rows
        return [
            {"table": table, **counts, "bytes_a_sample": round(counts["data_bytes"] / samples, 1)}
            for table, counts in sorted(sizes.items(), key=lambda one: -one[1]["data_bytes"])
            if not table.startswith("_")
        ]

    def train(self, ranks: int) -> Result:
        """Time a night's trainings in so many processes, of one core each."""
        log.info("a training in %d processes", ranks)
        torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        program = str(Path(sys.executable).with_name("autoifs"))
        words = [*torchrun, "--no-python", program, "train", "--retrain", *self._where(NIGHT)]
        place = {**self._place("night"), "OMP_NUM_THREADS": "1"}
        said = self._run(words, place)
        steps = {name: said["steps"][f"train {name}"] for name in ("challenger", "baseline")}
        return {"ranks": ranks, "rows": said["rows"]["train"], **steps}

    def _job(self, *words: object) -> Result:
        where = self._where()
        source = ["--source", str(self.raw)] if words[0] == "samples" else []
        return self._run(
            ["jobs", *map(str, words), *where, *source],
            {**self._place("night"), "AUTOIFS_SPARK_MASTER": f"local[{self.cores}]"},
        )

    def _where(self, day: date | None = None) -> list[str]:
        ds = [] if day is None else ["--ds", str(day)]
        return [*ds, "--home", str(self.folder / "home"), "--spec", PRODUCT]

    def _place(self, name: str) -> Mapping[str, str]:
        return {
            **self.store.environment(),
            "AUTOIFS_LAKE": f"s3a://{BUCKET}/{name}",
            "AUTOIFS_WORK": f"s3://{BUCKET}/work",
        }

    def _requests(self) -> list[str]:
        """Return the lines that the store wrote down since the last call."""
        lines = Path(self.store.requests).read_text(encoding="utf-8").splitlines()
        fresh, self.seen = lines[self.seen :], len(lines)
        return fresh


def spent(events: Path) -> Result:
    """Return what the tasks in Spark's event logs took.

    Args:
        events: the folder with the logs of applications.

    Returns:
        ``cpu_seconds`` of executors, ``shuffle_bytes`` and ``spilled_bytes`` that they wrote.
    """
    sums = {"cpu_seconds": 0.0, "shuffle_bytes": 0, "spilled_bytes": 0}
    for path in events.rglob("*"):
        if path.is_dir():
            continue
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if '"SparkListenerTaskEnd"' not in line:
                    continue
                task = json.loads(line).get("Task Metrics") or {}
                written = task.get("Shuffle Write Metrics", {})
                sums["cpu_seconds"] += task.get("Executor CPU Time", 0) / 1e9
                sums["shuffle_bytes"] += written.get("Shuffle Bytes Written", 0)
                sums["spilled_bytes"] += task.get("Disk Bytes Spilled", 0)
    return sums


def counted(lines: Iterable[str]) -> Result:
    """Return how many requests a log holds, by what S3 charges for, and what they cost.

    >>> counted(["- b [t] ip root ID s3_GetObject a /b/a 200", "- b [t] ip root ID s3_PutObject a"])
    {'read': 1, 'write': 1, 'dollars': 5.4e-06}
    """
    kinds: Counter[str] = Counter(read=0, write=0)
    for line in lines:
        found = _REQUEST.search(f"{line} ")
        if found and not found[1].startswith("Delete"):
            kinds["write" if found[1].startswith(_WRITES) else "read"] += 1
    dollars = sum(kinds[kind] * price / 1000 for kind, price in PRICES.items())
    return {**kinds, "dollars": round(dollars, 8)}


def _tables(found: Result) -> Tables:
    return [
        (
            f"a day of {found['rows']:,} impressions against executor cores",
            ("executor cores", "seconds", "÷ one core", "CPU s of executors", "shuffled, MiB"),
            [
                [*row, f"{one['cpu_seconds']:.0f}", f"{one['shuffle_bytes'] / 2**20:.0f}"]
                for row, one in zip(
                    _compared(found["build"], "cores", "seconds"), found["build"], strict=True
                )
            ],
        ),
        (
            f"training on {found['train'][0]['rows']:,} samples against ranks",
            ("ranks", "challenger, s", "÷ one rank", "baseline, s"),
            [
                [*row, f"{one['baseline']:.1f}"]
                for row, one in zip(
                    _compared(found["train"], "ranks", "challenger"), found["train"], strict=True
                )
            ],
        ),
        (
            "requests of a night to the object store",
            ("job", "write and list", "read", "US cents"),
            [
                [one["job"], str(one["write"]), str(one["read"]), f"{100 * one['dollars']:.2f}"]
                for one in [*found["night"], _sum(found["night"])]
            ],
        ),
        (
            f"tables after {DAYS} days of {found['night_rows']:,} impressions",
            ("table", "data files", "commits and checkpoints", "bytes a sample"),
            [
                [
                    one["table"],
                    str(one.get("data_files", 0)),
                    str(one.get("log_files", 0)),
                    str(one["bytes_a_sample"]),
                ]
                for one in found["tables"]
            ],
        ),
    ]


def _compared(rows: Sequence[Result], many: str, figure: str) -> list[list[str]]:
    first = rows[0][figure]
    return [[str(one[many]), f"{one[figure]:.1f}", f"{one[figure] / first:.2f}"] for one in rows]


def _sum(jobs: Sequence[Result]) -> Result:
    sums = {key: sum(one[key] for one in jobs) for key in ("write", "read", "dollars")}
    return {"job": "all", **sums}
