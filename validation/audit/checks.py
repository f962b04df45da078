"""What the audit expects of a day's measures: one bounded number a check and subject."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean, median

from features.spec import Spec, layout_of
from features.spec.policy import AuditCheck
from validation.audit.measure import Measures, frequent_tokens, range_of

NULLS_ALLOWED = 0.1
"""How much larger than before a feature's share of nulls may be (absolute)."""
DRIFT_ALLOWED = 0.25
"""Population stability index from which a category is called drifted, by common usage."""
RARE = 0.001
"""Shares below this one weigh like this one in the stability index."""
SIGMAS = 3.0
"""Standard errors that a small cell may be off its limit before it counts."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One number of the day with the bounds it must keep."""

    check: AuditCheck
    subject: str
    """What the number is about: a column, a cell, a task, or ``samples``."""
    value: float
    low: float | None = None
    high: float | None = None
    expected: str
    """The expectation as a sentence, shown in the Data Docs."""
    broken: str
    """The finding's sentence, for a value out of bounds."""

    @property
    def excess(self) -> float:
        """How far the value is out of its bounds, relative to them; 0 within."""
        low = 0.0 if self.low is None else (self.low - self.value) / max(abs(self.low), 1e-9)
        high = 0.0 if self.high is None else (self.value - self.high) / max(abs(self.high), 1e-9)
        return max(low, high, 0.0)


Rule = Callable[[Spec, Measures, list[Measures]], Iterator[Check]]


def checks_of(spec: Spec, measures: Measures, history: list[Measures]) -> list[Check]:
    """Return every check that ``spec.audit`` asks for and that can be made.

    Args:
        spec: names the checks and their tolerances.
        measures: the day's, from ``measure``.
        history: those of the published days before, oldest first; checks that compare with it
            are left out when it is empty.
    """
    # Without its columns nothing else of the day could be measured.
    broken: tuple[AuditCheck, ...] = ("schema",)
    names = broken if measures["schema"] else (*spec.audit.stop, *spec.audit.warn)
    return [
        check for name in dict.fromkeys(names) for check in RULES[name](spec, measures, history)
    ]


def schema(spec: Spec, measures: Measures, history: list[Measures]) -> Iterator[Check]:
    """Expect the columns and types that the spec gives ``samples``."""
    complaints = measures["schema"]
    yield Check(
        check="schema",
        subject="samples",
        value=len(complaints),
        low=0,
        high=0,
        expected="Every column of the spec is there with its type, and no other.",
        broken="; ".join(complaints),
    )


def key_unique(spec: Spec, measures: Measures, history: list[Measures]) -> Iterator[Check]:
    """Expect every sample_id once."""
    repeated = measures["duplicates"]
    yield Check(
        check="key-unique",
        subject="sample_id",
        value=repeated["rows"],
        low=0,
        high=0,
        expected="Every sample_id is there once; counted are the rows that repeat one.",
        broken=f"{repeated['rows']} rows repeat a sample_id, such as {repeated['example']}",
    )


def volume(spec: Spec, measures: Measures, history: list[Measures]) -> Iterator[Check]:
    """Expect about as many rows as on the days before, and some in every scenario."""
    rows, tolerance = measures["rows"], spec.audit.volume_tolerance
    if history:
        usual = median(day["rows"] for day in history)
        limit = f"±{tolerance:.0%} of {_last(history)}' median of {usual:.0f}"
        yield Check(
            check="volume",
            subject="samples",
            value=rows,
            low=usual * (1 - tolerance),
            high=usual * (1 + tolerance),
            expected=f"The number of samples is within {limit}.",
            broken=f"{rows} samples are outside {limit}",
        )
    for scenario in spec.scenarios.names:
        if scenario not in spec.scenarios.optional:
            yield Check(
                check="volume",
                subject=scenario,
                value=measures["scenarios"].get(scenario, 0),
                low=1,
                expected=f"Scenario {scenario} has samples.",
                broken=f"scenario {scenario} has no sample; declare it in scenarios.optional "
                "if that may be",
            )


def label_rate(spec: Spec, measures: Measures, history: list[Measures]) -> Iterator[Check]:
    """Expect the share of positives of every cell to be near that of the days before."""
    tolerance = spec.audit.rate_tolerance
    for cell, today in measures["cells"].items():
        past = [day["cells"][cell] for day in history if cell in day.get("cells", {})]
        known = sum(day["known"] for day in past)
        if not today["known"] or not known:
            continue
        rate = round(today["positives"] / today["known"], 4)
        usual = sum(day["positives"] for day in past) / known
        allowed = max(tolerance * usual, _noise(usual, today["known"], known))
        scenario, task = cell.split("/")
        where = f"{task} in {scenario}"
        yield Check(
            check="label-rate",
            subject=cell,
            value=rate,
            low=max(usual - allowed, 0.0),
            high=min(usual + allowed, 1.0),
            expected=f"Positives of {where}: within {allowed / usual if usual else 0:.0%} of "
            f"{_last(history)}' {usual:.4f} ({today['known']} known labels).",
            broken=f"{where} is {rate:.4f}, {_last(history)} {usual:.4f} (limit ±{allowed:.4f})",
        )


