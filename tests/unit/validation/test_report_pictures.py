"""What the report's pictures show, read from their shapes."""

import re
from dataclasses import replace

import pytest

from validation.intervals import Estimate
from validation.report import svg, views
from validation.report.data import Cell, CellMask, Flow, Point, Quality, Step
from validation.report.example import example
from validation.report.svg import Axis


def test_text_from_outside_can_not_leave_its_attribute() -> None:
    drawn = svg.picture('feed"><script>alert(1)</script>', class_="strip")
    assert "<script>" not in drawn
    assert "&lt;script&gt;" in drawn


def test_a_difference_is_drawn_where_it_lies_on_the_scale() -> None:
    drawn = svg.forest(
        Axis(low=-0.02, high=0.02),
        Estimate(value=0.01, low=0.0, high=0.02),
        "unsure",
        None,
        "click in feed",
    )
    assert 'cx="75%"' in drawn
    assert 'x1="50%" x2="100%"' in drawn
    assert 'aria-label="click in feed"' in drawn


def test_an_interval_that_leaves_the_scale_ends_in_an_arrow() -> None:
    axis = Axis(low=-0.01, high=0.01)
    inside = svg.forest(axis, Estimate(value=0.0, low=-0.005, high=0.005), "within", None, "")
    outside = svg.forest(axis, Estimate(value=0.0, low=-0.05, high=0.005), "within", None, "")
    assert "arrow" not in inside
    assert outside.count("arrow") == 1


def test_an_estimate_without_an_interval_is_a_point_alone() -> None:
    drawn = svg.forest(Axis(low=-1, high=1), Estimate(value=0.0), "within", None, "")
    assert "whisker" not in drawn
    assert "dot" in drawn


def test_the_tolerated_side_depends_on_the_direction_of_the_measure() -> None:
    losses = views.difference_axis(Quality(measure="logloss", tolerance=0.01))
    areas = views.difference_axis(Quality(measure="auc", tolerance=0.01))
    assert losses.band == (0.0, 0.01)
    assert areas.band == (-0.01, 0.0)


def test_one_noisy_cell_does_not_flatten_all_the_others() -> None:
    def cell(half: float) -> Cell:
        difference = Estimate(value=0.0, low=-half, high=half)
        return Cell(scenario="feed", task="click", verdict="within", difference=difference)

    quality = Quality(tolerance=0.001, cells=tuple(cell(half) for half in (0.01, 0.01, 0.01, 0.9)))
    assert views.difference_axis(quality).high == pytest.approx(0.0324)


def test_a_day_without_a_value_is_a_dot_and_no_bar() -> None:
    drawn = svg.bars([10, None, 5], "samples")
    assert drawn.count("<rect") == 2
    assert drawn.count("gap") == 1
    assert 'height="100%"' in drawn
    assert 'height="50%" class="bar now"' in drawn


def test_a_line_breaks_where_a_day_has_no_value() -> None:
    whole = svg.line([0.1, 0.1, 0.1, 0.1], "rate")
    broken = svg.line([0.1, None, 0.1, 0.1], "rate")
    assert whole.count('class="trend"') == 3
    assert broken.count('class="trend"') == 1


def test_nothing_known_draws_nothing() -> None:
    assert svg.line([None, None], "rate").count("<circle") == 0
    assert svg.bars([], "samples").count("<rect") == 0


def test_the_first_and_the_last_night_of_a_trend_stand_above_their_dates() -> None:
    points = [
        Point(ds=f"2026-01-{day}", value=Estimate(value=0.5), final=day != 14, crowned=day == 12)
        for day in (12, 13, 14)
    ]
    drawn = svg.trend(Axis(low=0.0, high=1.0), points, "log loss")
    assert 'd="M3 50h0M50 50h0M97 50h0" class="night"' in drawn
    assert 'd="M97 50h0" class="hollow"' in drawn
    assert 'd="M3 100h0" class="crowned"' in drawn


def _flow(name: str, keep: float, before: float | None = None, flip: bool = False) -> Flow:
    return Flow(
        name=name,
        keep_rate=keep,
        strength=keep,
        champion_keep_rate=before,
        champion_strength=before,
        flip=flip,
    )


def test_a_mask_shows_kept_flows_as_squares_by_their_share_and_pruned_ones_as_crosses() -> None:
    kept = {"shared_shared": 1.0, "specific_specific": 0.25, "shared_specific": 0.0}
    flows = tuple(_flow(name, keep) for name, keep in kept.items())
    mask = CellMask(scenario="feed", task="click", flows=flows)
    drawn = svg.mask(mask, 1.0, "click in feed")
    sides = [
        float(side) for side in re.findall(r'width="([\d.]+)" height="[\d.]+" class="kept"', drawn)
    ]
    assert sides == [18.0, 9.0]
    assert drawn.count("pruned") == 1


def test_a_flipped_flow_is_framed_in_the_challenger_only() -> None:
    mask = CellMask(
        scenario="feed",
        task="click",
        flows=(_flow("shared_shared", 1.0, 1.0), _flow("specific_shared", 1.0, 0.0, True)),
    )
    drawn = svg.mask(mask, 1.0, "")
    assert drawn.count("tile flip") == 1
    assert drawn.count('class="tile"') == 3


def test_steps_hours_apart_are_drawn_one_after_the_other() -> None:
    steps = example().steps
    told = views.cost(steps)
    assert told is not None
    assert told["together"]
    late = replace(steps[-1], started=steps[-1].started.replace(hour=9))  # type: ignore[union-attr]
    apart = views.cost((*steps[:-1], late))
    assert apart is not None
    assert not apart["together"]
    assert apart["length"] == pytest.approx(sum(step.seconds for step in steps))


def test_a_step_without_a_start_still_has_its_bar() -> None:
    told = views.cost((Step(name="train", seconds=3.0),))
    assert told is not None
    assert 'width="100%"' in told["rows"][0]["plot"]
