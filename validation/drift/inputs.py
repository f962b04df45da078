"""Input drift: is a day of samples like the days before it, in every scenario?"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from statistics import fmean, median

from features.spec import Spec
from features.spec.policy import Drift
from validation.drift.buckets import Buckets, number_buckets, token_buckets
from validation.drift.profile import NEW, NULL, Counts, Place, Profile
from validation.drift.reading import FEW, Reading, judged_by, student_reach, upper
from validation.intervals import SIGMAS
from validation.stability import stability

Cells = Mapping[str, Mapping[str, int]]
"""``scenario/task`` → ``known`` labels and ``positives``."""


def input_drift(
    spec: Spec,
    today: Profile,
    before: Sequence[Profile],
    tokens: Collection[str],
) -> list[Reading]:
    """Compare a day with the days before it: features, new tokens, volume.

    Args:
        spec: its section ``drift`` declares the limits.
        today: the day.
        before: the days it is compared with, oldest first; nothing is said without one.
        tokens: the features whose bins are tokens; the others' are numbers.
    """
    if not before:
        return []
    found = [*_volumes(spec.drift, today, before)]
    for place in today.bins:
        others = [day.bins[place] for day in before if place in day.bins]
        if others:
            found += _feature(spec.drift, place, today.bins[place], others, place[1] in tokens)
    return found


def label_drift(
    spec: Spec, today: Mapping[str, Cells], before: Mapping[str, Sequence[Cells]]
) -> list[Reading]:
    """Compare each cell's share of positives with that of the days before.

    Args:
        spec: its section ``drift`` declares the limits.
        today: task → the cells of the newest day with labels of it.
        before: task → those of the days before that one.
    """
    found = []
    for task, cells in today.items():
        for scenario in spec.scenarios.names:
            cell = f"{scenario}/{task}"
            past = [day[cell] for day in before.get(task, ()) if day.get(cell, {}).get("known")]
            if past and cells.get(cell, {}).get("known"):
                found.append(_label(spec.drift, scenario, task, cells[cell], past))
    return found


def _label(
    policy: Drift,
    scenario: str,
    task: str,
    today: Mapping[str, int],
    past: Sequence[Mapping[str, int]],
) -> Reading:
    known = sum(day["known"] for day in past)
    usual = sum(day["positives"] for day in past) / known
    rate = today["positives"] / today["known"]
    if not usual:
        usual = 0.5 / known
    spread = SIGMAS * (usual * (1 - usual) * (1 / today["known"] + 1 / known)) ** 0.5
    reach = student_reach([day["positives"] / day["known"] for day in past])
    found = Reading(
        kind="input",
        measure="label-rate",
        scenario=scenario,
        task=task,
        value=rate,
        usual=usual,
        moved=abs(rate / usual - 1),
        n=today["known"],
        text=f"{task} in {scenario}: {_share(rate)} are positive, before {_share(usual)}",
    )
    return judged_by(policy, found, max(spread, reach) / usual)


def _volumes(policy: Drift, today: Profile, before: Sequence[Profile]) -> Iterator[Reading]:
    for scenario, n in today.rows.items():
        past = [day.rows.get(scenario, 0) for day in before]
        usual = median(past)
        if not usual:
            continue
        found = Reading(
            kind="input",
            measure="volume",
            scenario=scenario,
            value=n,
            usual=usual,
            moved=abs(n / usual - 1),
            n=n,
            text=f"{scenario}: {n:,} samples, before {round(usual):,} a day",
        )
        yield judged_by(policy, found, student_reach(past) / usual)


def _feature(
    policy: Drift, place: Place, today: Counts, before: Sequence[Counts], tokens: bool
) -> Iterator[Reading]:
    if tokens:
        yield from _novelty(policy, place, today, before)
    yield _shape(
        policy, place, today, before, (token_buckets if tokens else number_buckets)(_sum(before))
    )


def _shape(
    policy: Drift, place: Place, today: Counts, before: Sequence[Counts], buckets: Buckets
) -> Reading:
    """Return how far the shares of the day's buckets are from those of the days before."""
    whole = _sum(before)
    now, usual = buckets.shares(today), buckets.shares(whole)
    n, seen = _values(today), _values(whole)
    chance = (len(usual) - 1) * (1 / max(n, 1) + 1 / max(seen, 1))
    own = [
        stability(
            buckets.shares(_sum([other for other in before if other is not day])),
            buckets.shares(day),
        )
        for day in before
    ]
    index, widest = stability(usual, now), max(usual, key=lambda at: abs(now[at] - usual[at]))
    scenario, feature = place
    found = Reading(
        kind="input",
        measure="psi",
        scenario=scenario,
        subject=feature,
        value=index,
        moved=index,
        n=n,
        text=f"{feature} in {scenario}: {buckets.named(widest)} {_share(usual[widest])} before, "
        f"{_share(now[widest])} now",
    )
    return judged_by(policy, found, max(upper(own), SIGMAS * chance))


def _novelty(
    policy: Drift, place: Place, today: Counts, before: Sequence[Counts]
) -> Iterator[Reading]:
    """Yield the share of a day's tokens that no day before it had, where it is known."""
    if NEW not in today:
        return
    rates = [_new(day) for day in before if NEW in day]
    rate, usual = _new(today), fmean(rates) if rates else 0.0
    scenario, feature = place
    n = _values(today)
    chance = SIGMAS * (usual * (1 - usual) / max(n, 1)) ** 0.5
    found = Reading(
        kind="input",
        measure="oov",
        scenario=scenario,
        subject=feature,
        value=rate,
        usual=usual if rates else None,
        moved=max(rate - usual, 0.0),
        n=n,
        text=f"{feature} in {scenario}: {_share(rate)} were never seen before, usually "
        f"{_share(usual)}",
    )
    # While it is not known how many are usual, no number of new tokens is a surprise.
    yield judged_by(policy, found, max(student_reach(rates), chance) if len(rates) >= FEW else 1.0)


def _new(counts: Counts) -> float:
    known = _values(counts) - counts.get(NULL, 0)
    return counts[NEW] / known if known else 0.0


def _values(counts: Counts) -> int:
    """Return how many values there are; the new ones are counted as tokens too."""
    return sum(n for name, n in counts.items() if name != NEW)


def _sum(days: Iterable[Counts]) -> Counts:
    whole: Counter[str] = Counter()
    for day in days:
        whole.update(day)
    return whole


def _share(value: float) -> str:
    return f"{value:.1%}" if value >= 0.1 else f"{value:.2%}"
