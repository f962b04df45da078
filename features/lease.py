"""The right to change something on an object store, held by one owner at a time.

A lease is one small object, changed only by conditional puts: created if it is absent, replaced if
it is still what was read. It says who holds it, for how long, and the *fence*: a number that grows
with every holder, so that what an earlier holder does too late can be told by its smaller number.
Times are compared on the store's own clock alone (its ``Date`` and ``Last-Modified``), never on a
client's. How such a lease is used and why a fence is needed: Kleppmann, "How to do distributed
locking", https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from features.errors import StoreError, UnavailableError
from features.objects import Objects

SECONDS = 60.0
"""How long a holder may be silent before another takes over."""
PATIENCE = 1800.0
"""Seconds to wait for a holder that is at work: a large day is written in minutes."""
POLL = 1.0
_SLACK = 2.0
"""Seconds by which an expiry is waited out: a store tells its time in whole seconds."""

log = logging.getLogger(__name__)


class LeaseTaken(UnavailableError):
    """Another owner holds the lease and is at work."""

    code = "lease-taken"


class LeaseLost(UnavailableError):
    """The lease expired under its owner, and what it was about to do is not done."""

    code = "lease-lost"


@dataclass
class Lease:
    """A lease that is ours, renewed by a thread until it is released."""

    objects: Objects
    key: str
    holder: str
    """Who holds it, and no other process ever will under this name."""
    fence: int
    seconds: float
    _etag: str
    _until: float
    """When it ends by our own, monotonic clock: counted from before the store was asked."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def check(self) -> None:
        """Look whether the lease is still ours, at the store.

        Raises:
            LeaseLost: when it expired or another owner has it.
        """
        now = _read(self.objects, self.key)
        if now is None or now.holder != self.holder or time.monotonic() > self._until:
            raise LeaseLost(
                f"the lease {self.objects.url(self.key)} of this run expired"
                f"{'' if now is None else f', it is now held by {now.owner}'}; nothing was "
                "committed: run again"
            )

    def renew(self) -> None:
        """Hold the lease for its whole time from now on.

        Raises:
            LeaseLost: when another owner has it.
            StoreError: when the store does not answer.
        """
        asked = time.monotonic()
        etag = self.objects.put(self.key, self._text(), match=self._etag)
        if etag is None:
            now = _read(self.objects, self.key)
            if now is None or now.holder != self.holder:
                raise LeaseLost(f"the lease {self.objects.url(self.key)} went to another owner")
            etag = now.etag  # our last renewal arrived, only its answer did not
        self._etag, self._until = etag, asked + self.seconds - _SLACK

    def release(self) -> None:
        """Let the next owner in at once; the fence is remembered."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(StoreError, UnavailableError):  # it expires by itself
            self.objects.put(self.key, self._text(free=True), match=self._etag)

    def keep(self) -> None:
        """Renew from now on, four times in the lease's time, until :meth:`release`."""
        self._thread = threading.Thread(target=self._renew_on, name="lease", daemon=True)
        self._thread.start()

    def _renew_on(self) -> None:
        while not self._stop.wait(self.seconds / 4):
            try:
                self.renew()
            except LeaseLost as lost:
                log.warning("%s", lost)
                return
            except (StoreError, UnavailableError) as error:
                log.warning("a lease was not renewed, it is tried again: %s", error)

    def _text(self, *, free: bool = False) -> bytes:
        said = {"holder": self.holder, "fence": self.fence, "seconds": self.seconds, "free": free}
        return json.dumps(said).encode()


@contextmanager
def hold(
    objects: Objects,
    key: str,
    owner: str,
    *,
    seconds: float = SECONDS,
    patience: float = PATIENCE,
) -> Iterator[Lease]:
    """Hold a lease during the block.

    Args:
        objects: where it lies.
        key: its name there.
        owner: what others are told of us while they wait.
        seconds: how long we may be silent (killed, cut off) before another owner takes over.
        patience: how many seconds to wait for another owner.

    Raises:
        LeaseTaken: when another owner holds it for longer.
        StoreError: when the store refuses or does not answer.
    """
    lease = acquire(objects, key, owner, seconds=seconds, patience=patience)
    lease.keep()
    try:
        yield lease
    finally:
        lease.release()


def acquire(
    objects: Objects,
    key: str,
    owner: str,
    *,
    seconds: float = SECONDS,
    patience: float = PATIENCE,
) -> Lease:
    """Return the lease once it is ours; without :meth:`Lease.keep` it ends after ``seconds``.

    Raises:
        LeaseTaken: when another owner holds it for longer than ``patience``.
        StoreError: when the store refuses or does not answer.
    """
    holder = f"{owner} {uuid.uuid4().hex}"
    deadline = time.monotonic() + patience
    told = ""
    while True:
        found = _read(objects, key)
        if found is None or found.is_over:
            lease = _take(objects, key, holder, found, seconds)
            if lease is not None:
                return lease
            continue  # another was quicker
        if time.monotonic() > deadline:
            raise LeaseTaken(
                f"{found.owner} holds {objects.url(key)} for longer than {patience:.0f} s; "
                "wait for it to end and run again"
            )
        if found.owner != told:
            log.info("waiting for %s, which holds %s", found.owner, objects.url(key))
            told = found.owner
        time.sleep(POLL)


@dataclass(frozen=True, kw_only=True)
class _State:
    """What the object says, and when it said so by the store's clock."""

    holder: str
    fence: int
    seconds: float
    free: bool
    etag: str
    age: float
    """Seconds since it was written."""

    @property
    def owner(self) -> str:
        """What a person is told."""
        return self.holder.rpartition(" ")[0]

    @property
    def is_over(self) -> bool:
        """Return whether another may take it."""
        return self.free or self.age > self.seconds + _SLACK


def _read(objects: Objects, key: str) -> _State | None:
    found = objects.get(key)
    if found is None:
        return None
    said: dict[str, Any] = json.loads(found.body)
    return _State(**said, etag=found.etag, age=(found.asked - found.changed).total_seconds())


def _take(
    objects: Objects, key: str, holder: str, found: _State | None, seconds: float
) -> Lease | None:
    """Return the lease, or none when another owner was quicker."""
    asked = time.monotonic()
    fence = 1 if found is None else found.fence + 1
    lease = Lease(objects, key, holder, fence, seconds, "", asked + seconds - _SLACK)
    etag = objects.put(key, lease._text(), match=None if found is None else found.etag)
    if etag is None:
        # A put that was repeated for want of an answer is refused though it was ours.
        now = _read(objects, key)
        if now is None or now.holder != holder:
            return None
        etag = now.etag
    lease._etag = etag
    return lease
