"""The page as text: complete, self-contained, and honest about what is missing."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from validation.report import (
    ReportData,
    render,
    render_diff,
    render_diff_markdown,
    render_index,
    render_markdown,
)
from validation.report.data import Cell, Day, Decision, Masks, Night, Quality
from validation.report.example import (
    example,
    failed_night,
    first_night,
    settled_night,
    two_versions,
)

NIGHTS = {"full": example, "settled": settled_night, "first": first_night, "failed": failed_night}
VOID = {"meta", "link", "col", "br"}


class Outline(HTMLParser):
    """Collects what a page is made of, and complains about tags left open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.addresses: list[str] = []
        self.captions: list[bool] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.ids += [said["id"]] if said.get("id") else []
        self.addresses += [
            said[name] or "" for name in ("href", "src", "xlink:href") if name in said
        ]
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        if tag == "table":
            self.captions.append(False)
        if tag == "caption":
            self.captions[-1] = True
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


@pytest.mark.parametrize("night", NIGHTS.values(), ids=NIGHTS.keys())
def test_every_night_renders_well_formed_with_all_sections(night: object) -> None:
    data: ReportData = night()  # type: ignore[operator]
    page = render(data)
    outline = Outline(page)
    assert outline.open == []
    sections = {"verdict", "data", "cost"} | (
        {"quality", "masks", "drift"} if data.quality else set()
    )
    assert sections <= set(outline.ids)
    assert {a[1:] for a in outline.addresses if a.startswith("#")} <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.headings[:2] == ["h1", "h2"]
    assert all(outline.captions)
    assert len(page.encode()) < 200_000


@pytest.mark.parametrize("night", NIGHTS.values(), ids=NIGHTS.keys())
def test_a_page_asks_for_nothing_from_outside(night: object) -> None:
    page = render(night())  # type: ignore[operator]
    assert "<script" not in page
    assert "url(" not in page
    assert "@import" not in page
    # People may go elsewhere by the links; the page itself fetches nothing.
    elsewhere = [link.address for link in night().links]  # type: ignore[operator]
    assert sorted(a for a in Outline(page).addresses if "//" in a) == sorted(elsewhere)


def test_the_same_night_gives_the_same_bytes() -> None:
    assert render(example()) == render(example())


def test_names_from_data_are_escaped_everywhere() -> None:
    bad = "<img src=x onerror=alert(1)>"
    data = example()
    quality = data.quality
    assert quality is not None
    worse = Cell(scenario=bad, task="click", verdict="worse")
    data = replace(
        data,
        scenarios=(bad, *data.scenarios),
        decision=Decision(outcome="rejected", reasons=(bad, bad), version=bad, champion=bad),
        quality=replace(quality, cells=(worse, *quality.cells)),
        data=replace(data.data, days=(Day(ds="2026-01-14", rows=1, quarantined={bad: 1}),)),
        provenance=((bad, bad),),
    )
    page = render(data)
    assert "<img" not in page
    assert "&lt;img" in page


def test_the_verdict_says_outcome_versions_and_reason() -> None:
    page = render(example())
    assert "Promoted" in page
    assert "Version 8 replaces version 7 as champion." in page
    assert "No cell is worse than the champion by more than 0.01, and 3 cells are better." in page


def test_a_rejection_gives_its_first_objection_as_the_one_reason() -> None:
    said = ("the challenger does not pass the gate", "live × click: logloss is worse by 0.02", "b")
    data = replace(example(), decision=Decision(outcome="rejected", reasons=said, version="8"))
    page = render(data)
    assert '<p class="reason">live × click: logloss is worse by 0.02.</p>' in page
    assert "does not pass the gate" not in page
    assert "live × click: logloss is worse by 0.02." in render_markdown(data)


def test_a_task_judged_on_an_earlier_day_says_so() -> None:
    page = render(example())
    assert "judged on 11 Jan, the last day whose labels are complete" in page
    assert "judged on 14 Jan</span>" in page


def test_a_cell_that_does_not_exist_and_one_with_too_little_data_are_told_apart() -> None:
    page = render(example())
    assert "this scenario has no like" in page
    assert "too little data" in page


def test_without_a_champion_cells_are_drawn_by_auc_and_no_difference_is_claimed() -> None:
    page = render(first_night())
    assert "There was no champion to compare with." in page
    assert "minus champion" not in page
    assert "minus the champion" not in page
    assert "flipped" not in page


def test_a_model_without_masks_says_so() -> None:
    page = render(replace(example(), masks=Masks()))
    assert "This model has no masks" in page


def test_a_night_that_was_not_judged_leads_to_what_stopped_it_in_one_look() -> None:
    page = render(failed_night())
    assert page.count("No model was judged this night") == 1
    assert "#masks" not in page
    assert "No published day was found for this night." in page
    assert "No step of this night left its time." in page
    assert "80% fewer than the median" in page


def test_no_audit_and_a_clean_audit_are_told_apart() -> None:
    data = example()
    unknown = render(replace(data, data=replace(data.data, findings=None)))
    clean = render(replace(data, data=replace(data.data, findings=())))
    assert "No audit was recorded" in unknown
    assert "Every check passed." in clean


