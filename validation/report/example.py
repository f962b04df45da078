"""A made-up night that shows every state of the page: to look at while changing it, and to test."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from features.spec import FLOWS
from validation.intervals import Estimate
from validation.reliability import Bin, wilson
from validation.report.data import (
    Cell,
    CellMask,
    CellVerdict,
    Change,
    Curve,
    Data,
    Day,
    Decision,
    Diff,
    Drift,
    Finding,
    Flow,
    Link,
    Look,
    Masks,
    Moved,
    NextDay,
    Numbers,
    Point,
    Quality,
    ReportData,
    Scores,
    Side,
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
        drift=_drift(),
        data=_data(),
        model="autoifs",
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
        links=(
            Link(name="Airflow run", address="http://127.0.0.1:8080/dags/bazaar_training"),
            Link(name="MLflow run", address="http://127.0.0.1:5000/#/runs/1f2e"),
        ),
    )


def two_versions() -> Diff:
    """Return the same two models as the page that compares versions shows them."""
    full = example()
    quality = replace(full.quality or Quality(), next_day="", trends={})
    said = {"model": ("autoifs", "autoifs"), "trained on": ("1 Jan to 11 Jan", "1 Jan to 12 Jan")}
    return Diff(
        old=Side(version="7", ds="2026-01-13", created="2026-01-14 00:21", aliases=("champion",)),
        new=Side(version="8", ds="2026-01-14", created="2026-01-15 00:20", aliases=("challenger",)),
        report=ReportData(
            product=full.product,
            ds=full.ds,
            scenarios=full.scenarios,
            tasks=full.tasks,
            decision=Decision(outcome="undecided", version="8"),
            written=full.written,
            quality=quality,
            masks=full.masks,
            drift=full.drift,
            link="https://reports.example.org/bazaar/diff-7-8.html",
        ),
        made=tuple(Change(name=name, old=old, new=new) for name, (old, new) in said.items()),
        spec=(Change(name="training.network.rank", old="", new="8"),),
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
            verdict="insufficient" if cell.verdict == "insufficient" else "none",
        )
        for cell in quality.cells
    )
    first_curves = tuple(replace(curve, champion=()) for curve in quality.curves)
    inputs = tuple(one for one in (full.drift or Drift()).rows if one.kind == "input")
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
        quality=replace(quality, cells=alone, curves=first_curves, numbers=()),
        masks=Masks(cells=bare),
        drift=replace(full.drift or Drift(), rows=inputs),
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


def settled_night() -> ReportData:
    """Return the night as its page is once the next day's clicks and likes are known."""
    full = example()
    quality = full.quality or Quality()
    later = tuple(
        replace(cell, next_day=_next_day(cell, place))
        if cell.exists and cell.task in ("click", "like")
        else cell
        for place, cell in enumerate(quality.cells)
    )
    decision = replace(
        full.decision,
        since=("Version 8 was rolled back to version 7 on 16 Jan 2026 at 08:12 UTC by ada@desk",),
    )
    settled = replace(quality, cells=later, settled=("click", "like"))
    return replace(full, quality=settled, decision=decision)


def _next_day(cell: Cell, place: int) -> NextDay:
    off = (cell.difference.value or 0.0) * 0.6 + 0.0006 * math.sin(place)
    half = ((cell.difference.high or 0.0) - (cell.difference.low or 0.0)) / 2
    return NextDay(
        auc=cell.challenger.auc,
        logloss=cell.challenger.logloss,
        difference=Estimate(value=off, low=off - half, high=off + half),
        verdict="insufficient" if cell.verdict == "insufficient" else "within",
        n=cell.n,
    )


def _quality() -> Quality:
    cells = [_cell(place, *row) for place, row in enumerate(_CELLS)]
    return Quality(
        cells=(*cells, Cell(scenario="deals", task="like", exists=False)),
        measure="logloss",
        tolerance=0.01,
        judged={"click": "2026-01-14", "like": "2026-01-14", "purchase": "2026-01-11"},
        next_day="2026-01-15",
        settles="2026-01-18",
        curves=tuple(_curve(place, cell) for place, cell in enumerate(cells) if cell.task),
        trends={task: _trend(place, task) for place, task in enumerate(TASKS)},
        numbers=tuple(_numbers(cell, "") for cell in cells) + tuple(_slices()),
    )


