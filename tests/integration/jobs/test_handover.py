"""A night's files between jobs that share no disk."""

import pytest

from jobs.handover import hand_over, take_over
from jobs.home import Home
from tests.conftest import cache


@pytest.fixture
def machines(tmp_path, bucket, monkeypatch):
    """The homes of two machines that know one place in common."""
    monkeypatch.setenv("AUTOIFS_WORK", bucket)
    return [Home(root=tmp_path / name, cache=cache()) for name in ("here", "there")]


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_next_job_finds_what_the_last_one_left(machines):
    here, there = (machine.root / "work/shop/2026-01-01/train" for machine in machines)
    left = {"result": "first", "challenger__model": "weights"}
    write(here, **left, checkpoints__last="not for others")
    hand_over(machines[0], here, ["challenger"], "result")
    write(there, checkpoints__last="its own")
    take_over(machines[1], there, "result")
    assert files(there) == {
        "result": "first",
        "challenger/model": "weights",
        "checkpoints/last": "its own",
    }


def test_an_older_copy_gives_way_to_what_was_handed_over_last(machines):
    here, there = (machine.root / "work/shop/2026-01-01/train" for machine in machines)
    write(here, result="first", challenger__model="old", challenger__extra="gone later")
    hand_over(machines[0], here, ["challenger"], "result")
    take_over(machines[1], there, "result")
    write(here, result="second", challenger__model="new")
    (here / "challenger" / "extra").unlink()
    hand_over(machines[0], here, ["challenger"], "result")
    take_over(machines[1], there, "result")
    assert files(there) == {"result": "second", "challenger/model": "new"}


def test_where_nothing_was_handed_over_the_own_disk_counts(machines):
    there = machines[1].root / "work/shop/2026-01-01/train"
    write(there, result="own")
    take_over(machines[1], there, "result")
    assert files(there) == {"result": "own"}