def test_a_product_with_one_cell_and_one_day_renders() -> None:
    data = replace(
        example(),
        scenarios=("feed",),
        tasks=("click",),
        quality=Quality(cells=(Cell(scenario="feed", task="click"),)),
        masks=Masks(),
        data=replace(example().data, days=(Day(ds="2026-01-14"),)),
    )
    assert "not measured this night" in render(data)


def test_the_message_holds_verdict_best_worst_and_link() -> None:
    message = render_markdown(example())
    assert message.startswith("**▲ bazaar 2026-01-14: promoted.**")
    assert "best: like in live, log loss −0.0058" in message
    assert "worst: purchase in live, log loss +0.0079" in message
    assert "3 flips" in message
    assert message.rstrip().endswith("https://reports.example.org/bazaar/2026-01-14.html")
    assert len(message.splitlines()) <= 8


def test_the_message_tells_what_moved_most_and_counts_the_rest() -> None:
    data = example()
    assert data.drift is not None
    many = tuple(("warn", f"price in feed: part {n}") for n in range(5))
    message = render_markdown(replace(data, drift=replace(data.drift, findings=many)))
    assert "- moved: price in feed: part 2\n- and 2 more\n" in message
    assert "- moved: c_category in live: 'sports'" in render_markdown(data)


def test_masks_that_keep_everything_are_said_to_select_nothing() -> None:
    data = example()
    assert data.masks is not None
    page = render(replace(data, masks=replace(data.masks, agreement=1.0, chance=1.0)))
    assert "Both keep every flow: nothing was selected." in page
    assert "more than unrelated masks of their size (41.0% to 68.0%)" in render(data)


def test_agreement_within_what_chance_gives_is_no_agreement() -> None:
    data = example()
    assert data.masks is not None
    page = render(replace(data, masks=replace(data.masks, agreement=0.6)))
    assert "They agree on 60.0%, no more than unrelated masks of their size" in page


def test_the_mean_over_tasks_names_no_samples_for_each_is_counted_once_a_task() -> None:
    night = example()
    assert night.quality is not None
    whole = next(cell for cell in night.quality.cells if not cell.scenario and not cell.task)
    assert whole.n is not None
    assert f">{whole.n:,}<" not in render(night)


def test_slices_are_drawn_on_a_scale_with_numbers() -> None:
    page = render(example())
    head = page.partition('<table class="plain slices"')[2].partition("</thead>")[0]
    assert 'aria-label="scale from ' in head
    assert "<h3>Slices</h3>" not in render(first_night())


def test_the_index_draws_the_trends_and_says_which_nights_are_provisional() -> None:
    nights = [
        Night(ds="2026-01-13", file="a.html", outcome="promoted", moved=0, settled=True),
        Night(ds="2026-01-14", file="b.html", outcome="rejected", moved=2, settled=False),
    ]
    page = render_index("bazaar", nights, example())
    assert Outline(page).open == []
    assert "log loss of click over 14 nights" in page
    assert "the champion changed on 3 Jan, 9 Jan and 14 Jan" in page
    assert page.index("provisionally") < page.index("next day")


def test_the_message_of_a_night_without_a_model_is_short() -> None:
    message = render_markdown(failed_night())
    assert "failed" in message
    assert "best" not in message


def test_the_index_lists_the_newest_night_first() -> None:
    nights = [
        Night(ds="2026-01-13", file="2026-01-13.html", outcome="rejected", version="8"),
        Night(ds="2026-01-14", file="2026-01-14.html", outcome="promoted", version="9"),
    ]
    page = render_index("bazaar", nights)
    assert page.index("2026-01-14.html") < page.index("2026-01-13.html")
    assert Outline(page).open == []


def test_an_index_without_nights_says_so() -> None:
    assert "No night has a report yet." in render_index("bazaar", [])


def test_report_data_is_frozen() -> None:
    data: ReportData = example()
    with pytest.raises(AttributeError):
        data.product = "other"  # type: ignore[misc]


def test_the_page_of_two_versions_is_whole_and_calls_them_by_their_numbers() -> None:
    page = render_diff(two_versions())
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert {"verdict", "quality", "masks", "drift", "made"} <= set(outline.ids)
    assert "challenger" not in page.partition("<main>")[2].replace("<td>challenger</td>", "")
    assert "Version 8 is better in click in feed, click in search and like in live." in page
    assert "training.network.rank" in page


def test_the_message_of_two_versions_names_verdicts_and_what_differs() -> None:
    message = render_diff_markdown(two_versions())
    assert message.startswith("**bazaar: version 7 → version 8.** Version 8 is better in")
    assert "- training.network.rank: – → 8" in message
    assert "- model:" not in message, "what is the same is left out"
    assert message.endswith("Page: https://reports.example.org/bazaar/diff-7-8.html\n")


def test_versions_that_differ_in_nothing_say_so() -> None:
    both = two_versions()
    quality = both.report.quality
    assert quality is not None
    alike = tuple(replace(cell, verdict="within") for cell in quality.cells)
    report = replace(both.report, quality=replace(quality, cells=alike))
    page = render_diff(replace(both, report=report, spec=(), made=()))
    assert "neither better nor worse in any cell beyond chance" in page
    assert "The specs are the same." in page
