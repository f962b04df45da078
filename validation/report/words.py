"""Numbers and verdicts in words: few digits, real minus signs, no jargon."""

import math
from collections.abc import Mapping, Sequence
from datetime import date

from validation.intervals import Estimate
from validation.report.data import (
    Cell,
    CellMask,
    CellVerdict,
    Day,
    Decision,
    Diff,
    Finding,
    Flow,
    Masks,
    Measure,
    Numbers,
    Outcome,
    Quality,
    ReportData,
)

NOTHING = "–"
MEASURES: dict[Measure, str] = {"logloss": "log loss", "auc": "AUC"}
OUTCOMES: dict[Outcome, tuple[str, str]] = {
    "promoted": ("▲", "Promoted"),
    "first champion": ("▲", "First champion"),
    "rejected": ("▼", "Rejected"),
    "waiting": ("◆", "Waiting for approval"),
    "reported": ("◆", "Reported, not decided"),
    "unchanged": ("■", "Unchanged"),
    "failed": ("▼", "Failed"),
    "undecided": ("◇", "Not decided"),
}
VERDICTS: dict[CellVerdict, tuple[str, str]] = {
    "better": ("▲", "better"),
    "within": ("●", "within tolerance"),
    "worse": ("▼", "worse"),
    "unsure": ("◐", "unsure"),
    "insufficient": ("○", "too little data"),
    "none": ("·", "not compared"),
}
FLOW_WORDS = {
    "shared_shared": "scenario shared → task shared",
    "specific_specific": "scenario specific → task specific",
    "shared_specific": "scenario shared → task specific",
    "specific_shared": "scenario specific → task shared",
}


def count(n: int | None) -> str:
    """Return a whole number with separators.

    >>> count(41203)
    '41,203'
    """
    return NOTHING if n is None else f"{n:,}"


def number(value: float | None, digits: int, *, sign: bool = False) -> str:
    """Return a number with a typographic minus, and a plus when ``sign`` is asked for.

    >>> number(-0.00312, 4), number(0.00312, 4, sign=True), number(-0.00001, 4, sign=True)
    ('−0.0031', '+0.0031', '0.0000')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{abs(value):.{digits}f}"
    if not float(text):
        return text
    return ("−" if value < 0 else "+" if sign else "") + text


def sentence(text: str) -> str:
    """Return ``text`` as a sentence: a capital at its start, a full stop at its end.

    A name of lower-case letters with a colon, such as ``feed × click:``, keeps its own case.

    >>> sentence("no cell is worse"), sentence("feed × click: better by 0.01")
    ('No cell is worse.', 'feed × click: better by 0.01.')
    """
    said = text.strip()
    if not said:
        return ""
    names_first = ":" in said.partition(" is ")[0]
    start = said[0] if names_first else said[0].upper()
    return start + said[1:] + ("" if said.endswith((".", "!", "?")) else ".")


def share(value: float | None) -> str:
    """Return a share as a percentage with the digits it deserves.

    >>> share(0.1234), share(0.0123), share(1.0), share(0.0)
    ('12.3%', '1.23%', '100%', '0%')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    percent = value * 100
    if percent in (0, 100):
        return f"{percent:.0f}%"
    digits = 1 if abs(percent) >= 10 else 2
    return f"{percent:.{digits}f}%"


def change(now: float | None, usual: float | None) -> str:
    """Return how far ``now`` is from ``usual``, in whole percent.

    >>> change(110.0, 100.0), change(100.0, 100.0), change(1.0, None)
    ('+10%', '±0%', '')
    """
    if now is None or not usual:
        return ""
    percent = round((now / usual - 1) * 100)
    return f"{'+' if percent > 0 else '−' if percent < 0 else '±'}{abs(percent)}%"


def plain(value: float | None) -> str:
    """Return a number of any kind: whole ones with separators, others with three digits.

    >>> plain(18784.0), plain(0.12345), plain(None)
    ('18,784', '0.123', '–')
    """
    if value is None:
        return NOTHING
    return count(int(value)) if value == int(value) and abs(value) > 1 else number(value, 3)


