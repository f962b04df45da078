import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)

from dags.job import JobOperator, compact, job_environment


@pytest.fixture
def autoifs(tmp_path, monkeypatch):
    """Return a function that makes the job a script with the given Python lines."""

    def write(*lines: str) -> None:
        file = tmp_path / "autoifs"
        file.write_text("\n".join([f"#!{sys.executable}", "import sys, os, json, time", *lines]))
        file.chmod(0o755)
        monkeypatch.setenv("AUTOIFS_BIN", str(file))

    return write


def context(exception=None):
    pushed: dict[str, object] = {}
    ti = SimpleNamespace(
        xcom_push=lambda key, value: pushed.update({key: value}),
        dag_id="shop_samples",
        task_id="make",
    )
    return {
        "ti": ti,
        "pushed": pushed,
        "run_id": "manual__1",
        "params": {},
        "dag_run": SimpleNamespace(partition_key="2026-11-10"),
        "exception": exception,
    }


def job(**options):
    return JobOperator(task_id="make", command="samples build", spec="shop", **options)


def test_the_last_line_on_stdout_is_the_result(autoifs):
    autoifs("print('a line')", "print(json.dumps({'ok': True, 'words': sys.argv[1:]}))")
    found = job().execute(context())
    assert found == {
        "ok": True,
        "words": ["samples", "build", "--ds", "2026-11-10", "--spec", "shop"],
    }


@pytest.mark.parametrize(("run_type", "skipped"), [("backfill", ["announce"]), ("manual", None)])
def test_in_a_backfill_a_job_that_ends_it_keeps_its_result_and_skips_what_follows(
    autoifs, run_type, skipped
):
    autoifs("print(json.dumps({'ok': True, 'rows': 3}))")
    told = context()
    told["dag_run"].run_type = run_type
    with DAG("shop_samples"):
        make = job(ends_backfill=True)
        make >> BaseOperator(task_id="announce")
    if skipped is None:
        assert make.execute(told) == {"ok": True, "rows": 3}
        return
    with pytest.raises(DownstreamTasksSkipped) as ended:
        make.execute(told)
    assert ended.value.tasks == skipped
    assert told["pushed"] == {"return_value": {"ok": True, "rows": 3}}


@pytest.mark.parametrize("status", [2, 3])
def test_a_mistake_of_a_person_fails_without_a_retry_in_the_jobs_words(autoifs, status):
    autoifs(
        "print(json.dumps({'ok': False, 'error': 'missing-day', 'message': 'no data of 10/11'}))",
        f"sys.exit({status})",
    )
    told = context()
    with pytest.raises(AirflowFailException, match=r"^no data of 10/11$"):
        job().execute(told)
    assert told["pushed"] == {
        "failure": {"message": "no data of 10/11", "error": "missing-day", "status": status}
    }


def test_a_job_that_breaks_off_fails_with_its_status_and_is_retried(autoifs):
    autoifs("os.kill(os.getpid(), 9)")
    with pytest.raises(
        AirflowException, match="autoifs samples build ended with status -9"
    ) as told:
        job().execute(context())
    assert not isinstance(told.value, AirflowFailException)


def test_a_job_that_ends_well_but_says_nothing_has_failed(autoifs):
    autoifs("print('all fine')")
    with pytest.raises(AirflowException, match="ended with status 0"):
        job().execute(context())


def test_much_talk_on_both_streams_does_not_block_the_job(autoifs):
    autoifs(
        "for i in range(20000): print('x' * 50, file=sys.stderr if i % 2 else sys.stdout)",
        "print(json.dumps({'ok': True}))",
    )
    assert job().execute(context()) == {"ok": True}


def test_words_reach_the_job_without_a_shell(autoifs):
    autoifs("print(json.dumps({'ok': True, 'word': sys.argv[3]}))")
    found = job(arguments=lambda told: ["$(id); rm -rf *"]).execute(context())
    assert found["word"] == "$(id); rm -rf *"


def test_the_job_does_not_get_the_keys_of_airflow(monkeypatch):
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "s")
    monkeypatch.setenv("__AIRFLOW_SUPERVISOR", "s")
    monkeypatch.setenv("AUTOIFS_HOME", "/home")
    given = job_environment("manual__1")
    assert not [name for name in given if "AIRFLOW" in name]
    assert given["AUTOIFS_HOME"] == "/home"
    assert given["AUTOIFS_RUN_ID"] == "manual__1"


RANKS = (
    "rank = os.environ.get('RANK', '0')",
    "open(os.environ['SEEN'] + '-' + rank + '-' + str(os.getpid()), 'w').close()",
)


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """Return a function that says which ranks have started, once each start."""
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    return lambda: sorted(path.name.split("-")[1] for path in tmp_path.glob("seen-*"))