def _curve(place: int, cell: Cell) -> Curve:
    n, rate = cell.n or 1, (cell.positives or 0) / (cell.n or 1)
    parts = min(max((cell.positives or 0) // 50, 1), 12)
    size = n // parts
    bins, before = [], []
    for part in range(parts):
        predicted = rate * (0.35 + 1.7 * (part + 0.5) / parts)
        observed = max(predicted * (1 + 0.12 * math.sin(3 * part + place)), 0.0)
        low, high = wilson(observed, size, 0.95)
        bins.append(Bin(predicted=predicted, observed=observed, low=low, high=high, n=size))
        before.append(replace(bins[-1], observed=observed * 0.93))
    off = 0.4 / math.sqrt(max(cell.positives or 0, 1))
    pcoc = cell.challenger.pcoc or 1.0
    return Curve(
        scenario=cell.scenario,
        task=cell.task,
        bins=tuple(bins),
        champion=tuple(before),
        pcoc=Estimate(value=pcoc, low=pcoc - off, high=pcoc + off),
    )


def _trend(place: int, task: str) -> tuple[Point, ...]:
    loss = next(row[5] for row in _CELLS if (row[0], row[1]) == ("", task))
    found = []
    for back in range(13, -1, -1):
        value = loss * (1 + 0.006 * math.sin(back + place) + 0.0012 * back)
        half = loss * 0.011
        found.append(
            Point(
                ds=(NIGHT - timedelta(days=back)).isoformat(),
                value=Estimate(value=value, low=value - half, high=value + half),
                final=back > (2 if task == "purchase" else 0),
                crowned=back in (0, 5, 11),
            )
        )
    return tuple(found)


def _numbers(cell: Cell, slice_: str) -> Numbers:
    auc, loss, pcoc = cell.challenger.auc, cell.challenger.logloss, cell.challenger.pcoc or 1.0
    few = cell.verdict == "insufficient"

    def around(value: float, half: float) -> Estimate:
        return (
            Estimate(value=value)
            if few
            else Estimate(value=value, low=value - half, high=value + half)
        )

    own = {
        "auc": auc,
        "gauc": around((auc.value or 0.5) - 0.06, 0.011),
        "gauc_dropped": Estimate(value=0.41),
        "logloss": loss,
        "ne": around(cell.challenger.ne or 1.0, 0.01),
        "pcoc": around(pcoc, 0.02),
        "ece": around(0.006, 0.003),
        "ece_by_chance": Estimate(value=0.004),
        "n": Estimate(value=cell.n),
        "positives": Estimate(value=cell.positives),
    }
    raw = {**own, "pcoc": around(pcoc * 0.94, 0.02), "ece": around(0.011, 0.003)}
    return Numbers(
        scenario=cell.scenario,
        task=cell.task,
        slice=slice_,
        n=cell.n or 0,
        positives=cell.positives or 0,
        note=f"insufficient: {cell.positives} positives of 30" if few else "",
        models={
            "challenger": own,
            "uncalibrated": raw,
            "champion": {"auc": cell.champion.auc, "logloss": cell.champion.logloss},
        },
        changes={"logloss": cell.difference},
    )


def _slices() -> list[Numbers]:
    rows = [_cell(place, *row) for place, row in enumerate(_CELLS)]
    pooled = [cell for cell in rows if cell.task and not cell.scenario]
    return [
        _numbers(
            replace(cell, n=(cell.n or 0) // share, positives=(cell.positives or 0) // share), name
        )
        for name, share in (("new_users", 9), ("evening", 3))
        for cell in pooled
    ]


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
    return Masks(
        cells=tuple(cells),
        agreement=41 / 44,
        chance=0.56,
        chance_range=(0.41, 0.68),
        since_search=3 / 44,
        searched_on=NIGHT.isoformat(),
        samples=8192,
    )


def _drift() -> Drift:
    rows = [
        Moved(
            kind="input",
            measure="psi",
            scenario=scenario,
            subject=name,
            value=0.02
            + 0.03 * abs(math.sin(3 * place + at))
            + (0.33 if (at, place) == (2, 1) else 0),
            moved=0.02
            + 0.03 * abs(math.sin(3 * place + at))
            + (0.33 if (at, place) == (2, 1) else 0),
            limit=0.1 + 0.02 * at,
            severity="warn" if (at, place) == (2, 1) else "",
            text=f"{name} in {scenario}: token 7 8.0% before, 9.1% now",
        )
        for at, scenario in enumerate(SCENARIOS)
        for place, name in enumerate(("c_device", "c_category", "n_price", "n_rate_click_item_7"))
    ]
    rows += [
        Moved(
            kind="input",
            measure="volume",
            scenario=scenario,
            value=1000 * (1 + 0.1 * at),
            usual=1000,
            moved=0.1 * at,
            limit=0.3,
            text=f"{scenario} has {1000 + 100 * at} samples, before 1,000 a day",
        )
        for at, scenario in enumerate(SCENARIOS)
    ]
    for at, (scenario, task) in enumerate(_KEPT):
        off = 0.05 * math.sin(2 * at)
        rows += [
            Moved(
                kind="prediction",
                measure="prediction-mean",
                scenario=scenario,
                task=task,
                value=0.1 * (1 + off),
                usual=0.1,
                moved=abs(off),
                change=Estimate(value=off, low=off - 0.01, high=off + 0.01),
                limit=0.1,
                text=f"{task} in {scenario} is predicted 10% on average",
            ),
            Moved(
                kind="prediction",
                measure="logit-shift",
                scenario=scenario,
                task=task,
                value=0.11,
                moved=0.11,
                text=f"a prediction of {task} in {scenario} is 0.11 off",
            ),
        ]
    told = "c_category in live: 'sports' 8.0% before, 21.3% now (stability index 0.36, limit 0.14)"
    return Drift(rows=tuple(rows), findings=(("warn", told),), probe="2026-01-02", probe_rows=6200)


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
