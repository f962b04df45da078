"""``models``: what can't be promoted is one sentence, and nothing is half-promoted."""

import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import (
    ArtifactError,
    RegistryError,
    UnknownVersionError,
    UserError,
    VersionInUseError,
    VocabularyGoneError,
)
from jobs.models import fetch, history, pin, promote, retire, rollback, unpin
from jobs.score import score
from jobs.train import registry_of
from tests.integration.training.conftest import put_back, write_vocabulary
from tests.integration.training.market import FIRST, SECOND, SIZES, Market
from training.artifact import load
from training.bundle import EXACT
from training.bundle import load as served
from training.raw import Tokens, raw_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(judged_market: Market, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """Two nights' versions of which the first is champion."""
    with put_back(judged_market.home, tmp_path_factory.mktemp("models")):
        judged_market.gated(FIRST)
        judged_market.judged(SECOND)
        yield judged_market


@pytest.fixture
def market(made: Market, tmp_path: Path) -> Iterator[Market]:
    """The same, to be spoiled."""
    with put_back(made.home, tmp_path):
        yield made


@dataclass(frozen=True)
class Broken:
    """Something done to version 2, what it is answered with, and in which words."""

    spoil: Callable[[Market], None]
    kind: type[UserError]
    sentence: str


def _artifacts(market: Market) -> Path:
    return Path(registry_of(market.spec, market.home).get("2").source)


def _change(market: Market) -> None:
    file = _artifacts(market) / "model.json"
    file.write_text(file.read_text().replace("feed", "food"))


def _pickle(market: Market) -> None:
    (_artifacts(market) / "model.pkl").write_bytes(pickle.dumps({}))


def _collect(market: Market) -> None:
    shutil.rmtree(_artifacts(market).parent)


def _build_anew(market: Market) -> None:
    shutil.rmtree(market.lake.path("vocabulary"))
    write_vocabulary(market.lake, SIZES)


def _drop(market: Market) -> None:
    shutil.rmtree(market.lake.path("vocabulary"))


BROKEN = {
    "a file changed by hand": Broken(
        _change, ArtifactError, r"model\.json of challenger of shop version 2 is not as it was"
    ),
    "a pickle": Broken(_pickle, ArtifactError, r"model\.pkl of challenger of shop version 2 is a"),
    "a run that was collected": Broken(
        _collect, ArtifactError, "the files of shop version 2 are gone"
    ),
    "a vocabulary built anew": Broken(
        _build_anew, VocabularyGoneError, "the vocabulary that version 2 of shop was trained with"
    ),
    "no vocabulary": Broken(_drop, VocabularyGoneError, "was trained with is gone"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_can_not_be_served_is_one_sentence_and_the_champion_stays(
    market: Market, broken: Broken
) -> None:
    place: dict[str, Any] = {"spec": market.spec, "home": market.home}
    before = history(**place)
    broken.spoil(market)
    with pytest.raises(broken.kind, match=broken.sentence) as told:
        promote(**place, version="2")
    assert "\n" not in str(told.value)
    assert told.value.exit_code == 2
    assert history(**place) == before
    assert registry_of(market.spec, market.home).champion().version == "1"
    assert rollback_is_refused(market)


def rollback_is_refused(market: Market) -> bool:
    with pytest.raises(RegistryError, match="no earlier champion"):
        rollback(spec=market.spec, home=market.home)
    return True


def test_an_unknown_version_is_one_sentence_with_those_there_are(market: Market) -> None:
    place: dict[str, Any] = {"spec": market.spec, "home": market.home}
    for ask in (promote, retire, pin, unpin):
        with pytest.raises(UnknownVersionError, match="no model version 9; registered: 2, 1 "):
            ask(**place, version="9")
    with pytest.raises(UnknownVersionError, match="registered: 2, 1 "):
        fetch(**place, version="9", out=market.home.root / "served")


def test_a_champion_is_served_scored_rolled_back_and_retired_by_its_commands(
    market: Market, tmp_path: Path
) -> None:
    place: dict[str, Any] = {"spec": market.spec, "home": market.home}
    said = promote(**place, version="challenger", expect="1", why="fresher")
    assert (said["champion"], said["before"], said["changed"]) == ("2", "1", True)

    fetched = fetch(**place, version="champion", out=tmp_path / "served")
    assert fetched["version"] == "2"
    assert served(fetched["out"]).tasks == ("click",)

    registry = registry_of(market.spec, market.home)
    scorer, rows = load(registry.download("2", tmp_path)), market.rows(SECOND)
    tokens = Tokens.from_lake(market.lake, scorer.layout, scorer.card.sizes)
    raw = raw_rows(rows, tokens)
    names = pa.array([f"s{n}" for n in range(len(raw))])
    strange = raw.slice(0, 3).set_column(0, "scenario", pa.array(["elsewhere", None, "feed"]))
    pq.write_table(
        pa.concat_tables([raw, strange]).append_column(
            "sample_id", pa.concat_arrays([names, names.slice(0, 3)])
        ),
        tmp_path / "rows.parquet",
    )
    for model in ("champion", "2", str(tmp_path / "served")):
        told = score(
            **place, model=model, source=tmp_path / "rows.parquet", target=tmp_path / "p.parquet"
        )
        assert (told["rows"], told["unknown_scenario"]) == (len(raw) + 3, 2)
    scores = pq.read_table(tmp_path / "p.parquet")
    assert scores.column_names == ["scenario", "sample_id", "p_click"]
    found = scores["p_click"].slice(0, len(raw)).to_numpy()
    assert abs(found - scorer.score(rows)[:, 0]).max() <= EXACT
    assert scores["p_click"].slice(len(raw)).is_null().to_pylist() == [True, True, False]

    assert rollback(**place, why="slow")["champion"] == "1"
    pin(**place, version="2", why="the holiday model")
    with pytest.raises(VersionInUseError, match=r"it is the challenger; it is pinned \(the holi"):
        retire(**place, version="2")
    unpin(**place, version="2")
    assert [(one["action"], one["why"]) for one in history(**place)["events"][:2]] == [
        ("rollback", "slow"),
        ("promote", "fresher"),
    ]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (None, "there is nothing to score at"),
        ({"scenario": ["feed"], "n_price": [1.0]}, "the rows to score have no column 'c_place'"),
        ({"scenario": [], "c_place": [], "c_item_id": [], "n_price": [], "n_age": []}, "no row"),
    ],
)
def test_rows_that_can_not_be_scored_leave_no_file(
    market: Market, tmp_path: Path, rows: dict[str, list[Any]] | None, sentence: str
) -> None:
    source, target = tmp_path / "rows.parquet", tmp_path / "scores.parquet"
    if rows is not None:
        pq.write_table(pa.table(rows), source)
    with pytest.raises(UserError, match=sentence):
        score(spec=market.spec, home=market.home, model="champion", source=source, target=target)
    assert not list(tmp_path.glob("*scores*"))
