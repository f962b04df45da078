"""A made-up night that shows every state of the page: to look at while changing it, and to test."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from features.spec import FLOWS
from validation.intervals import Estimate
from validation.report.data import (
    Cell,
    CellMask,
    CellVerdict,
    Data,
    Day,
    Decision,
    Finding,
    Flow,
    Look,
    Masks,
    Quality,
    ReportData,
    Scores,
    Step,
    Use,
)

SCENARIOS = ("feed", "search", "live", "deals")
TASKS = ("click", "like", "purchase")
NIGHT = date(2026, 1, 14)

# scenario, task, n, positives, AUC, log loss, difference, its half width, verdict
_CELLS: tuple[tuple[str, str, int, int, float, float, float, float, CellVerdict], ...] = (
    ("", "", 62089, 4633, 0.7259, 0.2242, -0.0012, 0.0007, "better"),
    ("", "click", 21204, 3011, 0.7312, 0.3641, -0.0029, 0.0012, "better"),
    ("feed", "click", 11983, 1580, 0.7205, 0.3502, -0.0035, 0.0016, "better"),
    ("search", "click", 5320, 1027, 0.7468, 0.4310, -0.0031, 0.0029, "better"),
    ("live", "click", 2711, 311, 0.7120, 0.3188, -0.0004, 0.0036, "within"),
    ("deals", "click", 1190, 93, 0.6841, 0.2604, 0.0024, 0.0061, "within"),
    ("", "like", 20014, 1204, 0.6932, 0.2151, 0.0003, 0.0011, "within"),
    ("feed", "like", 11983, 702, 0.6988, 0.2103, -0.0002, 0.0013, "within"),
    ("search", "like", 5320, 288, 0.6790, 0.1987, 0.0011, 0.0024, "within"),
    ("live", "like", 2711, 214, 0.7011, 0.2590, -0.0058, 0.0042, "better"),
    ("", "purchase", 20871, 418, 0.7533, 0.0934, -0.0010, 0.0014, "within"),
    ("feed", "purchase", 11790, 201, 0.7490, 0.0811, -0.0006, 0.0015, "within"),
    ("search", "purchase", 5241, 152, 0.7602, 0.1210, -0.0027, 0.0033, "within"),
    ("live", "purchase", 2660, 46, 0.7209, 0.0838, 0.0079, 0.0094, "unsure"),
    ("deals", "purchase", 1180, 19, 0.7011, 0.0790, 0.0041, 0.0260, "insufficient"),
)
_KEPT = {
    ("feed", "click"): (0.9, 0.0, 0.4, 0.0),
    ("search", "click"): (0.8, 0.5, 0.0, 0.3),
    ("live", "click"): (0.7, 0.0, 0.2, 0.0),
    ("deals", "click"): (0.6, 0.0, 0.0, 0.0),
    ("feed", "like"): (0.8, 0.3, 0.0, 0.0),
    ("search", "like"): (0.7, 0.0, 0.3, 0.0),
    ("live", "like"): (0.5, 0.9, 0.0, 0.6),
    ("feed", "purchase"): (1.0, 0.0, 0.5, 0.0),
    ("search", "purchase"): (0.9, 0.4, 0.6, 0.0),
    ("live", "purchase"): (0.4, 0.0, 0.0, 0.2),
    ("deals", "purchase"): (0.5, 0.0, 0.0, 0.0),
}
_FLIPPED = {("live", "like"): (1, 3), ("deals", "click"): (2,)}


def example() -> ReportData:
    """Return a night of the bazaar in which a challenger was promoted."""
    return ReportData(
        product="bazaar",
        ds=NIGHT.isoformat(),
        scenarios=SCENARIOS,
        tasks=TASKS,
        decision=Decision(
            outcome="promoted",
            reasons=(
                "No cell is worse than the champion by more than 0.01, and 3 cells are better.",
                "purchase in deals has 19 positives, fewer than the 30 that a comparison needs.",
            ),
            version="8",
            champion="7",
        ),
        written=datetime(2026, 1, 15, 0, 23, 51, tzinfo=UTC),
        quality=_quality(),
        masks=_masks(),
        data=_data(),
        looks=(
            Look(stage="train", step=225, train_loss=0.2710, validation_loss=0.2502),
            Look(stage="train", step=450, train_loss=0.2488, validation_loss=0.2441),
            Look(stage="train", step=675, train_loss=0.2402, validation_loss=0.2449),
        ),
        steps=_steps(),
        provenance=(
            ("Delta version of encoded", "31"),
            ("Delta version of samples", "29"),
            ("vocabulary version", "14"),
            ("spec", "3f2a9c0d51be7704"),
            ("git commit", "8c1d2e77a0b4"),
            ("seed", "1"),
            ("fingerprint", "b7d1f0c29e5a4d13"),
        ),
        link="https://reports.example.org/bazaar/2026-01-14.html",
    )


def first_night() -> ReportData:
    """Return the same night without a champion to compare with."""
    full = example()
    quality = full.quality or Quality()
    masks = full.masks or Masks()
    alone = tuple(
        replace(
            cell,
            champion=Scores(),
            difference=Estimate(),
            history=(),
            verdict="insufficient" if cell.verdict == "insufficient" else "none",
        )
        for cell in quality.cells
    )
    bare = tuple(
        replace(
            mask,
            flows=tuple(
                replace(flow, champion_keep_rate=None, champion_strength=None, flip=False)
                for flow in mask.flows
            ),
        )
        for mask in masks.cells
    )
    return replace(
        full,
        decision=Decision(
            outcome="first champion",
            reasons=("There was no champion to compare with.",),
            version="1",
        ),
        quality=replace(quality, cells=alone),
        masks=Masks(cells=bare),
    )


def failed_night() -> ReportData:
    """Return a night that stopped at its audit: no model, no masks, no cells."""
    full = example()
    stop = Finding(
        ds=full.ds,
        severity="stop",
        check="volume",
        text="4,011 rows, 80% fewer than the median of the last 7 days; tolerated: 50%.",
    )
    return ReportData(
        product=full.product,
        ds=full.ds,
        scenarios=full.scenarios,
        tasks=full.tasks,
        decision=Decision(
            outcome="failed", reasons=("The audit stopped the samples of this day.",), champion="7"
        ),
        written=full.written,
        data=Data(findings=(stop,)),
    )


def _quality() -> Quality:
    cells = [_cell(place, *row) for place, row in enumerate(_CELLS)]
    return Quality(
        cells=(*cells, Cell(scenario="deals", task="like", exists=False)),
        measure="logloss",
        tolerance=0.01,
        judged={"click": "2026-01-14", "like": "2026-01-14", "purchase": "2026-01-11"},
    )


def _cell(
    place: int,
    scenario: str,
    task: str,
    n: int,
    positives: int,
    auc: float,
    loss: float,
    off: float,
    half: float,
    verdict: CellVerdict,
) -> Cell:
    wide = 0.6 / math.sqrt(positives)
    auc_gain, rate = -1.4 * off, positives / n
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    return Cell(
        scenario=scenario,
        task=task,
        verdict=verdict,
        n=n,
        positives=positives,
        challenger=Scores(
            auc=Estimate(value=auc, low=auc - wide, high=auc + wide),
            logloss=Estimate(value=loss, low=loss - wide / 3, high=loss + wide / 3),
            ne=loss / entropy,
            pcoc=1 + 0.03 * math.sin(place),
        ),
        champion=Scores(auc=Estimate(value=auc - auc_gain), logloss=Estimate(value=loss - off)),
        baseline=Scores(
            auc=Estimate(value=auc - 0.006), logloss=Estimate(value=loss - off + 0.0041)
        ),
        difference=Estimate(value=off, low=off - half, high=off + half),
        history=(*(loss * (1 + 0.004 * math.sin(place + at)) for at in range(13)), loss),
    )


def _masks() -> Masks:
    cells = []
    for (scenario, task), strengths in _KEPT.items():
        flips = _FLIPPED.get((scenario, task), ())
        flows = [
            _flow(name, strength, position in flips)
            for position, (name, strength) in enumerate(zip(FLOWS, strengths, strict=True))
        ]
        cells.append(CellMask(scenario=scenario, task=task, flows=tuple(flows)))
    return Masks(cells=tuple(cells), agreement=41 / 44, chance=0.56, samples=8192)


def _flow(name: str, strength: float, flip: bool) -> Flow:
    before = (0.5 - strength if strength < 0.5 else 0.0) if flip else 0.95 * strength
    return Flow(
        name=name,
        keep_rate=float(strength > 0),
        strength=strength,
        champion_keep_rate=float(before > 0),
        champion_strength=before,
        flip=flip,
    )


def _data() -> Data:
    days = tuple(_day(NIGHT - timedelta(days=13 - place), place) for place in range(14))
    return Data(
        days=days,
        findings=(
            Finding(
                ds="2026-01-14",
                severity="warn",
                check="label-rate",
                text="purchase in live: 1.73%, the last 7 days had 1.21% (+43%).",
            ),
        ),
        docs_link="../../docs/bazaar/index.html",
    )


def _day(day: date, place: int) -> Day:
    weekend = 1.25 if day.weekday() >= 5 else 1.0
    rows = {
        "feed": round(11900 * weekend * (1 + 0.04 * math.sin(place))),
        "search": round(5300 * weekend * (1 + 0.03 * math.cos(2 * place))),
        "live": round(2100 * weekend * (1 + 0.02 * place)),
        "deals": round(1210 * (1 + 0.05 * math.sin(3 * place))),
    }
    age = (NIGHT - day).days
    judged = {0: ("click", "like"), 3: ("purchase",)}.get(age, ())
    uses: tuple[Use, ...] = ("judge",) if judged else ("validate",) if age == 1 else ("train",)
    return Day(
        ds=day.isoformat(),
        uses=uses,
        judged=judged,
        rows=sum(rows.values()),
        scenarios=rows,
        labels={
            "click": 0.142 * (1 + 0.03 * math.sin(place)),
            "like": 0.060 * (1 + 0.05 * math.cos(place)),
            "purchase": None if age < 3 else 0.0204 * (1 + 0.02 * place),
        },
        quarantined={
            "negative-position": 21 + place % 5,
            "no-device": 40 + 9 * (place % 3) + (160 if age == 0 else 0),
            "duplicate": 12,
        },
        as_of=min(NIGHT, day + timedelta(days=3)).isoformat(),
        version=16 + place,
    )


def _steps() -> tuple[Step, ...]:
    start = datetime(2026, 1, 15, 0, 10, 2, tzinfo=UTC)
    parts = {"samples": (("spark", 9.4), ("build", 31.0), ("audit", 14.2), ("publish", 6.1))}
    told = (
        ("samples", 0, 44.1, 21417),
        ("samples of 11 Jan", 45, 21.7, 21204),
        ("train", 71, 512.0, 230400),
        ("register", 586, 8.2, None),
        ("evaluate", 597, 49.0, 42075),
        ("gate", 649, 2.1, None),
    )
    return tuple(
        Step(
            name=name,
            seconds=seconds,
            started=start + timedelta(seconds=offset),
            rows=rows,
            parts=parts.get(name, ()),
        )
        for name, offset, seconds, rows in told
    )