def null_rate(spec: Spec, measures: Measures, history: list[Measures]) -> Iterator[Check]:
    """Expect no feature to have become much emptier."""
    for column, share in measures["nulls"].items():
        past = [day["nulls"][column] for day in history if column in day.get("nulls", {})]
        if not past:
            continue
        usual = fmean(past)
        high = min(usual + max(NULLS_ALLOWED, _noise(usual, measures["rows"], None)), 1.0)
        yield Check(
            check="null-rate",
            subject=column,
            value=round(share, 4),
            low=0,
            high=high,
            expected=f"At most {high:.1%} of {column} is null ({_last(history)}: {usual:.1%}).",
            broken=f"{share:.1%} of {column} is null, {_last(history)} {usual:.1%} "
            f"(limit {high:.1%})",
        )


def feature_range(spec: Spec, measures: Measures, history: list[Measures]) -> Iterator[Check]:
    """Expect rates in [0, 1], counts and recencies from 0, and every number finite."""
    for column in layout_of(spec).of("number"):
        low, high = range_of(column)
        bounds = "finite" if low is None else f"from {low:g} on" if high is None else "in [0, 1]"
        outside = measures["range"][column.name]
        yield Check(
            check="feature-range",
            subject=column.name,
            value=outside,
            low=0,
            high=0,
            expected=f"Every {column.name} is {bounds} or null; counted are the rows that are not.",
            broken=f"{outside} rows have a {column.name} that is not {bounds}",
        )


def maturity(spec: Spec, measures: Measures, history: list[Measures]) -> Iterator[Check]:
    """Expect a label exactly where the scenario has the task and its window has closed."""
    for task, rows in measures["maturity"].items():
        yield Check(
            check="maturity",
            subject=task,
            value=rows,
            low=0,
            high=0,
            expected=f"{task} is known exactly where its scenario has it and its window has "
            "closed; counted are the rows where it is not so.",
            broken=f"{rows} rows have a {task} label before its window closed, or none after",
        )


def category_drift(spec: Spec, measures: Measures, history: list[Measures]) -> Iterator[Check]:
    """Expect the shares of every category's frequent tokens to be near those of the days before."""
    for column, shares in measures["tokens"].items():
        past = [day["tokens"][column] for day in history if column in day.get("tokens", {})]
        if not past:
            continue
        buckets = list(dict.fromkeys([*frequent_tokens(column, history), *shares]))
        before = {token: fmean(day.get(token, 0.0) for day in past) for token in buckets}
        today = {token: shares.get(token, 0.0) for token in buckets}
        seen = sum(day["rows"] for day in history)
        noise = len(buckets) * (1 / max(measures["rows"], 1) + 1 / max(seen, 1))
        index = stability(before, today)
        token = max(buckets, key=lambda each: abs(today[each] - before[each]), default="")
        yield Check(
            check="category-drift",
            subject=column,
            value=round(index, 4),
            low=0,
            high=DRIFT_ALLOWED + SIGMAS * noise,
            expected=f"Stability index of {column} against {_last(history)}: at most "
            f"{DRIFT_ALLOWED + SIGMAS * noise:.2f}.",
            broken=f"{column} has a stability index of {index:.2f} (limit "
            f"{DRIFT_ALLOWED + SIGMAS * noise:.2f}); '{token}' went from "
            f"{before.get(token, 0.0):.1%} to {today.get(token, 0.0):.1%}",
        )


def stability(before: dict[str, float], today: dict[str, float]) -> float:
    """Return the population stability index of two sets of shares over the same buckets.

    The sum of (q - p) ln(q / p); what the buckets leave of 1 is one more bucket.

    >>> round(stability({"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.1}), 2)
    0.88
    """
    pairs = [(before[bucket], today[bucket]) for bucket in before]
    rest = (max(1 - sum(before.values()), 0.0), max(1 - sum(today.values()), 0.0))
    floored = [(max(p, RARE), max(q, RARE)) for p, q in (*pairs, rest)]
    return sum((q - p) * math.log(q / p) for p, q in floored)


def _noise(rate: float, n: int, past: int | None) -> float:
    """Return ``SIGMAS`` standard errors of a share of ``n`` rows around one of ``past`` rows."""
    spread = 1 / max(n, 1) + (1 / past if past else 0.0)
    return SIGMAS * math.sqrt(rate * (1 - rate) * spread)


def _last(history: list[Measures]) -> str:
    return f"the last {len(history)} days" if len(history) > 1 else "the last day"


RULES: dict[AuditCheck, Rule] = {
    "schema": schema,
    "key-unique": key_unique,
    "volume": volume,
    "label-rate": label_rate,
    "null-rate": null_rate,
    "feature-range": feature_range,
    "maturity": maturity,
    "category-drift": category_drift,
}
"""A check's name in the spec and the function that makes its expectations."""
