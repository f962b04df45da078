"""The gate: whether a challenger may become champion, and the sentences that say why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from features.spec.policy import Gate
from validation.comparison import Comparison
from validation.metrics import CellMetrics

Outcome = Literal["promoted", "rejected", "first", "reported"]


Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing a challenger must be, whatever the champion is."""

    name: str
    passed: bool
    sentence: str
    """What was found."""
    first_only: bool = False
    """Whether it counts only while there is no champion to compare with."""
    always: bool = True
    """Whether it counts in mode ``off`` too."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the gate says of a challenger, with the evidence."""

    promote: bool
    verdict: Outcome
    reasons: list[str]
    """Sentences; the first one sums up."""
    would_promote: bool
    """What mode ``enforce`` would have done."""
    cells: list[Comparison]
    checks: list[Check]

    def to_json(self) -> dict[str, Any]:
        """Return the decision as plain data."""
        return asdict(self)


def sanity(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.floating],
    metrics: Sequence[CellMetrics],
) -> list[Check]:
    """Return what is asked of a challenger by itself.

    Args:
        probabilities: [n, M] its predictions on the judged samples.
        labels: [n, M] what they are judged by; NaN where nothing is, as in a cell that does not
            exist: no prediction is asked for there.
        metrics: their measures, from ``by_cell``.
    """
    asked = ~np.isnan(labels)
    wrong = int((~np.isfinite(probabilities[asked])).sum())
    overall = next((c for c in metrics if not (c.scenario or c.task or c.slice)), None)
    ne = overall.ne.value if overall and overall.ne else None
    return [
        Check(
            name="finite",
            passed=wrong == 0,
            sentence=f"{wrong} of {int(asked.sum())} predictions are not finite numbers",
        ),
        Check(
            name="beats-constant",
            passed=ne is not None and ne < 1,
            sentence=(
                "no task has positives and negatives to judge it on"
                if ne is None
                else f"its normalised entropy is {ne:.4f}, and a constant prediction reaches 1"
            ),
            first_only=True,
        ),
    ]


def calibration(gate: Gate, metrics: Sequence[Row]) -> list[Check]:
    """Return a check for every cell whose probabilities are out of bounds beyond doubt.

    A cell whose interval reaches into the bounds is let through, as is one without an interval for
    want of labels.

    Args:
        gate: declares the bounds.
        metrics: the challenger's rows of the table ``metrics``: ``scenario``, ``task``, ``slice``,
            ``metric``, ``value``, ``low``, ``high``.
    """
    least, most = gate.calibration.pcoc
    found = []
    for row in metrics:
        if not (row["scenario"] and row["task"]) or row.get("slice") or row.get("low") is None:
            continue
        if row["metric"] == "pcoc" and (row["low"] > most or row["high"] < least):
            found.append(_off(row, "predicted over observed positives", f"{least:g} … {most:g}"))
        worst = gate.calibration.ece
        if row["metric"] == "ece" and worst is not None and row["low"] > worst:
            found.append(_off(row, "the calibration error", f"at most {worst:g}"))
    return found or [
        Check(
            name="calibration",
            passed=True,
            sentence="no cell's probabilities are out of bounds beyond doubt",
            always=False,
        )
    ]


def _off(row: Row, what: str, bounds: str) -> Check:
    return Check(
        name="calibration",
        passed=False,
        sentence=(
            f"{row['scenario']} × {row['task']}: {what} is {row['value']:.3g} "
            f"(interval {row['low']:.3g} … {row['high']:.3g}, allowed {bounds})"
        ),
        always=False,
    )


def drift(findings: Sequence[Row]) -> Iterator[Check]:
    """Yield a check for every finding of drift whose severity is ``stop``.

    Args:
        findings: ``severity`` and ``text`` of what moved.
    """
    for finding in findings:
        if finding["severity"] == "stop":
            yield Check(name="drift", passed=False, sentence=str(finding["text"]), always=False)


