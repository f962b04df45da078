"""What lets one process at a time change the champion where MLflow's database can't be reached."""

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from features.errors import PromotionBusyError
from features.lease import hold
from features.objects import Objects, is_address
from training.promotion import Lock

PLACE = "AUTOIFS_LOCKS"
"""Environment variable: a folder or ``s3://bucket/prefix`` that all who promote share."""
PATIENCE = 30.0
"""Seconds to wait for another process."""
EXPIRY = 30.0
"""Seconds after which the lease of a killed process is free; a promotion takes a few."""


def lock_of(client: Any, product: str) -> Lock:
    """Return the lock of a product: where ``AUTOIFS_LOCKS`` says, else beside its artifacts.

    Raises:
        PromotionBusyError: no place is known that all who promote share.
    """
    place = os.environ.get(PLACE) or _artifacts(client, product)
    if is_address(place):
        return on_store(place, product)
    folder = Path(place.removeprefix("file://"))
    if folder.is_absolute():
        return in_folder(folder, product)
    raise PromotionBusyError(
        f"nothing can keep two promotions of {product} apart: MLflow's artifacts lie at {place}; "
        f"name a shared folder or bucket in {PLACE}, or MLflow's database in "
        "AUTOIFS_MLFLOW_DATABASE"
    )


def _artifacts(client: Any, product: str) -> str:
    found = client.get_experiment_by_name(product)
    return str(found.artifact_location) if found else ""


@contextmanager
def on_store(place: str, product: str) -> Iterator[Callable[[], None]]:
    """Hold a lease on an object store; a killed holder's is taken over when it has expired.

    Raises:
        LeaseTaken: another process held it for too long.
        StoreError: the store refuses.
    """
    owner = f"a promotion on {socket.gethostname()}"
    key = f"{product}.promotion"
    with hold(Objects(place), key, owner, seconds=EXPIRY, patience=EXPIRY + PATIENCE) as lease:
        yield lease.check


@contextmanager
def in_folder(folder: Path, product: str) -> Iterator[Callable[[], None]]:
    """Hold a lock file; it is free as soon as its process ends, however it ends.

    Raises:
        PromotionBusyError: another process held it for too long.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{product}.promotion"
    with path.open("a") as file:
        deadline = time.monotonic() + PATIENCE
        while not _taken(file.fileno()):
            if time.monotonic() > deadline:
                raise PromotionBusyError(
                    f"another process changes the champion of {product} and has held {path} for "
                    f"{PATIENCE:g} s; look what it does, end it, and run again"
                )
            time.sleep(0.05)
        yield lambda: None


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
