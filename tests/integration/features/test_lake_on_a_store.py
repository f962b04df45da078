"""Tables on an object store with several writers, and a store that refuses, or is away."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from features import writers
from features.errors import StoreError, UnavailableError
from features.lake import Lake
from features.lease import LeaseLost, acquire
from features.objects import Objects
from jobs.cluster.store import Store
from tests.conftest import cache
from tests.servers import BUCKET, serving

ROUNDS = 4


def rows(ds: str, step: str) -> pa.Table:
    return pa.table({"ds": [ds], "step": [step]})


def write_steps(root: str, name: str) -> None:
    lake = Lake(root, "shop")
    for number in range(ROUNDS):
        step = f"{name}-{number}"
        lake.replace("runs", {"ds": "2026-01-01", "step": step}, rows("2026-01-01", step))


def test_of_what_several_processes_write_into_one_table_nothing_is_lost(bucket):
    spawn = multiprocessing.get_context("spawn")
    names = ("a", "b", "c")
    processes = [spawn.Process(target=write_steps, args=(bucket, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = Lake(bucket, "shop").open("runs").to_pyarrow_table()["step"].to_pylist()
    assert sorted(found) == sorted(f"{name}-{n}" for name in names for n in range(ROUNDS))


def write_slowly(root: str) -> None:
    """Open the table, stand still, and then go on as if no time had passed."""
    writers.SECONDS = 4.0
    lake = Lake(root, "shop")
    with lake.hold("runs"):
        opened = lake.open("runs")
        said = lake.properties("runs", opened)
        os.kill(os.getpid(), signal.SIGSTOP)
        from deltalake import write_deltalake

        write_deltalake(opened, rows("2026-01-03", "late"), mode="append", commit_properties=said)


def test_a_writer_that_was_overtaken_after_its_last_look_is_refused_by_the_table(bucket):
    lake = Lake(bucket, "shop")
    lake.replace("runs", {"ds": "2026-01-01"}, rows("2026-01-01", "first"))
    slow = multiprocessing.get_context("spawn").Process(target=write_slowly, args=(bucket,))
    slow.start()
    await_stopped(slow.pid)
    started = time.monotonic()
    lake.replace("runs", {"ds": "2026-01-02"}, rows("2026-01-02", "heir"))
    assert time.monotonic() - started > 1
    os.kill(slow.pid, signal.SIGCONT)
    slow.join()
    assert slow.exitcode == 1
    assert lake.days("runs") == ["2026-01-01", "2026-01-02"]


def await_stopped(pid: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_writer_whose_lease_went_to_another_commits_nothing(bucket):
    lake = Lake(bucket, "shop")
    lake.replace("runs", {"ds": "2026-01-01"}, rows("2026-01-01", "first"))
    version = lake.open("runs").version()
    with lake.hold("runs"):
        place = Objects(f"{lake.place}/{writers.FOLDER}")
        ours = writers._turns[f"{lake.place}/runs"].lease
        ours.release()
        acquire(place, "runs", "another")
        with pytest.raises(LeaseLost, match="held by another; nothing was committed"):
            lake.replace("runs", {"ds": "2026-01-02"}, rows("2026-01-02", "late"))
    assert lake.open("runs").version() == version


def policy(*actions: str) -> dict[str, object]:
    allowed = {"Effect": "Allow", "Action": list(actions), "Resource": "arn:aws:s3:::*"}
    return {"Version": "2012-10-17", "Statement": [allowed]}


def test_a_role_that_may_only_read_is_told_that_the_store_denies(bucket, store, monkeypatch):
    lake = Lake(bucket, "shop")
    lake.replace("runs", {"ds": "2026-01-01"}, rows("2026-01-01", "first"))
    reader = store.add_user(f"reader-{bucket[-8:]}", policy("s3:GetObject", "s3:ListBucket"))
    for name, value in store.environment(reader).items():
        monkeypatch.setenv(name, value)
    assert lake.days("runs") == ["2026-01-01"]
    with pytest.raises(StoreError, match="the object store denies it; give the role of this run"):
        lake.replace("runs", {"ds": "2026-01-02"}, rows("2026-01-02", "refused"))
    assert lake.days("runs") == ["2026-01-01"]


def test_a_store_that_is_away_is_not_taken_for_an_empty_one(tmp_path, monkeypatch):
    lake = Lake(f"s3a://{BUCKET}/lake", "shop")
    with serving(Store(folder=tmp_path, cache=cache())) as store:
        for name, value in store.environment().items():
            monkeypatch.setenv(name, value)
        store.client().create_bucket(Bucket=BUCKET)
        lake.replace("runs", {"ds": "2026-01-01"}, rows("2026-01-01", "first"))
        store.stop()
        for question in (
            lambda: lake.exists("runs"),
            lambda: lake.open("runs"),
            lambda: lake.days("runs"),
            lambda: lake.commit_of("runs", date(2026, 1, 1)),
        ):
            with pytest.raises(UnavailableError, match="the object store does not answer"):
                question()
        store.start()
        store.wait()
        assert lake.days("runs") == ["2026-01-01"]


READ = """
import sys
from features.lake import Lake
print(Lake(sys.argv[1], "shop").days("runs"))
"""
CHECKOUT = Path(__file__).resolve().parents[3]


def test_a_machine_whose_clock_is_wrong_is_told_to_set_it(bucket):
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("no faketime on this machine")
    Lake(bucket, "shop").replace("runs", {"ds": "2026-01-01"}, rows("2026-01-01", "first"))
    words = [sys.executable, "-c", READ, bucket]
    tries = {}
    for shift in ("+1m", "+2h"):
        env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        tries[shift] = subprocess.run(
            [faketime, "-f", shift, *words], env=env, capture_output=True, text=True, timeout=300
        )
    assert tries["+1m"].stdout.strip() == "['2026-01-01']", tries["+1m"].stderr
    assert tries["+2h"].returncode == 1
    last = tries["+2h"].stderr.strip().splitlines()[-1]
    assert last.startswith("features.errors.StoreError"), last
    assert "this machine's clock is wrong; set it and run again" in last


def test_a_key_that_was_taken_away_in_the_middle_of_a_night_is_told_and_nothing_is_written(
    bucket, store, monkeypatch
):
    lake = Lake(bucket, "shop")
    everything = policy("s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:DeleteObject")
    key = store.add_user(f"leaver-{bucket[-8:]}", everything)
    for name, value in store.environment(key).items():
        monkeypatch.setenv(name, value)
    lake.replace("runs", {"ds": "2026-01-01"}, rows("2026-01-01", "first"))
    store.remove_key(f"leaver-{bucket[-8:]}", key)
    with pytest.raises(StoreError, match="does not know the access key; correct AWS_ACCESS_KEY_ID"):
        lake.replace("runs", {"ds": "2026-01-02"}, rows("2026-01-02", "late"))
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    assert lake.days("runs") == ["2026-01-01"]
