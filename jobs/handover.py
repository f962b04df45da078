"""A night's files between its jobs, where each runs on a machine of its own.

With ``AUTOIFS_WORK``, such as ``s3://bucket/work``, what one job leaves in a folder of the home is
copied there, and the job after it fetches it. Without, they share the home's disk.
"""

import os
import shutil
from pathlib import Path

from features.objects import Objects
from jobs.home import Home

PLACE = "AUTOIFS_WORK"


def hand_over(home: Home, folder: Path, result: str) -> None:
    """Copy a folder of the home to where other machines find it, the file ``result`` last.

    Raises:
        StoreError: when the store refuses.
        UnavailableError: when it does not answer.
    """
    shared = _shared()
    if shared is None:
        return
    place = folder.relative_to(home.root).as_posix()
    shared.remove(shared.keys(f"{place}/"))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    # Who sees the result finds all that it speaks of.
    for path in sorted(files, key=lambda path: path == folder / result):
        shared.upload(f"{place}/{path.relative_to(folder).as_posix()}", path)


def take_over(home: Home, folder: Path, result: str) -> None:
    """Fetch what another machine handed over into a folder, unless it is that already.

    Raises:
        StoreError: when the store refuses.
        UnavailableError: when it does not answer.
    """
    shared = _shared()
    if shared is None:
        return
    place = folder.relative_to(home.root).as_posix()
    found = shared.get(f"{place}/{result}")
    here = folder / result
    if found is None or (here.is_file() and here.read_bytes() == found.body):
        return
    shutil.rmtree(folder, ignore_errors=True)
    for key in shared.keys(f"{place}/"):
        if key != f"{place}/{result}":
            shared.download(key, folder / key.removeprefix(f"{place}/"))
    here.write_bytes(found.body)


def _shared() -> Objects | None:
    place = os.environ.get(PLACE)
    return Objects(place) if place else None
