"""The files of an artifact: written in one move, hashed, and refused when one changed."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.errors import ArtifactError

CHECKSUMS = "checksums.json"
"""Names every other file with its SHA-256; its own hash names the artifact as a whole."""


_PICKLES = {".bin", ".ckpt", ".cloudpickle", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}
"""Endings of files that their readers unpickle; none of ours has one."""


def scratch_beside(folder: Path) -> Path:
    """Return a new folder to write in, on the same disk as ``folder``."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))


def seal(scratch: Path, folder: Path) -> str:
    """Hash the files of ``scratch``, put it in the place of ``folder`` and return its checksum."""
    hashes = {path.name: _sha256(path) for path in sorted(scratch.iterdir())}
    write_json(scratch / CHECKSUMS, hashes)
    swap(scratch, folder)
    return checksum(folder)


def checksum(folder: Path, of: str = "") -> str:
    """Return the hash over all files of an artifact after checking each.

    Args:
        folder: the files.
        of: what sentences call the model; left out: the model in ``folder``.

    Raises:
        ArtifactError: when a file is absent, extra, changed or a pickle.
    """
    model = of or f"the model in {folder}"
    pickles = sorted(path for path in folder.rglob("*") if path.suffix in _PICKLES)
    if pickles:
        raise ArtifactError(
            f"{pickles[0].relative_to(folder)} of {model} is a pickle, which could run anything "
            "and is never loaded; find out who put it there, and use another version"
        )
    if not (folder / CHECKSUMS).is_file():
        raise ArtifactError(f"{model} is not complete; train it again: autoifs train")
    said = read_json(folder / CHECKSUMS)
    found = {path.name for path in folder.iterdir()} - {CHECKSUMS}
    for name in sorted(found ^ set(said)):
        state = "is missing from" if name in said else "does not belong to"
        raise ArtifactError(f"{name} {state} {model}; fetch it again or train again")
    for name, wanted in said.items():
        if _sha256(folder / name) != wanted:
            raise ArtifactError(
                f"{name} of {model} is not as it was saved; fetch it again or train again"
            )
    return _sha256(folder / CHECKSUMS)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object of an artifact.

    Raises:
        ArtifactError: when there is none.
    """
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ArtifactError(f"{path} can't be read; fetch the model again or train again") from None
    return said


def write_json(path: Path, said: Mapping[str, Any]) -> None:
    """Write a JSON object that a person can read."""
    path.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def swap(scratch: Path, folder: Path) -> None:
    """Put the finished ``scratch`` in the place of ``folder``; a reader sees the old or the new."""
    old = scratch.with_name(f"{scratch.name}-old")
    if folder.exists():
        os.replace(folder, old)
    os.replace(scratch, folder)
    shutil.rmtree(old, ignore_errors=True)