def decide(
    gate: Gate,
    comparisons: Sequence[Comparison],
    champion_exists: bool,
    checks: Sequence[Check],
) -> Decision:
    """Decide whether the challenger becomes champion.

    In mode ``enforce`` it does when every check passes and, against a champion, no cell is worse
    beyond its tolerance and the whole is not worse. The first model only has to pass the checks.
    Mode ``report`` says the same and promotes nothing: a person does. Mode ``off`` asks only for
    the checks that always count.

    Args:
        gate: the spec's section.
        comparisons: from ``compare``; unused while there is no champion.
        champion_exists: whether a model is in use.
        checks: from ``sanity``, ``calibration``, ``drift``, and whatever else must hold.
    """
    counted = [check for check in checks if not (check.first_only and champion_exists)]
    if gate.mode == "off":
        counted = [check for check in counted if check.always]
    objections = [f"{check.name}: {check.sentence}" for check in counted if not check.passed]
    if champion_exists and gate.mode != "off":
        objections += _objections(gate, comparisons)
    passed = not objections
    summary = _summary(gate, comparisons, champion_exists, passed)
    return Decision(
        promote=passed and gate.mode != "report",
        verdict=_outcome(gate, champion_exists, passed),
        reasons=[summary, *objections, *_remarks(comparisons if champion_exists else ())],
        would_promote=passed,
        cells=list(comparisons),
        checks=list(checks),
    )


def _objections(gate: Gate, comparisons: Sequence[Comparison]) -> list[str]:
    overall = next((one for one in comparisons if one.name == "overall"), None)
    found = [_worse(gate, one) for one in comparisons if one.verdict == "worse"]
    if overall is None or overall.verdict == "insufficient":
        found.append(
            f"too few labels to judge: no task has {gate.minimum} positives, negatives and users "
            "with finite predictions of both models"
        )
    return found


def _worse(gate: Gate, one: Comparison) -> str:
    tolerance = gate.tolerance_of(one.scenario, one.task)
    allowed = "" if one.name == "overall" else f", more than the tolerance of {tolerance:g}"
    return (
        f"{one.name}: {one.measure} is worse by {one.worsening:.4f}{allowed} "
        f"({_bounds(one)}, p = {one.p_worse:.3g})"
    )


def _remarks(comparisons: Sequence[Comparison]) -> list[str]:
    """Return what else a reader wants to know: where it is better, and what nobody can tell."""
    better = [one for one in comparisons if one.verdict == "better"]
    unknown = [one.name for one in comparisons if one.verdict == "insufficient"]
    found = [
        f"{one.name}: {one.measure} is better by {-one.worsening:.4f} ({_bounds(one)})"
        for one in better
    ]
    if unknown:
        found.append(f"not judged for want of labels: {', '.join(unknown)}")
    return found


def _bounds(one: Comparison) -> str:
    if one.low is None or one.high is None:
        return "no interval"
    return f"difference {one.difference:+.4f}, interval {one.low:+.4f} … {one.high:+.4f}"


def _summary(
    gate: Gate, comparisons: Sequence[Comparison], champion_exists: bool, passed: bool
) -> str:
    if not passed:
        said = "the challenger does not pass the gate"
    elif not champion_exists:
        said = "there is no champion yet, and the model is sound"
    elif gate.mode == "off":
        said = "the gate is off: the challenger was not compared with the champion"
    else:
        judged = sum(bool(one.scenario) and one.verdict != "insufficient" for one in comparisons)
        said = f"no worse than the champion in the {judged} cells that could be judged"
    return f"{said}; the gate only reports, so nothing changes" if gate.mode == "report" else said


def _outcome(gate: Gate, champion_exists: bool, passed: bool) -> Outcome:
    if gate.mode == "report":
        return "reported"
    if not passed:
        return "rejected"
    return "promoted" if champion_exists else "first"
