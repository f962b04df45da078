"""The JVM that is kept for a home's jobs: one at a time uses it, and a killed one is ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from features import gateway
from jobs.process import free_port
from tests.conftest import cache, kept_jvm

pytestmark = [pytest.mark.spark, pytest.mark.slow]

JOB = """
import sys
from pathlib import Path
from features.session import spark_session
spark = spark_session(Path(sys.argv[1]), Path(sys.argv[2]))
jvm = spark.sparkContext._jvm.java.lang.ProcessHandle.current().pid()
print(jvm, spark.sparkContext.applicationId, spark.range(10).count(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def kept(home: Path) -> Iterator[dict[str, str]]:
    """The environment that names a kept JVM."""
    with kept_jvm(home) as named:
        yield {**os.environ, **named}


def job(home: Path, env: dict[str, str]) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", JOB, str(cache()), str(home)]
    return subprocess.Popen(
        words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def test_a_job_works_in_the_kept_jvm_even_after_one_that_was_killed_there(
    home: Path, kept: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = job(home, kept)
    jvm, application, count = said(first)
    assert count == "10"
    for name in (gateway.PORT, gateway.SECRET):
        monkeypatch.setenv(name, kept[name])
    assert not gateway.claim(home), "two jobs in one JVM would share a Spark context"
    assert gateway.PORT not in os.environ
    first.send_signal(signal.SIGKILL)
    first.communicate()

    second = job(home, kept)
    again, another, count = said(second)
    second.communicate("\n")

    assert (again, count) == (jvm, "10")
    assert another != application
    assert second.returncode == 0


def test_a_jvm_that_is_gone_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gateway.PORT, str(free_port(gateway.HOST)))
    monkeypatch.setenv(gateway.SECRET, "secret")
    assert not gateway.claim(tmp_path)
    assert not {gateway.PORT, gateway.SECRET} & set(os.environ)
