"""The serving folder: it answers raw rows as the registered model does, and holds no pickle."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from features.errors import ArtifactError
from training import artifact
from training.artifact import Card, masks_json
from training.artifact_files import checksum, seal
from training.bundle import EXACT, load, save
from training.calibration import Calibration
from training.clean import KEPT
from training.lightgbm import LightGBM
from training.prepare import NumberStats, measure_numbers
from training.program import load_program, refuse_pickle_in
from training.raw import Tokens, raw_rows
from training.zoo import MODELS, build

CHECKOUT = Path(__file__).resolve().parents[3]
CELLS = ((True, True), (True, False), (True, True))
QUICK = ("autoifs", "star")
"""Networks whose export is tried on every run: one with flows, one that owns layers."""
TOKENS = Tokens(
    {
        "c_item": {f"i{n}": n for n in range(1, 7)},
        "c_place": {f"p{n}": n for n in range(1, 5)},
        "m_tags": {f"t{n}": n for n in range(1, 6)},
    }
)


@pytest.fixture
def registered(tmp_path, architecture, dataset, layout):
    """Return a function that makes a registered model's folder of a kind."""

    def make(kind: str, **changed) -> Path:
        a, rows = architecture(kind=kind, cells=CELLS, **changed), clean(dataset(80))
        is_trees = kind == "lightgbm"
        card = Card(
            architecture=a,
            layout=layout,
            stats=NumberStats.untouched() if is_trees else measure_numbers(rows),
            vocabulary_version=7,
            spec_hash="abc",
        )
        model = build(a, 1)
        if isinstance(model, LightGBM):
            model.forests = _forests(rows, a)
        line = Calibration(
            scenarios=layout.scenarios,
            tasks=layout.tasks,
            scale=((1.2, 1.0),) * 3,
            shift=((0.0, -0.3),) * 3,
            labels=((9, 9),) * 3,
        )
        masks = masks_json(model, layout, None, None)
        artifact.save(
            tmp_path / kind, model, card, masks=masks, history={}, probe=rows, calibration=line
        )
        return tmp_path / kind

    return make


def clean(rows):
    """Return rows whose bags name each known token once, in order, as ``encoded`` has them."""
    bag = np.sort(np.where(rows.multi[0] < 1, 99, rows.multi[0]), axis=1)
    bag[:, 1:][bag[:, 1:] == bag[:, :-1]] = 99
    rows.multi[0][:] = np.where(bag == 99, -1, bag)
    return rows


def _forests(rows, a):
    from features.spec.policy import Trees
    from training.lightgbm import binned, boost, matrix
    from training.prepare import inputs_of

    read = matrix(inputs_of(rows, NumberStats.untouched(), a.sizes), a)
    trees = Trees(rounds=5, min_data_in_leaf=2)
    return [
        boost(data := binned(read, rows.labels[:, m], a), data, trees, seed=1)
        for m in range(a.tasks)
    ]


_made: list[Path] = []


@pytest.fixture
def bundle(registered, tmp_path, tmp_path_factory):
    """A serving folder to spoil; exporting takes seconds, copying none."""
    if not _made:
        _made.append(tmp_path_factory.mktemp("made") / "serving")
        save(registered("autoifs"), TOKENS, _made[0], {"product": "shop", "version": "3"})
    return Path(shutil.copytree(_made[0], tmp_path / "serving"))


@pytest.mark.parametrize(
    "kind",
    [
        *(pytest.param(one, id=one) for one in (*QUICK, "lightgbm")),
        *(
            pytest.param(one, id=one, marks=pytest.mark.long)
            for one in MODELS
            if one not in (*QUICK, "lightgbm")
        ),
    ],
)
def test_a_served_model_answers_raw_rows_as_the_registered_one_does(
    registered, tmp_path, dataset, kind
):
    options = {} if kind == "lightgbm" else {"dropout": 0.1}
    model = registered(kind, **options)
    save(model, TOKENS, tmp_path / "serving", {"product": "shop", "version": "3"})
    served, scorer = load(tmp_path / "serving"), artifact.load(model)
    for n in (0, 1, 2, 333):
        rows = clean(dataset(n, seed=n))
        said = served.score(raw_rows(rows, TOKENS))
        assert said.shape == (n, 2) and said.dtype == np.float32
        assert np.allclose(said, scorer.score(rows), rtol=0, atol=EXACT, equal_nan=True)
    assert (tmp_path / "serving" / "program.pt2").exists() == (kind != "lightgbm")


