"""Bad input is answered by the real command in one sentence; nothing that was published moves."""

import gzip
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import HEADER, Outcome, Shop, files_of, write_day

DAY = "2026-01-02"


def missing_file(shop: Shop) -> None:
    """No file of the day was written."""


def empty_day(shop: Shop) -> None:
    write_day(shop.raw(DAY), DAY, rows=0)


def file_of_another_day(shop: Shop) -> None:
    shutil.copy(shop.raw("2026-01-01"), shop.raw(DAY))


def malformed_yaml(shop: Shop) -> None:
    write_day(shop.raw(DAY), DAY)
    shop.spec.write_text("product: [shop")


def unknown_scenario_value(shop: Shop) -> None:
    write_day(shop.raw(DAY), DAY)
    shop.spec.write_text(shop.spec.read_text().replace("search: search", "search: serch"))


def missing_column(shop: Shop) -> None:
    write_day(shop.raw(DAY), DAY, header=HEADER.replace(",device", ""))


def wrong_type(shop: Shop) -> None:
    write_day(shop.raw(DAY), DAY, price="cheap")


def corrupt_gzip(shop: Shop) -> None:
    write_day(shop.raw(DAY), DAY, rows=4000)
    whole = shop.raw(DAY).read_bytes()
    shop.raw(DAY).write_bytes(whole[: len(whole) // 2])


def no_gzip_at_all(shop: Shop) -> None:
    shop.raw(DAY).write_bytes(b"view_id,user_id\n1,2\n")


def missing_folder(shop: Shop) -> None:
    shutil.move(shop.folder / "raw", shop.folder / "elsewhere")


CASES: list[tuple[Callable[[Shop], None], list[str]]] = [
    (missing_file, [DAY, "views/2026-01-02.csv.gz"]),
    (empty_day, [DAY, "views"]),
    (file_of_another_day, [DAY, "views"]),
    (malformed_yaml, ["shop.yaml", "not valid YAML"]),
    (unknown_scenario_value, ["scenarios.values.search", "serch", DAY]),
    (missing_column, ["views", "device"]),
    (wrong_type, ["price", "number"]),
    (corrupt_gzip, ["2026-01-02.csv.gz", "gzip"]),
    (no_gzip_at_all, ["2026-01-02.csv.gz", "gzip"]),
    (missing_folder, ["raw"]),
]


def assert_one_sentence(outcome: Outcome, words: list[str]) -> None:
    message = outcome.result["message"]
    assert outcome.code != 0
    assert outcome.result["ok"] is False
    assert outcome.result["error"] != "internal"
    assert "\n" not in message
    for word in words:
        assert word in message, message
    assert message in outcome.stderr
    for trace in ("Traceback", "at org.apache", "Py4J", "Exception in thread"):
        assert trace not in outcome.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop's folder with 2026-01-01 published, to copy."""
    from tests.faults.conftest import SPEC, cache

    folder = tmp_path_factory.mktemp("published")
    place = {**os.environ, "AUTOIFS_HOME": str(folder / "home"), "AUTOIFS_CACHE": str(cache())}
    made = Shop(folder=folder, environment=place)
    made.spec.write_text(SPEC)
    write_day(made.raw("2026-01-01"), "2026-01-01")
    outcome = made.build("2026-01-01")
    assert outcome.code == 0, outcome.stderr
    return folder


@pytest.mark.spark
@pytest.mark.parametrize(("breaks", "words"), CASES, ids=[case[0].__name__ for case in CASES])
def test_bad_input_is_answered_in_one_sentence_and_nothing_moves(
    breaks: Callable[[Shop], None], words: list[str], published: Path, shop: Shop
) -> None:
    shutil.copytree(published / "home" / "lake", shop.home / "lake")
    before = files_of(shop.home / "lake" / "shop")
    breaks(shop)

    outcome = shop.build(DAY)

    assert_one_sentence(outcome, words)
    assert files_of(shop.home / "lake" / "shop") == before


def test_no_java_is_said_before_anything_is_written(shop: Shop) -> None:
    outcome = shop.without_java().build("2026-01-01")

    assert_one_sentence(outcome, ["Java", "17"])
    assert not (shop.home / "lake").exists()


def test_a_home_that_cannot_be_made_is_named(shop: Shop) -> None:
    (shop.folder / "file").write_text("in the way")

    outcome = shop.build("2026-01-01", AUTOIFS_HOME=str(shop.folder / "file" / "home"))

    assert_one_sentence(outcome, [str(shop.folder / "file" / "home"), "can't write"])


def test_a_day_that_is_no_day_is_named(shop: Shop) -> None:
    assert_one_sentence(shop.build("2026-13-01"), ["2026-13-01", "YYYY-MM-DD"])


def test_training_without_samples_says_how_to_get_them(shop: Shop) -> None:
    outcome = shop.run("train", "--ds", "2026-01-01")

    assert_one_sentence(outcome, ["autoifs backfill"])
    assert not (shop.home / "mlflow").exists()


def test_a_port_that_is_taken_is_named(shop: Shop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        outcome = shop.run_bare("up", "--port", port)

    assert_one_sentence(outcome, [port, "taken"])


def test_a_truncated_gzip_is_what_the_corrupt_case_writes(shop: Shop) -> None:
    corrupt_gzip(shop)

    with pytest.raises(EOFError):
        gzip.decompress(shop.raw(DAY).read_bytes())
