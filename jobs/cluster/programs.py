"""Finding the servers' programs, which apt and Go install (``infra/run``)."""

import fcntl
import re
import shutil
from pathlib import Path

from features.errors import ServiceError

_WHERE = {
    "postgres": "/usr/lib/postgresql/*/bin",
    "initdb": "/usr/lib/postgresql/*/bin",
}
"""Folders of Debian's that are not on the PATH."""
_INSTALL = "`bash infra/run cluster install` as root on Debian, or put it on the PATH"


def program(name: str, cache: Path) -> Path:
    """Return a server's program: ours in the cache, the system's, or the one on the PATH.

    Raises:
        ServiceError: when there is none; says how to get it.
    """
    ours = cache / "tools" / "bin" / name
    _await_build(ours)
    folders = sorted(Path("/").glob(_WHERE.get(name, "nowhere").lstrip("/")), key=_release)
    found = [ours, *(folder / name for folder in reversed(folders))]
    for path in found:
        if path.is_file():
            return path
    on_path = shutil.which(name)
    if on_path is None:
        raise ServiceError(f"no {name} on this machine; install it with {_INSTALL}")
    return Path(on_path)


def _release(folder: Path) -> int:
    number = re.search(r"/(\d+)/", str(folder))
    return int(number[1]) if number else 0


def _await_build(ours: Path) -> None:
    """Wait until ``infra/run``, which builds beside the tests, is done with it."""
    lock = ours.with_name(f"{ours.name}.lock")
    if lock.exists():
        with lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
