from dataclasses import replace

import numpy as np
import torch

from training.prepare import CLIP, NumberStats, inputs_of, measure_numbers

SIZES = (7, 5, 6)


def test_numbers_are_standardised_on_the_rows_they_were_measured_on(dataset):
    rows = dataset(5000)
    scaled = measure_numbers(rows).apply(rows.numbers)
    assert np.allclose(scaled.mean(0), 0, atol=1e-2)
    assert np.allclose(scaled[:, 1:].std(0), 1, atol=1e-2)


def test_null_becomes_the_mean_and_does_not_move_it(dataset):
    rows = dataset(100)
    whole = measure_numbers(rows)
    numbers = np.concatenate([rows.numbers, np.full_like(rows.numbers, np.nan)])
    holed = replace(rows, numbers=numbers)
    assert np.allclose(measure_numbers(holed).mean, whole.mean)
    assert (whole.apply(numbers)[100:] == 0).all()


def test_a_constant_column_and_an_empty_one_say_nothing_and_break_nothing(dataset):
    rows = dataset(50)
    rows.numbers[:, 1] = 1e6
    rows.numbers[:, 2] = np.nan
    stats = measure_numbers(rows)
    assert (stats.apply(rows.numbers)[:, 1:] == 0).all()
    assert np.isfinite(stats.mean).all() and stats.std[1] == 1.0


def test_extreme_numbers_are_clipped(dataset):
    rows = dataset(1000)
    stats = measure_numbers(rows)
    rows.numbers[0] = [1e30, 1e30, -1e30]
    assert stats.apply(rows.numbers)[0].tolist() == [CLIP, CLIP, -CLIP]


def test_log1p_is_taken_where_the_layout_says_and_keeps_the_sign():
    stats = NumberStats(log=(True, False), mean=(0.0, 0.0), std=(1.0, 1.0))
    said = stats.apply(np.array([[np.e - 1, 2.0], [1 - np.e, -2.0]], dtype=np.float32))
    assert np.allclose(said, [[1.0, 2.0], [-1.0, -2.0]], atol=1e-6)


def test_statistics_survive_json(dataset):
    stats = measure_numbers(dataset())
    assert NumberStats.from_json(stats.to_json()) == stats


def test_a_token_newer_than_the_model_is_read_as_unknown(dataset):
    rows = dataset(3)
    rows.categories[:, 0] = [6, 7, 1000]
    rows.multi[0][:, 0] = [5, 6, -1]
    index = inputs_of(rows, measure_numbers(rows), SIZES).index
    assert index[:, 0].tolist() == [6, 0, 0]
    assert index[:, 2].tolist() == [5, -1, -1]
    assert index.dtype == torch.int32
