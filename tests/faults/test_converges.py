"""What goes wrong between two nights: one sentence, nothing lost, and the same content after."""

import gzip
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.faults.conftest import HEADER, MIDNIGHT, SPEC, Shop, files_of, shop_in, write_day
from tests.faults.test_bad_input import assert_one_sentence
from tests.faults.test_killed import content

pytestmark = [pytest.mark.spark, pytest.mark.slow]

ONE, TWO = "2026-01-01", "2026-01-02"
SMALL = 3 << 20
"""Bytes of the disk that gets full."""
STEP = 16 << 10
"""Bytes that are freed first; then twice as many each time, as a refused run leaves some behind."""
HOUR = 3_600


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, kept_spark: dict[str, str]) -> Shop:
    """A shop with 2026-01-01 published and the raw log of 2026-01-02."""
    made = shop_in(tmp_path_factory.mktemp("published"), kept_spark)
    write_day(made.raw(TWO), TWO)
    done = made.build(ONE)
    assert done.code == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def quiet(
    published: Shop, tmp_path_factory: pytest.TempPathFactory, kept_spark: dict[str, str]
) -> Shop:
    """The same shop after a second night to which nothing happened."""
    made = copy_of(published, tmp_path_factory.mktemp("quiet"), kept_spark)
    done = made.build(TWO)
    assert done.code == 0, done.stderr
    return made


@pytest.fixture
def hit(published: Shop, tmp_path: Path, kept_spark: dict[str, str]) -> Shop:
    """A shop like ``published``, for something to happen to."""
    return copy_of(published, tmp_path, kept_spark)


def copy_of(shop: Shop, folder: Path, kept_spark: dict[str, str]) -> Shop:
    made = shop_in(folder, kept_spark)
    shutil.copytree(shop.folder / "raw", folder / "raw", dirs_exist_ok=True)
    shutil.copytree(shop.home / "lake", made.home / "lake")
    return made


def change(shop: Shop, *pairs: tuple[str, str]) -> None:
    """Change the words of the shop's spec."""
    text = SPEC
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    shop.spec.write_text(text)


def assert_converges(shop: Shop, quiet: Shop) -> None:
    """Build the day again and compare all tables with those of the night without a fault."""
    done = shop.build(TWO)
    assert done.code == 0, done.stderr
    assert content(shop) == content(quiet)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Lay a disk of ``SMALL`` bytes over a folder, with what is in the folder; else skip."""
    aside = folder.with_name("aside")
    shutil.move(folder, aside)
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(f"no small disk: {error}")
    if mounted.returncode:
        pytest.skip(f"no small disk: {mounted.stderr.strip()}")
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_wherever_the_disk_gets_full_nothing_is_lost_and_the_next_run_goes_on(
    hit: Shop, quiet: Shop
) -> None:
    lake = hit.home / "lake"
    with small_disk(lake):
        filler = lake / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))
        before = content(hit)["samples"]
        refused = 0
        while (outcome := hit.build(TWO)).code:
            assert_one_sentence(outcome, ["can't write", "free space"])
            kept = [row for row in content(hit)["samples"] if json.loads(row)["ds"] == ONE]
            assert kept == before
            os.truncate(filler, max(0, filler.stat().st_size - (STEP << refused)))
            refused += 1
        assert refused >= 2, "it got full at several places"
        filler.unlink()
        assert content(hit) == content(quiet)


def as_parquet(path: Path) -> Path:
    """Write a day's log as Parquet beside it."""
    rows = pyarrow.csv.read_csv(pa.py_buffer(gzip.decompress(path.read_bytes())))
    made = path.with_name(path.name.replace(".csv.gz", ".parquet"))
    pq.write_table(rows, made, compression="snappy")
    return made


