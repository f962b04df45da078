import json
import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from features.errors import RegistryError
from training import artifact
from training.artifact import Card, arrange, load, masks_json, save, verify
from training.artifact_files import checksum, seal
from training.calibration import Calibration
from training.prepare import measure_numbers
from training.zoo import build


@pytest.fixture
def saved(tmp_path, architecture, dataset, layout):
    def make(folder="model", calibration=None, **changed):
        a, rows = architecture(**changed), dataset(80)
        card = Card(
            architecture=a,
            layout=layout,
            stats=measure_numbers(rows),
            vocabulary_version=7,
            spec_hash="abc",
        )
        model = build(a, 1)
        masks = masks_json(model, layout, None, None)
        save(
            tmp_path / folder,
            model,
            card,
            masks=masks,
            history={"looks": []},
            probe=rows,
            calibration=calibration,
        )
        return tmp_path / folder

    return make


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"form": "official"},
        {"gates": "instance"},
        {"kind": "shared_bottom"},
        {"dims": (4, 2, 3)},
    ],
)
def test_a_model_comes_back_from_its_folder_and_predicts_the_same(saved, dataset, changed):
    folder = saved(**changed)
    assert verify(folder) == checksum(folder)
    scores = load(folder).score(dataset(30, seed=4))
    assert scores.shape == (30, 2)
    assert ((scores > 0) & (scores < 1)).all()


def test_a_calibrated_model_answers_calibrated_here_and_after_it_came_back(saved, dataset, layout):
    line = Calibration(
        scenarios=layout.scenarios,
        tasks=layout.tasks,
        scale=((2.0, 1.0), (1.0, 1.0), (0.5, 1.0)),
        shift=((0.0, 0.0), (-1.0, 0.0), (0.0, 3.0)),
        labels=((9, 9),) * 3,
    )
    folder, rows = saved(calibration=line), dataset(60, seed=4)
    scorer = load(folder)
    before = scorer.uncalibrated.score(rows).astype(np.float64)
    assert np.allclose(before, load(saved("plain")).score(rows), atol=1e-7)
    logit = np.log(before) - np.log1p(-before)
    k = rows.scenario
    wanted = 1 / (1 + np.exp(-(np.array(line.scale)[k] * logit + np.array(line.shift)[k])))
    assert np.allclose(scorer.score(rows), wanted, atol=1e-6)
    assert not np.allclose(before, wanted, atol=0.1)
    assert verify(folder) == checksum(folder)


def test_a_model_of_a_release_before_calibration_is_read(saved, dataset, tmp_path):
    folder, rows = saved(), dataset(30)
    wanted = load(folder).score(rows)
    scratch = tmp_path / "scratch"
    shutil.copytree(folder, scratch)
    (scratch / "checksums.json").unlink()
    said = json.loads((scratch / "model.json").read_text())
    (scratch / "model.json").write_text(json.dumps({**said, "format": 1}))
    seal(scratch, folder)
    assert (load(folder).score(rows) == wanted).all()


def test_the_folder_holds_only_safetensors_and_json(saved):
    assert {path.suffix for path in saved().iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "masks.json", "probe.json"])
def test_a_changed_file_is_refused_by_name(saved, name):
    folder = saved()
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(RegistryError, match=f"{name} of the model in .* is not as it was saved"):
        load(folder)


def test_a_missing_file_an_extra_one_and_an_empty_folder_are_refused(saved, tmp_path):
    folder = saved()
    (folder / "extra.txt").touch()
    with pytest.raises(RegistryError, match=r"extra\.txt does not belong to"):
        load(folder)
    (folder / "extra.txt").unlink()
    (folder / "extra.pkl").touch()
    with pytest.raises(RegistryError, match=r"extra\.pkl of the model in .* is a pickle"):
        load(folder)
    (folder / "extra.pkl").unlink()
    (folder / "masks.json").unlink()
    with pytest.raises(RegistryError, match=r"masks\.json is missing from"):
        load(folder)
    with pytest.raises(RegistryError, match="is not complete"):
        load(tmp_path / "nothing")


