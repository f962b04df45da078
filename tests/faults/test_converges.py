"""What goes wrong between two nights: one sentence, nothing lost, and the same content after."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.faults.conftest import SPEC, Shop, files_of, shop_in, write_day
from tests.faults.test_bad_input import assert_one_sentence
from tests.faults.test_killed import content

pytestmark = [pytest.mark.spark, pytest.mark.slow]

ONE, TWO = "2026-01-01", "2026-01-02"


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


def as_parquet(path: Path) -> Path:
    """Write a day's log as Parquet beside it."""
    rows = pyarrow.csv.read_csv(pa.py_buffer(gzip.decompress(path.read_bytes())))
    made = path.with_name(path.name.replace(".csv.gz", ".parquet"))
    pq.write_table(rows, made, compression="snappy")
    return made


def test_a_damaged_parquet_file_is_named_and_delivered_again_it_gives_the_same(
    hit: Shop, quiet: Shop
) -> None:
    change(hit, (".csv.gz", ".parquet"))
    path = as_parquet(hit.raw(TWO))
    as_parquet(hit.raw(ONE))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
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
