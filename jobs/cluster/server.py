"""What all servers have in common: they listen on 127.0.0.1, are waited for, and are ended."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from features.errors import ServiceError
from jobs.process import Part, free_port, start, stop

HOST = "127.0.0.1"
PATIENCE = 300.0
"""Seconds until a server must answer: one on two idle cores, many more on busy ones."""


@dataclass(kw_only=True)
class Server:
    """One server in a folder of its own; it may be stopped and started again on the same port."""

    folder: Path
    """Its data and its logs."""
    cache: Path
    """Where ``infra/run`` puts programs."""
    port: int = field(default_factory=lambda: free_port(HOST))
    lasting: bool = False
    """Whether it outlives this process (``cluster up``)."""
    parts: list[Part] = field(default_factory=list)
    """Its running processes."""

    def start(self) -> None:
        """Start its processes; it answers after :meth:`wait`."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Return whether it can be used."""
        raise NotImplementedError

    def wait(self, patience: float = PATIENCE) -> None:
        """Wait until it can be used.

        Raises:
            ServiceError: when a process of it ends, or it takes too long.
        """
        self.wait_for(self.answers, patience)

    def wait_for(self, condition: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait until ``condition`` holds, while all processes run.

        Raises:
            ServiceError: when a process of it ends, or it takes too long.
        """
        deadline = time.monotonic() + patience
        while not condition():
            for part in self.parts:
                part.check()
            if time.monotonic() > deadline:
                names = ", ".join(part.name for part in self.parts)
                raise ServiceError(
                    f"{names} did not answer within {patience:.0f} s; see {self.folder}"
                )
            time.sleep(0.1)

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """Serve during the block."""
        try:
            self.start()
            self.wait()
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """End its processes."""
        stop(self.parts)
        self.parts.clear()

    def _run(
        self,
        name: str,
        words: Sequence[str],
        env: Mapping[str, str],
        user: str | None = None,
    ) -> None:
        log = self.folder / f"{name}.log"
        self.parts.append(start(name, words, env, log, lasting=self.lasting, user=user))


def tried(question: Callable[[], object], *failures: type[Exception]) -> bool:
    """Return whether a question to a server is answered at all."""
    try:
        question()
    except failures:
        return False
    return True