def test_a_model_that_predicts_otherwise_than_when_saved_is_refused(saved, monkeypatch):
    folder = saved()
    monkeypatch.setattr(artifact.Scorer, "score", lambda self, rows: np.zeros((len(rows), 2)))
    with pytest.raises(RegistryError, match="off what it did when saved"):
        verify(folder)


def test_a_format_of_another_release_is_refused(saved):
    folder = saved()
    said = json.loads((folder / "model.json").read_text())
    with pytest.raises(RegistryError, match="format 99 and this release reads 2"):
        Card.from_json({**said, "format": 99})


def test_saving_again_replaces_the_whole_folder_and_leaves_no_scratch(saved, tmp_path):
    folder = saved()
    before = checksum(folder)
    saved(kind="shared_bottom")
    assert checksum(folder) != before
    assert load(folder).card.architecture.kind == "shared_bottom"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_flows_are_the_kept_strengths_and_absent_for_a_model_without_them(saved, dataset):
    cells = ((True, True), (True, False), (True, True))
    rows = dataset(30)
    flows = load(saved(cells=cells)).flows(rows)
    assert flows.shape == (30, 2, 4)
    absent = rows.scenario == 1
    assert np.isnan(flows[absent, 1]).all()
    assert (flows[~absent] == 1).all()
    assert load(saved(kind="shared_bottom")).flows(rows) is None


def test_an_absent_cell_has_no_prediction_and_no_mask(saved, dataset):
    folder = saved(cells=((True, True), (True, False), (True, True)))
    rows = dataset(30)
    scores = load(folder).score(rows)
    assert np.isnan(scores[rows.scenario == 1, 1]).all()
    assert not np.isnan(scores[rows.scenario == 1, 0]).any()
    assert json.loads((folder / "masks.json").read_text())["strength"][1] == [[1.0] * 4, None]


def test_columns_and_scenarios_are_found_by_name_and_unknown_scenarios_are_not_scored(
    saved, dataset, layout
):
    scorer, rows = load(saved()), dataset(40)
    wanted = scorer.score(rows)
    columns = layout.columns[::-1]
    shuffled = replace(
        rows,
        layout=replace(layout, scenarios=("new", "live", "search", "feed"), columns=columns),
        scenario=3 - rows.scenario,
        categories=rows.categories[:, ::-1],
        numbers=rows.numbers[:, ::-1],
    )
    shuffled.scenario[:5] = 0
    said = scorer.score(shuffled)
    assert np.isnan(said[:5]).all()
    assert np.allclose(said[5:], wanted[5:], atol=1e-6)


def test_a_column_that_the_samples_lack_is_named(dataset, layout):
    rows = dataset()
    poorer = replace(rows, layout=replace(layout, columns=layout.columns[1:]))
    with pytest.raises(RegistryError, match="reads column 'c_item'"):
        arrange(poorer, layout)


def test_samples_encoded_with_a_vocabulary_built_anew_are_refused(saved, dataset):
    scorer, rows = load(saved()), dataset()
    scorer.score(replace(rows, vocabulary="first"))
    scorer.card = replace(scorer.card, vocabulary_id="first")
    scorer.score(replace(rows, vocabulary="first"))
    with pytest.raises(RegistryError, match="vocabulary was built anew since"):
        scorer.score(replace(rows, vocabulary="second"))


def test_no_rows_give_no_predictions(saved, dataset):
    assert load(saved()).score(dataset(5).take(slice(0, 0))).shape == (0, 2)


class Deadly:
    """What a pickle could do."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("written", ["pickle", "torch"])
def test_a_pickle_that_calls_itself_weights_and_has_a_valid_seal_is_refused_and_never_runs(
    saved, tmp_path, written
):
    folder, struck = saved(), tmp_path / "struck"
    (folder / "checksums.json").unlink()
    weights = folder / "model.safetensors"
    if written == "torch":
        torch.save(Deadly(struck), weights)
    else:
        weights.write_bytes(pickle.dumps(Deadly(struck)))
    seal(folder, tmp_path / "sealed")
    checksum(tmp_path / "sealed")
    with pytest.raises(RegistryError, match=r"model\.safetensors|weights"):
        load(tmp_path / "sealed")
    assert not struck.exists()
    pickle.loads(pickle.dumps(Deadly(struck)))  # noqa: S301
    assert struck.exists(), "it would have struck"
