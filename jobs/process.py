"""Processes of ours: each leads a session, is ended with all of it, and logs to a file."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from features.errors import ServiceError

GRACE = 10.0
"""Seconds a process has to end by itself before it is killed."""
_PROC = Path("/proc/self/stat")


@dataclass(frozen=True)
class Part:
    """One running process and where its lines go."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def check(self) -> None:
        """Raise when the process has ended, with the last line it said.

        Raises:
            ServiceError: names the part and its log.
        """
        status = self.process.poll()
        if status is not None:
            raise ServiceError(
                f"{self.name} ended with status {status}: {last_line(self.log)}; see {self.log}"
            )


def start(
    name: str,
    words: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    *,
    lasting: bool = False,
    user: str | None = None,
) -> Part:
    """Start a program, with a session of its own.

    Args:
        name: what errors call it.
        words: a program of this environment, or its path, and its arguments.
        env: its environment.
        log: where its lines go.
        lasting: whether it outlives this process.
        user: whom it runs as when we are root; it may still enter the folders that root may.
    """
    with _appending(log) as stream:
        process = _spawn(words, env, stdout=stream, stderr=stream, lasting=lasting, user=user)
    return Part(name, process, log)


def start_talking(
    name: str, words: Sequence[str], env: Mapping[str, str], log: Path
) -> tuple[Part, IO[bytes]]:
    """Start a program as ``start`` does, but return what it says on stdout."""
    with _appending(log) as stream:
        process = _spawn(words, env, stdout=subprocess.PIPE, stderr=stream)
    assert process.stdout is not None  # noqa: S101 (PIPE)
    return Part(name, process, log), process.stdout


def _appending(log: Path) -> IO[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("ab")


def _spawn(
    words: Sequence[str],
    env: Mapping[str, str],
    *,
    stdout: IO[bytes] | int,
    stderr: IO[bytes],
    lasting: bool = False,
    user: str | None = None,
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 (a list of words, no shell)
        [*_circumstances(lasting, user), str(tool(words[0])), *words[1:]],
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def stop(parts: Sequence[Part]) -> None:
    """End the processes and all they started: asked first, then killed."""
    end_sessions([part.process.pid for part in parts])
    for part in parts:
        part.process.wait()


def end_sessions(leaders: Sequence[int]) -> None:
    """End every process of the sessions: asked first, then killed.

    By session, not by parent: a job outlives the scheduler that started it, and its parent is then
    process 1.
    """
    everyone = members(leaders)
    for pid in everyone:
        _signal(pid, signal.SIGTERM)
    _await_end(everyone)
    left = {*everyone, *members(leaders)}
    for pid in left:
        _signal(pid, signal.SIGKILL)
    _await_end(left)  # the kernel takes a moment


def _await_end(pids: Iterable[int]) -> None:
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and any(runs(pid) for pid in pids):
        time.sleep(0.1)


def members(leaders: Sequence[int]) -> list[int]:
    """Return the processes of the sessions; where there is no /proc, their leaders."""
    if not _PROC.exists():
        return list(leaders)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            session = int(_stat(folder)[3])
        except OSError:
            continue  # it ended while we looked
        if session in leaders:
            found.append(int(folder.name))
    return found


def birth(pid: int) -> str:
    """Return what no other process of that number has: the boot and the moment of its start.

    Only the boot when the process has ended: its number is not given away while processes of its
    session live. Empty where there is no /proc.
    """
    if not _PROC.exists():
        return ""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    try:
        return f"{boot} {_stat(Path(f'/proc/{pid}'))[19]}"
    except OSError:
        return boot


def runs(pid: int) -> bool:
    """Return whether a process has not ended; one that waits to be reaped has."""
    try:
        return _stat(Path(f"/proc/{pid}"))[0] != "Z"
    except OSError:
        return not _PROC.exists() and alive(pid)


def _stat(folder: Path) -> list[str]:
    """Return the fields of a process after its name: state, parent, group, session."""
    return (
        (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    )


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: what was started is ended, runs are called off."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def tool(name: str) -> Path:
    """Return a program beside this Python, or the one at a path."""
    return Path(name) if "/" in name else Path(sys.executable).with_name(name)


def free_port(host: str) -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int, owner: str, option: str) -> None:
    """Raise when somebody else listens on ``port``.

    Raises:
        ServiceError: names the port and the way to choose another.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise ServiceError(
                f"port {port} for {owner} is taken; end its user or choose another with {option}"
            ) from None


def alive(pid: int) -> bool:
    """Return whether a process of that number runs."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def last_line(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else "no word"


def _circumstances(lasting: bool, user: str | None) -> list[str]:
    """Return the words under which Linux ends a child with us, or lets it be someone else.

    One call for both: the wish to end with the parent is forgotten when the user changes.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    wishes = [] if lasting else ["--pdeathsig", "TERM"]
    if user is not None and os.geteuid() == 0:
        wishes += [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        wishes += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [setpriv, *wishes, "--"] if wishes else []


def _signal(pid: int, number: signal.Signals) -> None:
    """Signal a process that may have ended already."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