def test_three_lines_of_python_are_enough(bundle):
    code = (
        "from training.bundle import load\n"
        f"model = load({str(bundle)!r})\n"
        "print(model.score([{'scenario': 'feed', 'c_item': 'i2', 'n_price': 1.5}]).tolist())\n"
    )
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env=kept,
        capture_output=True,
        text=True,
        check=True,
    )
    ((click, buy),) = json.loads(said.stdout)
    assert 0 < click < 1 and 0 < buy < 1


def test_a_scenario_it_does_not_know_and_a_cell_that_is_not_there_have_no_score(bundle):
    rows = [{"scenario": "feed"}, {"scenario": "search"}, {"scenario": "nowhere"}, {}]
    assert np.isnan(load(bundle).score(rows)).tolist() == [
        [False, False],
        [False, True],
        [True, True],
        [True, True],
    ]


def test_the_folder_says_what_it_reads_and_whose_it_is(bundle):
    said = json.loads((bundle / "bundle.json").read_text())
    assert (said["product"], said["version"], said["tasks"]) == ("shop", "3", ["click", "buy"])
    assert said["reads"]["scenario"]["values"] == ["feed", "search", "live"]
    assert said["reads"]["n_price"] == {"kind": "number", "is": "price"}
    assert load(bundle).features == tuple(name for name in said["reads"] if name != "scenario")


def test_nothing_in_the_folder_is_a_pickle(bundle):
    kinds = {path.suffix for path in bundle.iterdir()}
    assert kinds == {".json", ".safetensors", ".parquet", ".pt2"}
    refuse_pickle_in(bundle / "program.pt2")
    with zipfile.ZipFile(bundle / "program.pt2") as archive:
        assert not [name for name in archive.namelist() if archive.read(name)[:2] == b"PK"]


class Deadly:
    """What a pickle could do."""

    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize("place", ["data/sample_inputs/model.pt", "data/constants/opaque_obj_0"])
def test_a_program_with_a_pickle_in_it_is_refused_before_torch_sees_it(
    bundle, tmp_path, monkeypatch, place
):
    bad = tmp_path / "bad.pt2"
    with zipfile.ZipFile(bundle / "program.pt2") as good, zipfile.ZipFile(bad, "w") as archive:
        root = good.namelist()[0].partition("/")[0]
        for name in good.namelist():
            if not name.endswith(place):
                archive.writestr(name, good.read(name))
        torch.save(Deadly(), tmp_path / "deadly")
        archive.writestr(f"{root}/{place}", (tmp_path / "deadly").read_bytes())
    monkeypatch.setattr(torch.export, "load", lambda path: pytest.fail("torch was asked to load"))
    with pytest.raises(ArtifactError, match=r"bad\.pt2 holds a pickle \(.*never loaded"):
        load_program(bad)


def test_a_program_whose_weights_are_pickled_is_refused(bundle, tmp_path):
    bad = tmp_path / "bad.pt2"
    with zipfile.ZipFile(bundle / "program.pt2") as good, zipfile.ZipFile(bad, "w") as archive:
        for name in good.namelist():
            content = good.read(name)
            if name.endswith("model_weights_config.json"):
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true')
                assert b'"use_pickle": true' in content
            archive.writestr(name, content)
    with pytest.raises(ArtifactError, match="holds a pickle"):
        load_program(bad)


@pytest.mark.parametrize("name", ["program.pt2", "vocabulary.parquet", "calibration.json"])
def test_a_changed_file_is_refused_by_name(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name} of the model in .* is not as it was saved"):
        load(bundle)


def test_a_bundle_that_says_something_else_than_the_model_is_not_made(
    registered, tmp_path, monkeypatch
):
    from training import bundle

    def off(model, path):
        with torch.no_grad():
            next(model.parameters()).add_(0.5)
        real(model, path)

    real = bundle.save_program
    monkeypatch.setattr(bundle, "save_program", off)
    model = registered("shared_bottom")
    scorer = artifact.load(model)
    monkeypatch.setattr(bundle.artifact, "load", lambda folder: scorer)
    wanted = scorer.score
    before = wanted(clean_probe(model))
    monkeypatch.setattr(scorer, "score", lambda rows: before)
    with pytest.raises(ArtifactError, match="off the registered one on its probe rows"):
        save(model, TOKENS, tmp_path / "serving", {})


def clean_probe(model: Path):
    said = json.loads((model / "probe.json").read_text())
    return artifact.probe_of(said, artifact.card_of(model).layout)


def test_a_bundle_is_made_again_in_one_move(bundle, registered):
    before = checksum(bundle)
    shutil.copytree(bundle, bundle.with_name("copy"))
    (bundle.with_name("copy") / "checksums.json").unlink()
    assert seal(bundle.with_name("copy"), bundle) == before
