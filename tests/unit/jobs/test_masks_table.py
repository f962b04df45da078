"""What ``masks explain`` says to a person."""

from features.spec import FLOWS
from jobs.console import markdown_table
from jobs.masks.agreement import Agreement
from jobs.masks.importance import Worth
from jobs.masks.rivals import Rival
from jobs.masks.table import Explained, explained
from validation.intervals import UNKNOWN, Estimate


def worth(flow: str, strength: float, loss: Estimate) -> Worth:
    return Worth(
        scenario="feed",
        task="click",
        flow=flow,
        kept=float(strength > 0),
        strength=strength,
        share=strength / 2,
        loss=loss,
    )


def rival(name: str, low: float, high: float) -> Rival:
    return Rival(
        name=name,
        kept=0.5,
        strength=0.2,
        auc=0.7,
        logloss=0.45,
        difference=Estimate(value=(low + high) / 2, low=low, high=high),
        beaten=2,
        seeds=3,
    )


def test_the_verdicts_come_first_and_every_flow_of_a_cell_is_marked():
    losses = [
        Estimate(value=0.002, low=0.001, high=0.003),
        Estimate(value=-0.002, low=-0.003, high=-0.001),
        UNKNOWN,
        UNKNOWN,
    ]
    said = explained(
        Explained(
            product="shop",
            version="7",
            searched_on="2026-01-06",
            judged={"click": "2026-01-09"},
            flows=[
                worth(flow, strength, loss)
                for flow, strength, loss in zip(FLOWS, (0.5, 0.25, 1.0, 0.0), losses, strict=True)
            ],
            agreements=[
                Agreement(what="version 3", agreement=0.8, chance=0.5, low=0.4, high=0.6),
                Agreement(what="searches", agreement=0.55, chance=0.5, low=0.4, high=0.6),
            ],
            rivals=[
                rival("none pruned", 0.001, 0.003),
                rival("random, as many", -0.003, -0.001),
                rival("all equally strong", -0.001, 0.001),
            ],
        )
    )
    lines = said.splitlines()
    assert lines[2:9] == [
        "- 3 of 4 flows are kept, searched 2026-01-06; judged on click of 2026-01-09",
        "- flows that surely harm on these days: feed × click specific_specific",
        "- none pruned: worse, log loss +0.0020 (+0.0010 … +0.0030) to this version's masks",
        "- random, as many: better, log loss -0.0020 (-0.0030 … -0.0010) to this version's masks",
        "- all equally strong: not surely different, log loss +0.0000 (-0.0010 … +0.0010) "
        "to this version's masks",
        "- version 3: 80% of the flows agree, of unrelated masks 40% … 60%: more than chance",
        "- searches: 55% of the flows agree, of unrelated masks 40% … 60%: no more than chance",
    ]
    marks = next(line for line in lines if line.startswith("| feed × click |"))
    assert [one.strip() for one in marks.split("|")[2:6]] == ["0.50 +", "0.25 !", "1.00", "–"]
    heaviest = [line for line in lines if line.startswith("| feed × click | ")][1:]
    assert [line.split("|")[2].strip() for line in heaviest] == [FLOWS[2], FLOWS[0], FLOWS[1]]


def test_columns_line_up():
    lines = markdown_table(("a", "long head"), [("wide cell", "b")]).splitlines()
    assert lines == [
        "| a         | long head |",
        "| --------- | --------- |",
        "| wide cell | b         |",
    ]
