"""Two Spark drivers that write one table of an object store at the same moments."""

import multiprocessing
from datetime import date
from pathlib import Path

import pytest

from features import tables
from features.lake import ADDRESS, Lake
from features.spec.load import parse_spec
from tests.conftest import cache
from tests.unit.features.test_tables import TEXT

pytestmark = [pytest.mark.slow, pytest.mark.spark]

DAY = date(2026, 1, 1)
ROUNDS = 12
MEETING = 180
"""Seconds after which a driver gives up waiting for the other, which must have failed."""
NAMES = ("one", "two")
COLUMNS = "feature string, token string, index int, ds string"
WAYS = ("bare", "conditional", "leased")
"""As Delta comes; with puts that replace nothing; and under the table's lease as well."""


def drive(root, name, home, barrier, said):
    """Append a row a round and way, each at the moment at which the other driver does; say which
    Delta reported as committed."""
    from features.session import spark_session

    session = spark_session(
        cache(),
        Path(home),
        master="local[1]",
        large=True,
        settings={"spark.driver.memory": "700m"},
    )
    for way in WAYS:
        lake, done = Lake(root, way), []
        replace_nothing(session, way != "bare")
        for number in range(1, ROUNDS + 1):  # 0 is no row of a vocabulary
            rows = [(name, str(number), number, DAY.isoformat())]
            frame = session.createDataFrame(rows, COLUMNS)
            barrier.wait(MEETING)
            try:
                if way == "leased":
                    tables.append(frame, lake, "vocabulary", DAY, {})
                else:
                    writer = frame.coalesce(1).write.format("delta").mode("append")
                    writer.save(lake.path("vocabulary"))
            except Exception as refused:
                said.put((way, name, number, type(refused).__name__ + str(refused)[:300]))
            else:
                done.append(number)
        for number in done:
            said.put((way, name, number, "committed"))
    said.put(("end", name, 0, ""))
    session.stop()


def replace_nothing(session, wanted):
    """Set or take back what the session's start has set."""
    s3a = session._jvm.org.apache.hadoop.fs.s3a.impl
    flags = s3a.CreateFileBuilder.OPTIONS_CREATE_FILE_NO_OVERWRITE.writeObjectFlags()
    conditional = s3a.write.WriteObjectFlags.ConditionalOverwrite
    if wanted:
        flags.add(conditional)
    else:
        flags.remove(conditional)  # a KeyError where the session's start had not set it


@pytest.fixture(scope="module")
def told(store, tmp_path_factory):
    """What both drivers were told of each commit, and what is in the tables afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment().items():
            patch.setenv(name, value)
        store.client().create_bucket(Bucket="drivers")
        root = "s3a://drivers/lake"
        patch.setenv(ADDRESS, root)
        for way in WAYS:
            tables.ensure(Lake(root, way), parse_spec(TEXT, "shop.yaml"))
        spawn = multiprocessing.get_context("spawn")
        barrier, said = spawn.Barrier(2), spawn.Queue()
        drivers = [
            spawn.Process(
                target=drive,
                args=(root, name, str(tmp_path_factory.mktemp(name)), barrier, said),
            )
            for name in NAMES
        ]
        for driver in drivers:
            driver.start()
        outcomes, ended = [], 0
        while ended < len(NAMES):
            outcome = said.get(timeout=600)
            ended += outcome[0] == "end"
            outcomes.append(outcome)
        for driver in drivers:
            driver.join()
            assert driver.exitcode == 0
        found = {
            (way, row["feature"], int(row["token"]))
            for way in WAYS
            for row in Lake(root, way).open("vocabulary").to_pyarrow_table().to_pylist()
        }
        yield outcomes, found


def of(told, way):
    """Return which commits of a way were reported as done, and which of them are not there."""
    outcomes, found = told
    committed = {(w, name, n) for w, name, n, text in outcomes if w == way and text == "committed"}
    return committed, committed - found


def test_as_delta_comes_commits_are_lost_without_a_word(told):
    committed, lost = of(told, "bare")
    if not lost:
        pytest.skip(f"none of {len(committed)} commits was lost: the drivers never met")
    assert lost < committed


def test_with_conditional_puts_what_comes_second_is_refused_and_nothing_is_lost(told):
    committed, lost = of(told, "conditional")
    assert not lost
    refused = [text for way, _, _, text in told[0] if way == "conditional" and text != "committed"]
    assert len(committed) + len(refused) == 2 * ROUNDS


def test_under_a_lease_everything_is_committed(told):
    committed, lost = of(told, "leased")
    assert len(committed) == 2 * ROUNDS
    assert not lost
