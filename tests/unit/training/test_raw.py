"""Raw rows to the arrays of a model, without Spark."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from features.errors import UserError
from features.spec import Column
from training.data import TOKENS
from training.raw import Tokens, dataset, raw_rows

TOKENS_OF = Tokens(
    {
        "c_item": {f"i{n}": n for n in range(1, 7)},
        "c_place": {"top": 1, "side": 2, "17": 3, "end": 4},
        "m_tags": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5},
    }
)


def table(**changed):
    columns = {
        "scenario": ["feed", "live", "nowhere"],
        "c_item": ["i2", "new", None],
        "c_place": ["top", "17", "end"],
        "m_tags": [["c", "a", "c", "zz"], [], None],
        "n_price": [1.5, None, float("inf")],
        "n_age": [3, 4, 5],
        "n_rate": [0.25, 0.5, 0.75],
        **changed,
    }
    return pa.table({name: pa.array(column) for name, column in columns.items()})


def test_tokens_become_indices_and_what_is_unknown_is_0_or_left_out(layout):
    found, known = dataset(table(), layout, TOKENS_OF)
    assert known.tolist() == [True, True, False]
    assert found.scenario.tolist() == [0, 2, 0]
    assert found.categories.tolist() == [[2, 1], [0, 3], [0, 4]]
    assert found.multi[0].tolist() == [[1, 3], [-1, -1], [-1, -1]]
    assert np.array_equal(
        found.numbers, [[1.5, 3, 0.25], [np.nan, 4, 0.5], [np.nan, 5, 0.75]], equal_nan=True
    )
    assert found.numbers.dtype == np.float32


def test_a_sequence_keeps_its_order_and_what_comes_twice(layout):
    ordered = [
        replace(one, ordered=True, borrows="c_item") if one.kind == "multi" else one
        for one in layout.columns
    ]
    rows = table(m_tags=[["i5", "i1", "i5", "zz"], ["i1"] * 99, None])
    found, _ = dataset(rows, replace(layout, columns=tuple(ordered)), TOKENS_OF)
    assert found.multi[0][0, :4].tolist() == [5, 1, 5, -1]
    assert found.multi[0].shape == (3, TOKENS)
    assert (found.multi[0][1] == 1).all()


def test_rows_may_be_mappings_that_leave_features_out(layout):
    rows = [
        {"scenario": "feed", "c_place": 17, "m_tags": ["b"], "n_age": 2},
        {"scenario": "live"},
    ]
    found, known = dataset(rows, layout, TOKENS_OF)
    assert known.all()
    assert found.categories.tolist() == [[0, 3], [0, 0]]
    assert found.multi[0].tolist() == [[2], [-1]]
    assert np.isnan(found.numbers[1]).all() and found.numbers[0, 1] == 2


def test_text_of_several_tokens_is_taken_apart(layout):
    found, _ = dataset(table(m_tags=["a,c", "", None]), layout, TOKENS_OF)
    assert found.multi[0].tolist() == [[1, 3], [-1, -1], [-1, -1]]


@pytest.mark.parametrize("n", [0, 1])
def test_no_row_and_one_row_are_rows_too(layout, n):
    found, known = dataset(table().slice(0, n), layout, TOKENS_OF)
    assert len(found) == len(known) == n
    assert found.categories.shape == (n, 2) and found.numbers.shape == (n, 3)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (table().drop_columns(["c_item", "n_age"]), "have no column 'c_item' and 1 more"),
        (table(n_age=["x", "y", "z"]), "column 'n_age' of the rows to score can't be read"),
        (table(m_tags=[1, 2, 3]), "column 'm_tags' of the rows to score can't be read"),
    ],
)
def test_rows_that_can_not_be_read_are_answered_with_the_column(layout, rows, sentence):
    with pytest.raises(UserError, match=sentence):
        dataset(rows, layout, TOKENS_OF)


def test_encoded_rows_come_back_from_their_raw_form(layout):
    rows = table().slice(0, 2)
    found, _ = dataset(rows, layout, TOKENS_OF)
    again, _ = dataset(raw_rows(found, TOKENS_OF), layout, TOKENS_OF)
    assert np.array_equal(again.categories, found.categories)
    assert np.array_equal(again.multi[0], found.multi[0])
    assert np.array_equal(again.numbers, found.numbers, equal_nan=True)


def test_a_vocabulary_survives_its_file_and_says_when_it_has_a_hole(layout, tmp_path):
    TOKENS_OF.write(tmp_path / "vocabulary.parquet")
    assert Tokens.read(tmp_path / "vocabulary.parquet") == TOKENS_OF
    sizes = {"c_item": 7, "c_place": 5, "m_tags": 6}
    assert TOKENS_OF.fill(layout, sizes)
    assert not TOKENS_OF.fill(layout, {**sizes, "m_tags": 9})


def test_a_column_that_borrows_needs_no_vocabulary_of_its_own(layout):
    history = Column(name="m_last", kind="multi", source="last", borrows="c_item", ordered=True)
    wider = replace(layout, columns=(*layout.columns, history))
    rows = table(m_last=[["i1"], ["i2", "i1"], None])
    found, _ = dataset(rows, wider, TOKENS_OF)
    assert found.multi[1].tolist() == [[1, -1], [2, 1], [-1, -1]]
