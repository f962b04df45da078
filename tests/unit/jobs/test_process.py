import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from features.errors import ServiceError
from jobs.process import (
    Part,
    birth,
    check_port,
    end_sessions,
    free_port,
    last_line,
    members,
    runs,
    start,
    stop,
    stopped_by_sigterm,
)

DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    " print('deaf', flush=True); time.sleep(60)"
)
FAMILY = (
    "import subprocess, sys, time; "
    f"subprocess.Popen([sys.executable, '-c', {DEAF!r}], process_group=0); time.sleep(60)"
)


@pytest.fixture
def family(tmp_path):
    """A process with a child in a group of its own that does not listen to SIGTERM."""
    log = tmp_path / "logs" / "family.log"
    part = start("family", ["python", "-c", FAMILY], os.environ, log)
    deadline = time.monotonic() + 20
    while last_line(log) != "deaf":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield part
    end_sessions([part.process.pid])


def test_ending_a_process_ends_its_children_even_those_that_do_not_listen(family, monkeypatch):
    monkeypatch.setattr("jobs.process.GRACE", 1.0)
    everyone = members([family.process.pid])
    stop([family])
    assert len(everyone) == 2
    assert not [pid for pid in everyone if runs(pid)]


def test_children_are_found_after_their_parent_has_died(family):
    family.process.send_signal(signal.SIGKILL)
    family.process.wait()
    assert len(members([family.process.pid])) == 1


def test_a_process_that_ended_is_named_with_its_last_word_and_its_log(tmp_path):
    log = tmp_path / "part.log"
    script = "import sys; print('no such table: dag'); sys.exit(3)"
    part = start("airflow scheduler", ["python", "-c", script], os.environ, log)
    part.process.wait()
    with pytest.raises(ServiceError) as told:
        part.check()
    assert str(told.value) == (
        f"airflow scheduler ended with status 3: no such table: dag; see {log}"
    )


def test_a_process_number_that_was_given_away_is_told_apart():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    born = birth(process.pid)
    assert born == birth(process.pid) != birth(os.getpid())
    process.kill()
    process.wait()
    assert born.startswith(birth(process.pid))


def test_a_taken_port_is_named_with_the_way_to_choose_another():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ServiceError, match=f"port {port} for MLflow is taken; .* --mlflow-port"
        ):
            check_port("127.0.0.1", port, "MLflow", "--mlflow-port")


def test_a_free_port_can_be_used():
    check_port("127.0.0.1", free_port("127.0.0.1"), "Airflow", "--port")


def test_sigterm_ends_a_command_as_the_keyboard_does():
    with pytest.raises(KeyboardInterrupt), stopped_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) is not signal.default_int_handler


def test_a_part_that_runs_passes_its_check(family):
    assert isinstance(family, Part)
    family.check()
