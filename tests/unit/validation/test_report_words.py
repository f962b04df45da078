"""How the report writes numbers and sentences."""

import pytest

from validation.report import words
from validation.report.data import Decision, Outcome
from validation.report.example import example


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (-0.00312, 4, True, "−0.0031"),
        (0.00312, 4, True, "+0.0031"),
        (-0.00001, 4, True, "0.0000"),
        (0.7312, 3, False, "0.731"),
        (None, 3, False, "–"),
        (float("nan"), 3, False, "–"),
    ],
)
def test_a_number_has_its_digits_a_true_minus_and_a_dash_when_unknown(
    value: float | None, digits: int, sign: bool, text: str
) -> None:
    assert words.number(value, digits, sign=sign) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (59.6, "1 min 00 s"), (192, "3 min 12 s"), (3840, "1 h 04 min"), (None, "–")],
)
def test_a_duration_has_two_units_at_most(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, "12.3%"), (0.00234, "0.23%"), (1.0, "100%"), (0.0, "0%")]
)
def test_a_share_is_a_percentage_with_the_digits_it_deserves(value: float, text: str) -> None:
    assert words.share(value) == text


@pytest.mark.parametrize(
    ("outcome", "version", "champion", "text"),
    [
        ("promoted", "8", "7", "Version 8 replaces version 7 as champion."),
        ("first champion", "1", None, "Version 1 is the first champion."),
        ("rejected", "8", "7", "Version 8 was not promoted; version 7 stays champion."),
        ("rejected", "1", None, "Version 1 was not promoted; there is no champion yet."),
        (
            "waiting",
            "8",
            "7",
            "Version 8 passed the gate and waits for a person’s agreement; "
            "version 7 stays champion.",
        ),
        (
            "reported",
            "8",
            "7",
            "Version 8 was judged, and the gate only reports; version 7 stays champion.",
        ),
        ("unchanged", "7", "7", "Version 7 stays champion."),
        ("undecided", None, "7", "No new version tonight; version 7 stays champion."),
        ("undecided", None, None, "No model was trained for this night."),
    ],
)
def test_the_headline_says_what_became_of_the_champion(
    outcome: Outcome, version: str | None, champion: str | None, text: str
) -> None:
    assert words.headline(Decision(outcome=outcome, version=version, champion=champion)) == text


def test_a_sentence_gets_a_capital_and_a_full_stop_but_a_leading_name_keeps_its_case() -> None:
    assert words.sentence("no cell is worse") == "No cell is worse."
    assert words.sentence("feed × click: logloss is worse") == "feed × click: logloss is worse."
    assert words.sentence("Done.") == "Done."


def test_cells_are_ranked_by_improvement_without_sums_and_cells_of_too_little_data() -> None:
    ranked = [(cell.scenario, cell.task) for cell in words.ranked(example())]
    assert ranked[0] == ("live", "like")
    assert ranked[-1] == ("live", "purchase")
    assert ("deals", "purchase") not in ranked
    assert all(scenario and task for scenario, task in ranked)