@pytest.mark.slow
def test_a_training_of_two_ranks_is_started_by_torchrun_and_says_one_result(autoifs, seen):
    said = "json.dumps({'ok': True, 'of': os.environ['WORLD_SIZE']})"
    autoifs(*RANKS, f"if rank == '0': print({said})")
    assert job(ranks=2).execute(context()) == {"ok": True, "of": "2"}
    assert seen() == ["0", "1"]


@pytest.mark.slow
def test_a_mistake_that_all_ranks_make_is_told_as_it_is_without_torchrun(autoifs, monkeypatch):
    monkeypatch.setattr("dags.job.RESTARTS", 0)
    said = "json.dumps({'ok': False, 'error': 'training', 'message': 'no day', 'status': 2})"
    autoifs(*RANKS[:1], f"if rank == '0': print({said})", "sys.exit(2)")
    with pytest.raises(AirflowFailException, match=r"^no day$"):
        job(ranks=2).execute(context())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="needs setpriv")
def test_ranks_end_when_torchrun_is_killed_with_9(autoifs, tmp_path, monkeypatch, seen):
    autoifs(*RANKS, "time.sleep(60)")
    running = job(ranks=2)
    thread = threading.Thread(target=lambda: _outcome(running))
    thread.start()
    _wait_for(lambda: len(seen()) == 2)
    ranks = [int(path.name.split("-")[2]) for path in tmp_path.glob("seen-*")]
    running._process.send_signal(signal.SIGKILL)
    thread.join(20)
    for rank in ranks:
        _wait_for(lambda rank=rank: not _runs(rank))


def test_a_job_gets_the_rights_of_its_role_where_connections_say_them(autoifs, monkeypatch):
    autoifs("print(json.dumps({'ok': True, 'key': os.environ.get('AWS_ACCESS_KEY_ID')}))")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-worker")
    monkeypatch.setenv(
        "AIRFLOW_CONN_AUTOIFS_BUILDER",
        '{"conn_type": "generic", "extra": {"AWS_ACCESS_KEY_ID": "of-builder"}}',
    )
    assert job(role="builder").execute(context())["key"] == "of-worker"
    monkeypatch.setenv("AUTOIFS_ROLES", "connections")
    assert job(role="builder").execute(context())["key"] == "of-builder"
    with pytest.raises(AirflowFailException, match="no connection autoifs_promoter"):
        job(role="promoter").execute(context())


def test_killing_the_task_ends_the_job_and_its_children(autoifs, tmp_path):
    children = tmp_path / "children"
    autoifs(
        "import subprocess",
        "child = subprocess.Popen(['sleep', '60'])",
        f"open({str(children)!r}, 'w').write(str(child.pid))",
        "time.sleep(60)",
    )
    running = job()
    failed = []
    thread = threading.Thread(target=lambda: failed.append(_outcome(running)))
    thread.start()
    _wait_for(lambda: children.exists() and children.read_text())
    running.on_kill()
    thread.join(10)
    assert failed == ["autoifs samples build ended with status -15"]
    _wait_for(lambda: not _runs(int(children.read_text())))


@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="needs setpriv")
def test_a_job_ends_when_its_task_is_killed_with_9(autoifs, tmp_path):
    mark = tmp_path / "pid"
    autoifs(f"open({str(mark)!r}, 'w').write(str(os.getpid()))", "time.sleep(60)")
    script = (
        "from types import SimpleNamespace as N\n"
        "from dags.job import JobOperator\n"
        "run = N(partition_key='2026-11-10')\n"
        "JobOperator(task_id='make', command='train', spec='shop').execute("
        "{'dag_run': run, 'params': {}, 'run_id': '1', 'ti': None})\n"
    )
    task = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    _wait_for(lambda: mark.exists() and mark.read_text())
    task.send_signal(signal.SIGKILL)
    task.wait()
    _wait_for(lambda: not _runs(int(mark.read_text())))


def test_a_long_result_is_cut_to_its_plain_values():
    result = {"ok": True, "rows": 3, "cells": ["x" * 100] * 1000}
    assert compact(result) == {"ok": True, "rows": 3}
    assert compact({"ok": True, "cells": [1]}) == {"ok": True, "cells": [1]}


def test_a_job_for_what_is_not_set_up_is_skipped_without_a_process(autoifs, monkeypatch):
    autoifs("print(json.dumps({'ok': True}))")
    monkeypatch.delenv("SHOP_BUCKET", raising=False)
    with pytest.raises(AirflowSkipException, match="SHOP_BUCKET is not set"):
        job(only_with="SHOP_BUCKET").execute(context())
    monkeypatch.setenv("SHOP_BUCKET", "s3://shop")
    assert job(only_with="SHOP_BUCKET").execute(context()) == {"ok": True}


def _outcome(running):
    try:
        return running.execute(context())
    except AirflowException as error:
        return str(error)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(ready):
    deadline = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < deadline, "waited for 20 s"
        time.sleep(0.05)
    os.sched_yield()