def cut_off(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def overwritten(whole: bytes) -> bytes:
    """Zero the first pages, and leave the footer that says what they hold."""
    return whole[:24] + bytes(len(whole) // 3) + whole[24 + len(whole) // 3 :]


@pytest.mark.parametrize("damage", [cut_off, overwritten])
def test_a_damaged_parquet_file_is_named_and_delivered_again_it_gives_the_same(
    hit: Shop, quiet: Shop, damage: Callable[[bytes], bytes]
) -> None:
    change(hit, (".csv.gz", ".parquet"))
    path = as_parquet(hit.raw(TWO))
    as_parquet(hit.raw(ONE))
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    before = files_of(hit.home / "lake" / "shop" / "samples")

    assert_one_sentence(hit.build(TWO), [f"{TWO}.parquet", "deliver the file again"])

    assert files_of(hit.home / "lake" / "shop" / "samples") == before
    path.write_bytes(whole)
    done = hit.build(TWO)
    assert done.code == 0, done.stderr
    assert samples_of(hit) == samples_of(quiet)


def samples_of(shop: Shop) -> list[dict[str, Any]]:
    """Return the samples without the name of the file that they came in."""
    rows = map(json.loads, content(shop)["samples"])
    return [{k: v for k, v in row.items() if k != "source_file"} for row in rows]


NOW = str(MIDNIGHT[TWO] + 1)
POISON: dict[str, tuple[bytes, str]] = {
    "NUL bytes": (b"p1,u1,ho\0me,phone,1," + NOW.encode() + b",1", "unknown-scenario"),
    "no UTF-8": (b"p2,u1,\xff\xfe\xc3(,phone,1," + NOW.encode() + b",1", "unknown-scenario"),
    "a cell of 5 MB": (
        b"p3,u1,home,phone," + b"9a" * (5 << 19) + b"," + NOW.encode() + b",1",
        "not-a-number",
    ),
    "an endless number": (b"p4,u1,home,phone,1e400," + NOW.encode() + b",1", "not-a-number"),
    "the year 294247": (b"p5,u1,home,phone,1,9223372036854776,1", "no-time"),
    "a quote that never ends": (b'p6,u1,"home,phone,1,' + NOW.encode() + b",1", "unparseable"),
}


def test_poisoned_rows_are_refused_and_the_rest_is_as_it_would_have_been(
    hit: Shop, quiet: Shop
) -> None:
    lines = gzip.decompress(hit.raw(TWO).read_bytes()).splitlines()
    bad = [line for line, _ in POISON.values()]
    hit.raw(TWO).write_bytes(gzip.compress(b"\n".join([*lines[:9], *bad, *lines[9:], b""])))

    done = hit.build(TWO)

    assert done.code == 0, done.stderr
    (day,) = done.result["days"]
    assert day["refused"] == len(POISON)
    assert set(day["quarantined"]) >= {rule for _, rule in POISON.values()}
    assert content(hit)["samples"] == content(quiet)["samples"]
    shown = hit.run("quarantine", "show", "--ds", TWO)
    assert shown.result["rows"] == len(POISON)


def test_a_line_of_endless_json_is_refused_and_the_rest_is_published(
    hit: Shop, quiet: Shop
) -> None:
    change(hit, (".csv.gz", ".jsonl"))
    for ds in (ONE, TWO):
        names, *rows = gzip.decompress(hit.raw(ds).read_bytes()).decode().split()
        cells = [dict(zip(names.split(","), row.split(","), strict=True)) for row in rows]
        lines = [json.dumps(row) for row in cells]
        if ds == TWO:
            lines[3:3] = ['{"view_id": ' + "[" * 5000 + "]" * 5000 + "}", '{"view_id": "cut']
        Path(str(hit.raw(ds)).replace(".csv.gz", ".jsonl")).write_text("\n".join(lines))

    done = hit.build(TWO)

    assert done.code == 0, done.stderr
    assert done.result["days"][0]["quarantined"]["unparseable"] == 2
    assert samples_of(hit) == samples_of(quiet)


@pytest.mark.parametrize("answer", ["freeze", "evolve", "discard"])
def test_a_column_renamed_overnight_does_as_the_contract_says_until_it_is_delivered_right(
    hit: Shop, quiet: Shop, answer: str
) -> None:
    change(hit, ("{column: at}}", f"{{column: at}}, contract: {{missing_column: {answer}}}}}"))
    right = hit.raw(TWO).read_bytes()
    write_day(hit.raw(TWO), TWO, header=HEADER.replace("device", "gadget"))
    before = content(hit)["samples"]

    outcome = hit.build(TWO)

    if answer == "evolve":
        assert outcome.code == 0, outcome.stderr
        rows = [json.loads(row) for row in content(hit)["samples"]]
        assert {row["c_device"] for row in rows if row["ds"] == TWO} == {None}
    else:
        words = {"freeze": [f"{TWO}.csv.gz", "device"], "discard": [TWO, "missing-column"]}
        assert_one_sentence(outcome, words[answer])
        assert content(hit)["samples"] == before
    hit.raw(TWO).write_bytes(right)
    assert_converges(hit, quiet)


def test_a_clock_that_was_set_back_an_hour_changes_nothing(hit: Shop, quiet: Shop) -> None:
    later = time.time() + HOUR
    for path in [*(hit.home / "lake").rglob("*"), *(hit.folder / "raw").rglob("*")]:
        if path.parent.name == "_delta_log" and path.suffix == ".json":
            path.write_text(re.sub(r'("timestamp":\s*)(\d+)', _an_hour_later, path.read_text()))
        os.utime(path, (later, later))

    assert_converges(hit, quiet)

    again = hit.build(ONE)
    assert again.result["skipped"] == 1, "files that look newer are not taken for others"
    forced = hit.run(
        *("samples", "run", "--from", ONE, "--to", TWO, "--force"),
        *("--source", str(hit.folder / "raw")),
    )
    assert forced.result["built"] == 2, forced.stderr
    assert content(hit) == content(quiet)


def _an_hour_later(found: re.Match[str]) -> str:
    return f"{found[1]}{int(found[2]) + HOUR * 1000}"
