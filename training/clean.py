"""A model checked where nothing helps it: a process of its own that knows no settings of ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

from features.errors import ArtifactError

KEPT = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONPYCACHEPREFIX",
    "AUTOIFS_THREADS",
)
"""What of the environment the process gets: how to run at all, and nothing of stores or lakes."""
LIMIT = 600
"""Seconds a model may take to load and to answer its probe."""


def verify_in_clean_process(folder: Path) -> str:
    """Check a model's files and that it predicts its probe as when saved; return its checksum.

    The process gets the folder and nothing else: no home, no lake, no registry. What it answers is
    what a server would get from the files alone.

    Raises:
        ArtifactError: naming the file that changed or the prediction that moved.
    """
    ended = subprocess.run(  # noqa: S603 (this module, a folder)
        [sys.executable, "-P", "-m", "training.clean", str(folder.absolute())],
        env={name: os.environ[name] for name in KEPT if name in os.environ},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    lines = ended.stdout.splitlines() or ["{}"]
    said = json.loads(lines[-1]) if lines[-1].startswith("{") else {}
    if "checksum" in said:
        return str(said["checksum"])
    reason = said.get("message") or _last_line(ended.stderr) or f"status {ended.returncode}"
    raise ArtifactError(str(reason))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return f"the model can't be loaded by itself: {lines[-1]}" if lines else ""


def _main(folder: Path) -> None:
    from training.artifact import verify

    try:
        said = {"checksum": verify(folder)}
    except ArtifactError as error:
        said = {"message": str(error)}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
