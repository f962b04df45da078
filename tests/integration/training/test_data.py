"""Reading ``encoded`` as it was at one Delta version."""

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from features.errors import LakeError, TrainingError
from features.spec import Column, Spec, layout_of
from features.spec.policy import Training
from training import night
from training.artifact import load, verify
from training.data import (
    check_vocabulary,
    contents,
    label_counts,
    read_days,
    read_vocabulary,
)
from training.material import pin, read
from training.rows import Examples
from training.scores import pooled_log_loss, predict
from training.stream import Streamed


def day(number: int) -> date:
    return date(2026, 3, number)


def edited(column: str, value: object, row: int = 5):
    """Return an edit that puts one value into one row of a column."""

    def edit(columns: dict[str, pa.Array]) -> None:
        values = columns[column].to_pylist()
        values[row] = value
        columns[column] = pa.array(values, columns[column].type)

    return edit


def test_two_days_are_read_into_compact_arrays(shop, shop_lake):
    layout = layout_of(shop)
    rows = read_days(shop_lake, layout, [day(2), day(5)], shop_lake.open("encoded").version())
    assert len(rows) == 800
    assert rows.categories.shape == (800, 3) and rows.categories.dtype == np.int32
    assert rows.multi[0].shape == (800, 3) and rows.multi[0].min() == -1
    assert rows.numbers.shape == (800, 3) and np.isnan(rows.numbers).any()
    assert rows.labels.shape == (800, 2)
    assert set(rows.ds.astype(str)) == {"2026-03-02", "2026-03-05"}
    assert len(rows.on([day(5)])) == 400


def test_a_token_list_becomes_a_padded_row(shop, shop_lake, rewrite):
    rewrite(3, edit=edited("m_tags", [4, 9], row=0))
    rewrite(4, edit=edited("m_tags", None, row=0))
    version = shop_lake.open("encoded").version()
    rows = read_days(shop_lake, layout_of(shop), [day(3), day(4)], version)
    assert rows.multi[0][0].tolist() == [4, 9, -1]
    assert rows.multi[0][400].tolist() == [-1, -1, -1]


def test_the_pinned_version_is_read_though_the_table_went_on(shop, shop_lake, rewrite):
    version = shop_lake.open("encoded").version()
    layout = layout_of(shop)
    before = read_days(shop_lake, layout, [day(5)], version)
    rewrite(5, seed=9)
    again = read_days(shop_lake, layout, [day(5)], version)
    after = read_days(shop_lake, layout, [day(5)], version + 1)
    assert np.array_equal(before.numbers, again.numbers, equal_nan=True)
    assert not np.array_equal(before.numbers, after.numbers, equal_nan=True)


def test_rows_come_in_the_order_of_their_ids_however_they_were_written(shop, shop_lake, rewrite):
    def backwards(columns: dict[str, pa.Array]) -> None:
        for name, values in columns.items():
            columns[name] = values.take(pa.array(range(len(values) - 1, -1, -1)))

    layout = layout_of(shop)
    before = read_days(shop_lake, layout, [day(5)], shop_lake.open("encoded").version())
    rewrite(5, edit=backwards)
    after = read_days(shop_lake, layout, [day(5)], shop_lake.open("encoded").version())
    assert before.sample_id.tolist() == after.sample_id.tolist()
    assert np.array_equal(before.categories, after.categories)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), None])
def test_a_number_that_is_none_is_read_as_null(shop, shop_lake, rewrite, value):
    rewrite(5, edit=edited("n_age", value))
    rows = read_days(shop_lake, layout_of(shop), [day(5)], shop_lake.open("encoded").version())
    assert np.isnan(rows.numbers[5, 1])


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("y_click", 0.5, r"encoded\.y_click holds 0.5; a label is 0, 1 or null"),
        ("scenario", 7, "encoded.scenario holds indices 0 to 7 and the spec has 2"),
        ("scenario", None, "encoded.scenario holds indices -1 to 1"),
    ],
)
def test_a_value_against_the_contract_is_named(shop, shop_lake, rewrite, column, value, words):
    rewrite(5, edit=edited(column, value))
    with pytest.raises(TrainingError, match=words):
        read_days(shop_lake, layout_of(shop), [day(5)], shop_lake.open("encoded").version())


