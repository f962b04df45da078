"""Leases on a real store: one owner at a time, none for ever; who is late is told by his fence."""

import json
import multiprocessing
import time
from datetime import timedelta

import botocore.auth
import pytest

from features.errors import StoreError, UnavailableError
from features.lease import LeaseLost, LeaseTaken, acquire, hold
from features.objects import Objects, client

BUCKET = "leases"
BRIEF = 3.0
"""Seconds of a lease in these tests, whose owner is soon given up."""


@pytest.fixture(scope="module", autouse=True)
def bucket(store):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment().items():
            patch.setenv(name, value)
        store.client().create_bucket(Bucket=BUCKET)
        yield


@pytest.fixture
def objects(request):
    return Objects(f"s3://{BUCKET}/{request.node.name}")


def test_the_next_owner_gets_a_released_lease_at_once_and_a_larger_fence(objects):
    with hold(objects, "table", "one") as first:
        first.check()
    with hold(objects, "table", "two", patience=0) as second:
        second.check()
        assert second.fence == first.fence + 1
    with pytest.raises(LeaseLost, match="held by two; nothing was committed"):
        first.check()


def test_who_waits_too_long_is_told_whom_for(objects):
    with (
        hold(objects, "table", "backfill of host 7"),
        pytest.raises(
            LeaseTaken, match=r"^backfill of host 7 holds s3://leases/.*/table for longer"
        ),
        hold(objects, "table", "night", patience=1),
    ):
        pass


def test_an_owner_that_works_on_keeps_its_lease_past_its_time(objects):
    with hold(objects, "table", "slow", seconds=BRIEF) as slow:
        time.sleep(2 * BRIEF)
        slow.check()
        with pytest.raises(LeaseTaken):
            acquire(objects, "table", "other", patience=0)


def test_a_crashed_owners_lease_is_taken_over_when_its_time_is_up_and_not_before(objects):
    crashed = acquire(objects, "table", "crashed", seconds=BRIEF)
    with pytest.raises(LeaseTaken):
        acquire(objects, "table", "early", patience=0)
    started = time.monotonic()
    heir = acquire(objects, "table", "heir")
    assert time.monotonic() - started > BRIEF - 1
    assert heir.fence == crashed.fence + 1
    with pytest.raises(LeaseLost):
        crashed.check()
    with pytest.raises(LeaseLost, match="went to another owner"):
        crashed.renew()
    heir.check()


def test_an_owner_whose_time_is_up_may_not_commit_though_nobody_has_taken_over(objects):
    late = acquire(objects, "table", "late", seconds=BRIEF)
    time.sleep(BRIEF)
    with pytest.raises(LeaseLost, match="expired"):
        late.check()


def test_a_renewal_whose_answer_was_lost_is_found_to_have_arrived(objects):
    lease = acquire(objects, "table", "owner")
    before = lease._etag
    lease.renew()
    lease._etag = before
    lease.renew()
    lease.check()


def count_up(name, rounds):
    objects = Objects(f"s3://{BUCKET}/{name}")
    place = {"Bucket": BUCKET, "Key": f"{name}/counter"}
    store = client()
    for _ in range(rounds):
        with hold(objects, "lease", "counter"):
            number = json.loads(store.get_object(**place)["Body"].read())
            store.put_object(**place, Body=json.dumps(number + 1).encode())


def test_of_what_many_processes_count_nothing_is_lost(objects, request):
    store = client()
    place = {"Bucket": BUCKET, "Key": f"{request.node.name}/counter"}
    store.put_object(**place, Body=b"0")
    fork = multiprocessing.get_context("spawn")
    writers = [fork.Process(target=count_up, args=(request.node.name, 5)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert json.loads(store.get_object(**place)["Body"].read()) == 20
    assert acquire(objects, "lease", "last").fence == 21


@pytest.mark.parametrize(
    ("name", "value", "error", "sentence"),
    [
        ("AWS_ACCESS_KEY_ID", "nobody", StoreError, "does not know the access key"),
        ("AWS_SECRET_ACCESS_KEY", "guessed", StoreError, "refuses the secret"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", UnavailableError, "does not answer"),
    ],
)
def test_a_store_that_refuses_or_is_silent_is_told_in_a_sentence(
    objects, monkeypatch, name, value, error, sentence
):
    monkeypatch.setenv(name, value)
    with pytest.raises(error, match=sentence):
        acquire(objects, "table", "owner")


def test_a_clock_that_is_wrong_is_told_in_a_sentence(objects, monkeypatch):
    right = botocore.auth.get_current_datetime
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda *_: right() + timedelta(hours=2)
    )
    with pytest.raises(StoreError, match="this machine's clock is wrong; set it and run again"):
        acquire(objects, "table", "owner")
