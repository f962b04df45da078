"""What a result came from: the commit, the code that trains, the machine."""

import hashlib
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def git_commit() -> str:
    """Return the commit of the code that runs, or ``unknown`` outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    said = subprocess.run(  # noqa: S603 (no input of anyone's)
        [git, "rev-parse", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"


@cache
def training_code() -> str:
    """Return a hash of the code that trains: what another has made is not taken over."""
    files = sorted((ROOT / "training").glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def in_words() -> str:
    """Return commit and machine, as they stand beside figures."""
    import torch

    return (
        f"Commit {git_commit()[:12]}, {platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}."
    )
