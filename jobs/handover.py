"""A night's files between its jobs, where each runs on a machine of its own.

With ``AUTOIFS_WORK``, such as ``s3://bucket/work``, what one job leaves in a folder of the home is
copied there, and the job after it fetches it. Without, they share the home's disk.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from features.objects import Objects
from jobs.home import Home

PLACE = "AUTOIFS_WORK"


def hand_over(home: Home, folder: Path, parts: Sequence[str], result: str) -> None:
    """Copy parts of a folder of the home to where other machines find them, then its result.

    Args:
        home: which holds the folder.
        folder: one job's.
        parts: folders in it.
        result: the file in it that speaks of them.

    Raises:
        StoreError: when the store refuses.
        UnavailableError: when it does not answer.
    """
    shared = _shared()
    if shared is None:
        return
    place = folder.relative_to(home.root).as_posix()
    shared.remove(shared.keys(f"{place}/"))
    files = [path for part in parts for path in (folder / part).rglob("*") if path.is_file()]
    # The result last: who sees it finds all that it speaks of.
    for path in (*files, folder / result):
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
    found, here = shared.get(f"{place}/{result}"), folder / result
    if found is None or (here.is_file() and here.read_bytes() == found.body):
        return
    here.unlink(missing_ok=True)
    names = [key.removeprefix(f"{place}/") for key in shared.keys(f"{place}/")]
    for part in {name.partition("/")[0] for name in names if "/" in name}:
        shutil.rmtree(folder / part, ignore_errors=True)
    for name in names:
        if name != result:
            shared.download(f"{place}/{name}", folder / name)
    here.write_bytes(found.body)


def _shared() -> Objects | None:
    place = os.environ.get(PLACE)
    return Objects(place) if place else None