@pytest.mark.parametrize(("column", "value"), [("c_item_id", 100), ("m_tags", [1, 12])])
def test_an_index_beyond_the_vocabulary_is_named(shop, shop_lake, rewrite, column, value):
    rewrite(5, edit=edited(column, value))
    layout = layout_of(shop)
    known = read_vocabulary(shop_lake, layout)
    assert (known.sizes["c_item_id"], known.sizes["m_tags"], known.version) == (100, 12, 0)
    rows = read_days(shop_lake, layout, [day(5)], shop_lake.open("encoded").version())
    with pytest.raises(TrainingError, match=rf"encoded\.{column} holds index"):
        check_vocabulary(rows, known.sizes)


def test_a_missing_day_column_and_table_are_named(shop, shop_lake, lake, tmp_path):
    layout = layout_of(shop)
    version = shop_lake.open("encoded").version()
    with pytest.raises(TrainingError, match="no row of 2026-03-20"):
        read_days(shop_lake, layout, [day(5), day(20)], version)
    new = Column(name="c_new", kind="category", source="new")
    with pytest.raises(TrainingError, match="no column 'c_new', which the spec declares"):
        read_days(shop_lake, replace(layout, columns=(new,)), [day(5)], version)
    with pytest.raises(LakeError, match="does not exist"):
        read_vocabulary(replace(lake, product="other"), layout)


def test_labels_are_counted_by_day_and_task(shop, shop_lake):
    layout = layout_of(shop)
    version = shop_lake.open("encoded").version()
    found = label_counts(shop_lake, layout, day(5), day(30), version)
    assert list(sorted(found)) == [day(5), day(6), day(7), day(8)]
    assert found[day(7)] == {"click": 400, "buy": 0}
    assert 100 < found[day(6)]["buy"] < 300, "only one of two scenarios has the task"


def test_contents_change_with_the_day_that_changed_alone(shop, shop_lake, rewrite):
    days = [day(5), day(6)]
    before = contents(shop_lake, days, shop_lake.open("encoded").version())
    rewrite(6, seed=3)
    after = contents(shop_lake, days, shop_lake.open("encoded").version())
    assert before["2026-03-05"] == after["2026-03-05"]
    assert before["2026-03-06"] != after["2026-03-06"]


def test_a_window_that_does_not_fit_in_memory_trains_as_it_lies(shop, shop_lake, tmp_path):
    small = with_training(shop, memory=1e-6)
    pinned = pin(small, shop_lake, day(8))
    held, streamed = read(shop, shop_lake, pinned), read(small, shop_lake, pinned)
    assert isinstance(held.train, Examples) and isinstance(streamed.train, Streamed)
    assert len(streamed.train) == len(held.train) and len(streamed.validate) == len(held.validate)
    assert np.allclose(streamed.card.stats.mean, held.card.stats.mean)
    assert np.allclose(streamed.card.stats.std, held.card.stats.std)
    assert streamed.probe.sample_id.tolist() == held.probe.sample_id.tolist()
    fitted = night.fit(small, streamed, "autoifs", tmp_path / "model")
    verify(fitted.folder)
    scorer = load(fitted.folder)
    assert scorer.calibration is not None
    assert fitted.validation == pytest.approx(
        pooled_log_loss(predict(scorer.model, held.validate.inputs), held.validate.labels), abs=1e-6
    )


@pytest.mark.parametrize("words", [{"model": "lightgbm"}, {"teacher": {"model": "lightgbm"}}])
def test_trees_say_that_they_need_the_window_in_memory(shop, shop_lake, words):
    small = with_training(shop, memory=1e-6, **words)
    with pytest.raises(TrainingError, match=r"need the window in memory.*raise training\.memory"):
        read(small, shop_lake, pin(small, shop_lake, day(8)))


def with_training(spec: Spec, **words: object) -> Spec:
    said = {**spec.training.model_dump(by_alias=True), **words}
    return spec.model_copy(update={"training": Training.model_validate(said)})
