"""Conditions on rows: what they hold for, what null does to them, and what is refused."""

import json

import pyarrow as pa
import pytest

from features.conditions import ConditionError, parse
from features.errors import SpecError
from features.spec import load_spec
from features.spec.load import find_spec, parse_spec, spec_hash

ROWS = pa.table(
    {
        "n": pa.array([0, 1, 2, None, 5], pa.float32()),
        "c": pa.array([3, 3, 7, 7, 0], pa.int32()),
        "place": ["feed", "live", "it's", "feed", None],
        "new": [True, False, None, True, False],
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("n = 0", [0]),
        ("n != 0", [1, 2, 4]),
        ("n <> 0", [1, 2, 4]),
        ("n < 2", [0, 1]),
        ("n <= 2", [0, 1, 2]),
        ("n > 1.5", [2, 4]),
        ("n >= 2e0", [2, 4]),
        ("n > -1", [0, 1, 2, 4]),
        ("c in (3, 0)", [0, 1, 4]),
        ("c not in (3, 0)", [2, 3]),
        ("place = 'it''s'", [2]),
        ("new = true", [0, 3]),
        ("n is null", [3]),
        ("n IS NOT NULL", [0, 1, 2, 4]),
        ("not n < 2", [2, 4]),
        ("c = 3 or c = 7 and n = 2", [0, 1, 2]),
        ("(c = 3 or c = 7) and n = 2", [2]),
        ("n = 0 or n is null", [0, 3]),
        ("not (n = 0 or c = 7)", [1, 4]),
        ("n = 0 AND c = 3", [0]),
    ],
)
def test_a_condition_holds_for_the_rows_that_sql_would_give(text, rows):
    assert [place for place, held in enumerate(parse(text).holds(ROWS)) if held] == rows


def test_a_number_that_is_none_is_null():
    rows = pa.table({"n": [float("nan"), 1.0]})
    assert parse("n is null").holds(rows).tolist() == [True, False]
    assert parse("n is not null").holds(rows).tolist() == [False, True]


def test_a_condition_names_its_columns_once():
    assert parse("b = 1 and (a = 2 or b = 3)").columns == ("b", "a")


def test_a_condition_holds_for_no_row_of_an_empty_table():
    assert parse("n = 0").holds(ROWS.slice(0, 0)).tolist() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a column's name, found the end"),
        ("n", "expected a comparison such as = or in (…) after 'n', found the end"),
        ("n = ", "expected a number, a text in '…', true or false, found the end"),
        ("n = c", "expected a number, a text in '…', true or false, found c"),
        ("n = 1 c = 2", "expected 'and', 'or' or the end, found c"),
        ("(n = 1", "expected ')', found the end"),
        ("n in 1", "expected '(', found 1"),
        ("n is 1", "expected 'null', found 1"),
        ("0 = n", "expected a column's name, found 0"),
        ("n = 1; drop", "can't read '; drop'"),
        ("__import__('os')", "expected a comparison"),
        ("place = 'feed", "can't read \"'feed\""),
    ],
)
def test_what_is_no_condition_is_refused_with_what_was_expected(text, said):
    with pytest.raises(ConditionError) as refused:
        parse(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("age > 3", "there is no column 'age'; known: n, c, place, new"),
        ("n = 'one'", "column 'n' holds float and can't be compared with 'one'"),
        ("place = 1", "column 'place' holds string and can't be compared with 1"),
        ("n = true", "column 'n' holds float and can't be compared with True"),
    ],
)
def test_what_a_table_can_not_answer_is_refused_with_the_columns_name(text, said):
    with pytest.raises(ConditionError) as refused:
        parse(text).holds(ROWS)
    assert said in str(refused.value)


BAZAAR = find_spec("bazaar").read_text(encoding="utf-8")


def test_a_spec_declares_slices_over_the_columns_it_encodes():
    asked = {
        "new_users": "n_count_user_id_all = 0",
        "evening": "hour >= 18 and weekday <= 5",
        "feed_top": "scenario = 'feed' and n_position <= 2",
    }
    said = BAZAAR + f"evaluation: {{slices: {json.dumps(asked)}}}\n"
    assert parse_spec(said, "it.yaml").evaluation.slices == asked


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (
            "n_count_user = 0",
            "evaluation.slices.new: there is no column 'n_count_user'; known: sce",
        ),
        ("m_items_tags = 3", "evaluation.slices.new: there is no column 'm_items_tags'"),
        ("c_place = 7", "evaluation.slices.new: column 'c_place' holds string and can't be"),
        ("n_position < ", "evaluation.slices: new: expected a number"),
    ],
)
def test_a_spec_with_a_broken_slice_is_refused_with_its_name_and_the_column(condition, said):
    with pytest.raises(SpecError) as refused:
        parse_spec(f"{BAZAAR}evaluation: {{slices: {{new: '{condition}'}}}}\n", "it.yaml")
    assert str(refused.value).startswith(f"it.yaml: {said}")


def test_slices_leave_the_models_of_a_product_alone():
    sliced = parse_spec(BAZAAR + "evaluation: {slices: {top: n_position = 0}}\n", "it.yaml")
    sections = ("scenarios", "tasks", "features", "training")
    assert spec_hash(sliced, *sections) == spec_hash(load_spec("bazaar"), *sections)
