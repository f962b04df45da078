"""What the audit expects of a day's measures: one bounded number a check and subject."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean, median

from features.spec import Spec, layout_of
from features.spec.policy import AuditCheck
from validation.audit.bands import Past, noise, rate_band
from validation.audit.measure import Measures, frequent_tokens, range_of
from validation.intervals import SIGMAS
from validation.stability import stability


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
    learned_from: tuple[str, ...] = ()
    """The days whose measures made the bounds; none where the spec alone makes them."""

    @property
    def excess(self) -> float:
        """How far the value is out of its bounds, relative to them; 0 within."""
        low = 0.0 if self.low is None else (self.low - self.value) / max(abs(self.low), 1e-9)
        high = 0.0 if self.high is None else (self.value - self.high) / max(abs(self.high), 1e-9)
        return max(low, high, 0.0)


Rule = Callable[[Spec, Measures, Past], Iterator[Check]]


def checks_of(spec: Spec, measures: Measures, past: Past) -> list[Check]:
    """Return every check that ``spec.audit`` asks for and that can be made.

    Args:
        spec: names the checks and their tolerances.
        measures: the day's, from ``measure``.
        past: those of the published days before; checks that compare with them are left out
            when there are none.
    """
    # Without its columns nothing else of the day could be measured.
    broken: tuple[AuditCheck, ...] = ("schema",)
    names = broken if measures["schema"] else (*spec.audit.stop, *spec.audit.warn)
    return [check for name in dict.fromkeys(names) for check in RULES[name](spec, measures, past)]


def schema(spec: Spec, measures: Measures, past: Past) -> Iterator[Check]:
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


def key_unique(spec: Spec, measures: Measures, past: Past) -> Iterator[Check]:
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


def volume(spec: Spec, measures: Measures, past: Past) -> Iterator[Check]:
    """Expect about as many rows as on this weekday before, and some in every scenario."""
    rows, tolerance = measures["rows"], spec.audit.volume_tolerance
    if past.alike:
        usual = median(day["rows"] for day in past.alike)
        limit = f"±{tolerance:.0%} of {past.words_alike}' median of {usual:.0f}"
        yield Check(
            check="volume",
            subject="samples",
            value=rows,
            low=usual * (1 - tolerance),
            high=usual * (1 + tolerance),
            expected=f"The number of samples is within {limit}.",
            broken=f"{rows} samples are outside {limit}",
            learned_from=_names(past.alike),
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


def label_rate(spec: Spec, measures: Measures, past: Past) -> Iterator[Check]:
    """Expect the share of positives of every cell to lie in the band of the days before."""
    for cell, today in measures["cells"].items():
        before = [day for day in past.recent if day.get("cells", {}).get(cell, {}).get("known")]
        if not today["known"] or not before:
            continue
        rate = round(today["positives"] / today["known"], 4)
        band = rate_band([day["cells"][cell] for day in before], today, spec.audit.rate_tolerance)
        scenario, task = cell.split("/")
        where = f"{task} in {scenario}"
        yield Check(
            check="label-rate",
            subject=cell,
            value=rate,
            low=max(band.usual - band.allowed, 0.0),
            high=min(band.usual + band.allowed, 1.0),
            expected=f"Positives of {where}: within ±{band.allowed:.4f} of {past.words}' "
            f"{band.usual:.4f} ({today['known']} known labels).",
            broken=f"{where} is {rate:.4f}, {past.words} {band.usual:.4f} "
            f"(limit ±{band.allowed:.4f})",
            learned_from=_names(before),
        )


def null_rate(spec: Spec, measures: Measures, past: Past) -> Iterator[Check]:
    """Expect no feature to have become much emptier."""
    for column, share in measures["nulls"].items():
        before = [day for day in past.recent if column in day.get("nulls", {})]
        if not before:
            continue
        usual = fmean(day["nulls"][column] for day in before)
        chance = noise(usual, measures["rows"], None)
        high = min(usual + max(spec.audit.null_tolerance, chance), 1.0)
        yield Check(
            check="null-rate",
            subject=column,
            value=round(share, 4),
            low=0,
            high=high,
            expected=f"At most {high:.1%} of {column} is null ({past.words}: {usual:.1%}).",
            broken=f"{share:.1%} of {column} is null, {past.words} {usual:.1%} (limit {high:.1%})",
            learned_from=_names(before),
        )


def feature_range(spec: Spec, measures: Measures, past: Past) -> Iterator[Check]:
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


def maturity(spec: Spec, measures: Measures, past: Past) -> Iterator[Check]:
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


def category_drift(spec: Spec, measures: Measures, past: Past) -> Iterator[Check]:
    """Expect the shares of every category's frequent tokens to be near those of the days before."""
    for column, shares in measures["tokens"].items():
        known = [day for day in past.recent if column in day.get("tokens", {})]
        if not known:
            continue
        buckets = list(dict.fromkeys([*frequent_tokens(column, past.recent), *shares]))
        before = {
            token: fmean(day["tokens"][column].get(token, 0.0) for day in known)
            for token in buckets
        }
        today = {token: shares.get(token, 0.0) for token in buckets}
        seen = sum(day["rows"] for day in past.recent)
        chance = len(buckets) * (1 / max(measures["rows"], 1) + 1 / max(seen, 1))
        high = spec.audit.drift_tolerance + SIGMAS * chance
        index = stability(before, today)
        token = max(buckets, key=lambda each: abs(today[each] - before[each]), default="")
        yield Check(
            check="category-drift",
            subject=column,
            value=round(index, 4),
            low=0,
            high=high,
            expected=f"Stability index of {column} against {past.words}: at most {high:.2f}.",
            broken=f"{column} has a stability index of {index:.2f} (limit {high:.2f}); '{token}' "
            f"went from {before.get(token, 0.0):.1%} to {today.get(token, 0.0):.1%}",
            learned_from=_names(known),
        )


def _names(days: list[Measures]) -> tuple[str, ...]:
    return tuple(day["ds"] for day in days if "ds" in day)


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
