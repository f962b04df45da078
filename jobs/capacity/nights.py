"""Nights by simulation: which jobs wait for which slots, and when a night misses its deadline."""

import heapq
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import prod

from jobs.capacity.calendar import STEPS, Calendar, Event

DAY = 24.0
"""Hours. Every time is in hours since the end of the first night's day."""
NONE = 1e-9
"""What is left of an hour when the rest is rounding."""


@dataclass
class Night:
    """What became of a product's night."""

    product: int
    night: int
    ended: float | None = None
    """Hours after the end of its day; none when a job was given up."""
    lost: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Reason → hours that it cost."""


@dataclass
class Backfill:
    """Days that were asked for at once."""

    product: int
    night: int
    days: int
    left: int
    ended: float | None = None
    """Hours after it was asked for, when its last day was built."""


@dataclass(eq=False, kw_only=True)
class Job:
    """One job of a night, or a day of a backfill."""

    of: Night | Backfill
    step: str
    hours: float
    """The work that is left of it."""
    then: "Job | None" = None
    breaks: list[float] = field(default_factory=list)
    """Shares of the work left after which it breaks off, one a try."""
    number: int = 0
    """Of a backfill: which of its days, the oldest first."""
    tries: int = 0
    waits_since: float = 0.0
    started: float = 0.0

    @property
    def pools(self) -> tuple[str, ...]:
        """What it occupies: a slot of the machines, and for samples the product's tables."""
        return ("spark", f"lake {self.of.product}") if self.step == "make" else ("train",)

    @property
    def order(self) -> tuple[bool, int, int, int, int]:
        """Nights before backfills, earlier before later ones, the end of a night before others."""
        behind = isinstance(self.of, Backfill)
        return behind, self.of.night, -STEPS.index(self.step), self.of.product, self.number


class Simulation:
    """A discrete-event simulation: time goes from one event to the next."""

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self.now = 0.0
        self.nights: list[Night] = []
        self.backfills: list[Backfill] = []
        self.busy: dict[str, float] = defaultdict(float)
        """Pool → slot hours."""
        self._free: dict[str, int] = {
            **calendar.slots,
            **{f"lake {product}": 1 for product in range(1, calendar.products + 1)},
        }
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._out_since = self._out_until = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def run(self) -> None:
        """Run all nights to their end."""
        self._declare()
        while self._events:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
            self._start_what_fits()

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), happen))

    def _declare(self) -> None:
        size = 1.0
        for number in range(1, self.calendar.nights + 1):
            today = [event for event in self.calendar.events if event.night == number]
            size *= prod(event.growth for event in today if event.growth)
            for event in today:
                if event.outage:
                    self._at((number - 1) * DAY, partial(self._go_out, event.outage))
            for product in range(1, self.calendar.products + 1):
                own = [event for event in today if event.product in (None, product)]
                self._declare_night(product, number, size, own)

    def _declare_night(self, product: int, number: int, size: float, events: list[Event]) -> None:
        begins = (number - 1) * DAY
        night = Night(product, number)
        self.nights.append(night)
        late = sum(event.late or 0.0 for event in events)
        if late:
            night.lost["late data"] += late
        first: Job | None = None
        for step in reversed(STEPS):
            hours = self.calendar.hours[step] * size
            fails = [event for event in events if event.fails == step]
            breaks = [event.at for event in fails for _ in range(event.times)]
            first = Job(of=night, step=step, hours=hours, then=first, breaks=breaks)
        assert first is not None  # noqa: S101 (there are steps)
        self._at(begins + self.calendar.arrival + late, partial(self._wait, first))
        for event in events:
            if event.backfill:
                self._at(begins, partial(self._ask, product, number, event.backfill, size))

    def _ask(self, product: int, number: int, days: int, size: float) -> None:
        asked = Backfill(product, number, days, left=days)
        self.backfills.append(asked)
        hours = self.calendar.hours["make"] * size
        for day in range(days):
            self._wait(Job(of=asked, step="make", hours=hours, number=day))

    def _wait(self, job: Job) -> None:
        job.waits_since = self.now
        self._waiting.append(job)

    def _start_what_fits(self) -> None:
        if self.now < self._out_until:
            return
        for job in sorted(self._waiting, key=lambda one: one.order):
            if all(self._free[pool] for pool in job.pools):
                self._start(job)

    def _start(self, job: Job) -> None:
        self._waiting.remove(job)
        self._running.append(job)
        out = max(0.0, self._out_until - max(self._out_since, job.waits_since))
        self._charge(job, "outage", out)
        self._charge(job, f"waiting for {job.pools[0]}", self.now - job.waits_since - out)
        for pool in job.pools:
            self._free[pool] -= 1
        job.tries, job.started = job.tries + 1, self.now
        if job.breaks:
            self._at(self.now + job.hours * job.breaks[0], partial(self._break, job, job.tries))
        else:
            self._at(self.now + job.hours, partial(self._end, job, job.tries))

    def _leave(self, job: Job) -> None:
        """Free what a job occupied."""
        self._running.remove(job)
        for pool in job.pools:
            self._free[pool] += 1
            self.busy[pool] += self.now - job.started

    def _end(self, job: Job, attempt: int) -> None:
        if job not in self._running or job.tries != attempt:
            return  # it broke off in between
        self._leave(job)
        if job.then is not None:
            self._wait(job.then)
        elif isinstance(job.of, Night):
            job.of.ended = self.now - (job.of.night - 1) * DAY
        else:
            job.of.left -= 1
            if not job.of.left:
                job.of.ended = self.now - (job.of.night - 1) * DAY

    def _break(self, job: Job, attempt: int) -> None:
        if job not in self._running or job.tries != attempt:
            return
        del job.breaks[0]
        self._repeat(job, "retries", self.calendar.retry_after)

    def _repeat(self, job: Job, reason: str, after: float) -> None:
        """Let a job that broke off be tried again, unless it was tried often enough."""
        worked = self.now - job.started
        self._leave(job)
        kept = worked if job.step in self.calendar.resumes else 0.0
        job.hours = max(job.hours - kept, NONE)
        self._charge(job, reason, worked - kept + after)
        if job.tries < self.calendar.attempts:
            self._at(self.now + after, partial(self._wait, job))

    def _go_out(self, hours: float) -> None:
        """Nothing runs for some hours; that is no fault of the jobs that break off."""
        if self.now >= self._out_until:
            self._out_since = self.now
        self._out_until = max(self._out_until, self.now + hours)
        for job in list(self._running):
            job.tries -= 1
            self._repeat(job, "outage", self._out_until - self.now)
        self._at(self._out_until, lambda: None)

    def _charge(self, job: Job, reason: str, hours: float) -> None:
        if isinstance(job.of, Night) and hours > NONE:
            job.of.lost[reason] += hours