def percent(value: float | None) -> str:
    """Return a change as a percentage with its sign.

    >>> percent(0.034), percent(-0.2), percent(0.0)
    ('+3.4%', '−20%', '0%')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    digits = 1 if abs(value) < 0.0995 and round(value, 3) else 0
    return number(100 * value, digits, sign=True) + "%"


def side(change: Estimate, measure: Measure) -> CellVerdict:
    """Return on which side of nothing a whole interval lies; ``none`` when on both."""
    if change.low is None or change.high is None or change.low <= 0 <= change.high:
        return "none"
    return "better" if (change.high < 0) == (measure == "logloss") else "worse"


def group(one: Numbers) -> str:
    """Return what a group of samples is called in a table."""
    task = one.task or "mean of tasks"
    return f"{task} in {one.slice or one.scenario or 'all scenarios'}"


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units.

    >>> duration(0.42), duration(12.3), duration(192), duration(3840)
    ('0.4 s', '12 s', '3 min 12 s', '1 h 04 min')
    """
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def long_day(ds: str) -> str:
    """Return a day as people say it.

    >>> long_day("2026-01-14")
    'Wednesday 14 January 2026'
    """
    day = date.fromisoformat(ds)
    return f"{day:%A} {day.day} {day:%B %Y}"


def short_day(ds: str) -> str:
    """Return a day's number and month.

    >>> short_day("2026-01-04")
    '4 Jan'
    """
    day = date.fromisoformat(ds)
    return f"{day.day} {day:%b}"


def listed(words: list[str]) -> str:
    """Return words joined as in a sentence.

    >>> listed(["click", "like", "purchase"])
    'click, like and purchase'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def interval(estimate: Estimate, digits: int, *, sign: bool = False) -> str:
    """Return an interval's two ends.

    >>> interval(Estimate(value=0.7, low=0.69, high=0.71), 3)
    '0.690 to 0.710'
    """
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = number(estimate.low, digits, sign=sign), number(estimate.high, digits, sign=sign)
    return f"{low} to {high}"


def difference_digits(tolerance: float) -> int:
    """Return how many decimals differences need for the tolerance to show with two digits.

    >>> difference_digits(0.01), difference_digits(0.0005)
    (4, 5)
    """
    return max(4, math.ceil(-math.log10(tolerance)) + 1) if tolerance > 0 else 4


def headline(decision: Decision) -> str:
    """Return what became of the champion, in one sentence."""
    new, old = f"Version {decision.version}", f"version {decision.champion}"
    if decision.version is None:
        return (
            f"No new version tonight; {old} stays champion."
            if decision.champion
            else ("No model was trained for this night.")
        )
    if decision.outcome in ("promoted", "first champion"):
        return (
            f"{new} replaces {old} as champion."
            if decision.champion
            else (f"{new} is the first champion.")
        )
    stays = f"{old} stays champion" if decision.champion else "there is no champion yet"
    ends = {
        "rejected": f"{new} was not promoted; {stays}.",
        "waiting": f"{new} passed the gate and waits for a person’s agreement; {stays}.",
        "reported": f"{new} was judged, and the gate only reports; {stays}.",
        "undecided": f"{new} has not been through the gate; {stays}.",
        "failed": f"{new} did not reach the gate; {stays}.",
    }
    return ends.get(decision.outcome, f"{stays[0].upper()}{stays[1:]}.")


def reasons(decision: Decision) -> tuple[str, tuple[str, ...]]:
    """Return the one reason for what became of the night's model, and what else was said.

    A rejection's first sentence only says that it is one; the objections follow.
    """
    said = decision.reasons
    if not said:
        return "", ()
    first = 1 if decision.outcome == "rejected" and len(said) > 1 else 0
    return said[first], said[first + 1 :]


def tally(cells: list[Cell]) -> list[tuple[CellVerdict, int]]:
    """Return how many cells got each verdict, verdicts that occurred only."""
    counts = {verdict: 0 for verdict in VERDICTS}
    for cell in cells:
        counts[cell.verdict] += 1
    return [(verdict, n) for verdict, n in counts.items() if n]


def place(cell: Cell | CellMask) -> str:
    """Return a cell's name in a sentence."""
    task = cell.task or "all tasks"
    return f"{task} in {cell.scenario}" if cell.scenario else f"{task} in all scenarios"


def ranked(data: ReportData) -> list[Cell]:
    """Return the compared cells of single scenarios, the most improved first."""
    if data.quality is None:
        return []
    better = 1 if data.quality.measure == "logloss" else -1
    compared = [
        (cell.difference.value * better, cell)
        for cell in data.quality.cells
        if cell.scenario
        and cell.task
        and cell.verdict not in ("insufficient", "none")
        and cell.difference.value is not None
    ]
    return [cell for _, cell in sorted(compared, key=lambda pair: pair[0])]


def drift(flow: Flow) -> float | None:
    """Return how far a flow's keep rate moved from the champion's; None without a champion."""
    if flow.champion_keep_rate is None:
        return None
    return abs(flow.keep_rate - flow.champion_keep_rate)


def mask_words(mask: CellMask) -> str:
    """Return what changed in a cell's mask, in a few words."""
    flips = sum(flow.flip for flow in mask.flows)
    if flips:
        return f"{flips} flip{'s' if flips > 1 else ''}"
    moved = [found for flow in mask.flows if (found := drift(flow)) is not None]
    if not moved:
        return f"keeps {sum(flow.keep_rate >= 0.5 for flow in mask.flows)} of {len(mask.flows)}"
    largest = max(moved)
    return f"moved by {share(largest)}" if largest >= 0.005 else "same flows"


def stage(quality: Quality, tasks: Sequence[str]) -> str:
    """Return whether the numbers are of the day that the model was made for."""
    if not quality.settled:
        return f"provisionally; {short_day(quality.next_day)} follows" if quality.next_day else ""
    whole = len(quality.settled) == len(tasks)
    return f"on {short_day(quality.next_day)}, the day after" + ("" if whole else ", in part")


def drift_summary(findings: Sequence[tuple[str, str]]) -> str:
    """Return how much moved, in a few words."""
    if not findings:
        return "nothing moved beyond its limit"
    stops = sum(severity == "stop" for severity, _ in findings)
    n = len(findings)
    said = f"{n} number{'s' if n > 1 else ''} moved beyond {'their' if n > 1 else 'its'} limit"
    return f"{said}, {stops} of them too far" if stops else said


def data_summary(day: Day, findings: Sequence[Finding] | None) -> str:
    """Return a day's samples and what the audit said, in a few words."""
    said = f"{count(day.rows)} samples, {count(sum(day.quarantined.values()))} rejected"
    if findings is None:
        return said
    n = len(findings)
    return f"{said}, {f'{n} audit finding' + ('s' if n > 1 else '') if n else 'every check passed'}"


def diff_headline(diff: Diff) -> str:
    """Return in which cells the newer version is better or worse, in one sentence."""
    judged = diff.report.quality.cells if diff.report.quality else ()
    cells = [cell for cell in judged if cell.scenario and cell.task and cell.exists]
    better = [place(cell) for cell in cells if cell.verdict == "better"]
    worse = [place(cell) for cell in cells if cell.verdict == "worse"]
    new = f"Version {diff.new.version}"
    if not cells:
        return "There is no sample on which both can be judged."
    if not better and not worse:
        return f"{new} is neither better nor worse in any cell beyond chance."
    parts = [f"better in {listed(better)}"] if better else []
    parts += [f"worse in {listed(worse)}"] if worse else []
    return f"{new} is {' and '.join(parts)}."


def mask_summary(masks: Masks, names: Mapping[str, str]) -> str:
    """Return what the masks of two models have in common, and whether that means anything."""
    flows = [flow for mask in masks.cells for flow in mask.flows]
    kept = sum(flow.keep_rate >= 0.5 for flow in flows)
    n = len(flows)
    if any(flow.champion_keep_rate is None for flow in flows):
        said = [f"{kept} of {n} flows are kept."]
    elif selects_nothing(masks):
        said = [f"Both keep {'every flow' if kept else 'no flow'}: nothing was selected."]
    else:
        flips = sum(flow.flip for flow in flows)
        what = f"{flips} of {n} flows" if flips else "No flow"
        said = [f"{what} flipped between {names['old']} and {names['new']}, which keeps {kept}."]
        if masks.agreement is not None:
            said.append(_agreement(masks))
    if masks.since_search is not None:
        said.append(f"Since the search before, {share(masks.since_search)} flipped.")
    return " ".join(said)


def selects_nothing(masks: Masks) -> bool:
    """Return whether both models keep every flow, or both keep none."""
    return masks.chance is not None and masks.chance >= 1


def _agreement(masks: Masks) -> str:
    """Return the agreement of two masks beside that of unrelated ones of their size."""
    said = f"They agree on {share(masks.agreement)}"
    if masks.chance_range is None:
        return f"{said}; unrelated masks of their size would on {share(masks.chance)}."
    low, high = masks.chance_range
    more = (masks.agreement or 0.0) > high
    ends = f"{share(low)} to {share(high)}"
    return (
        f"{said}, {'more than' if more else 'no more than'} unrelated masks of their size ({ends})."
    )
