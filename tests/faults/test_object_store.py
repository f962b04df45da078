"""Models and pages on a real S3 server: a night, what is published, what is refused."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from features.errors import StoreError, UnavailableError, UserError
from features.objects import PART, Objects
from jobs.cluster.store import Store
from jobs.home import Home
from jobs.models import history
from jobs.publish import PLACE, publish
from jobs.score import score
from jobs.train import registry_of
from tests.faults.test_promotion import Mlflow
from tests.integration.training.market import FIRST, Market
from training.artifact import load
from training.bundle import EXACT
from training.bundle import load as served
from training.raw import Tokens, raw_rows

pytestmark = pytest.mark.slow
READER: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    ],
}


@pytest.fixture(scope="module")
def bucket(store: Store) -> str:
    store.client().create_bucket(Bucket="published")
    return "published"


@pytest.fixture
def environment(store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(PLACE, f"s3://{bucket}/team")


@pytest.fixture(scope="module")
def market(store: Store, bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A night whose model is champion in an MLflow server with artifacts on the store."""
    root = tmp_path_factory.mktemp("market")
    server = Mlflow(
        folder=root / "server",
        cache=root,
        database=f"sqlite:///{root}/mlflow.db",
        artifacts=f"s3://{bucket}/mlflow",
        environment=store.environment(),
    )
    server.folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**store.environment(), "MLFLOW_TRACKING_URI": server.url}.items():
            patch.setenv(name, value)
        server.start()
        try:
            server.wait()
            made = Market(Home(root=root, cache=root / "cache"))
            made.write(date(2026, 3, 1), FIRST)
            made.judged(FIRST)
            made.gated(FIRST)
            pages = made.home.reports("shop")
            pages.mkdir(parents=True)
            for name in (f"{FIRST}.html", "index.html", "latest.html"):
                (pages / name).write_text(f"<h1>{name}</h1>", encoding="utf-8")
            yield made
        finally:
            server.stop()


def keys(store: Store, bucket: str, prefix: str) -> dict[str, Any]:
    listed = store.client().list_objects_v2(Bucket=bucket, Prefix=prefix)
    return {one["Key"]: one for one in listed.get("Contents", [])}


def body(store: Store, bucket: str, key: str) -> Any:
    return store.client().get_object(Bucket=bucket, Key=key)


@pytest.mark.usefixtures("environment")
def test_a_night_with_artifacts_on_the_store_has_a_champion_that_serves_from_there(
    market: Market, store: Store, bucket: str, tmp_path: Path
) -> None:
    registry = registry_of(market.spec, market.home)
    one = registry.champion()
    assert one.source.startswith(f"s3://{bucket}/mlflow/")
    events = history(spec=market.spec, home=market.home)["events"]
    assert [(event["action"], event["to"], event["state"]) for event in events] == [
        ("promote", "1", "done")
    ]
    kept = [key.rpartition("mlflow/")[2] for key in keys(store, bucket, "mlflow/")]
    parts = {key.split("/")[3].partition("-")[0] for key in kept if "/artifacts/" in key}
    assert {"baseline", "challenger", "gate", "serving"} <= parts

    scorer = load(registry.download("1", tmp_path))
    tokens = Tokens.from_lake(market.lake, scorer.layout, scorer.card.sizes)
    rows = market.rows(FIRST)
    pq.write_table(raw_rows(rows, tokens), tmp_path / "rows.parquet")
    said = score(
        spec=market.spec,
        home=market.home,
        model="champion",
        source=tmp_path / "rows.parquet",
        target=tmp_path / "scores.parquet",
    )
    assert (said["version"], said["rows"], said["unknown_scenario"]) == ("1", len(rows), 0)
    scores = pq.read_table(tmp_path / "scores.parquet")
    assert np.allclose(scores["p_click"], scorer.score(rows)[:, 0], rtol=0, atol=EXACT)


@pytest.mark.usefixtures("environment")
def test_pages_and_the_champions_folder_are_published_once_and_found_by_stable_names(
    market: Market, store: Store, bucket: str, tmp_path: Path
) -> None:
    first = publish(spec=market.spec, home=market.home)
    assert (first["pages"], first["champion"]) == (3, "1")
    assert first["latest"] == f"s3://{bucket}/team/shop/reports/latest.html"
    latest = body(store, bucket, "team/shop/reports/latest.html")
    assert latest["Body"].read() == b"<h1>latest.html</h1>"
    assert latest["ContentType"] == "text/html; charset=utf-8"
    assert latest["CacheControl"] == "no-cache"
    pointer = json.loads(body(store, bucket, "team/shop/models/champion.json")["Body"].read())
    assert (pointer["version"], pointer["folder"]) == ("1", "models/1")

    for key in keys(store, bucket, f"team/shop/{pointer['folder']}/"):
        file = tmp_path / "served" / key.rpartition("/")[2]
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(body(store, bucket, key)["Body"].read())
    assert served(tmp_path / "served").tasks == ("click",)

    before = keys(store, bucket, "team/")
    again = publish(spec=market.spec, home=market.home)
    assert (again["pages"], again["files"]) == (0, 0), "nothing is sent twice"
    assert keys(store, bucket, "team/") == before
    (market.home.reports("shop") / "latest.html").write_text("new", encoding="utf-8")
    assert publish(spec=market.spec, home=market.home, day=FIRST)["pages"] == 1
    assert body(store, bucket, "team/shop/reports/latest.html")["Body"].read() == b"new"


@pytest.mark.usefixtures("environment")
def test_a_large_file_goes_in_parts_that_the_store_checks(
    store: Store, bucket: str, tmp_path: Path
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(np.random.default_rng(0).bytes(2 * PART + 1000))
    place = Objects(f"s3://{bucket}/large")
    assert place.publish(file, "weights", kind="application/octet-stream", lasting=True)
    found = store.client().head_object(Bucket=bucket, Key="large/weights", ChecksumMode="ENABLED")
    assert found["ContentLength"] == file.stat().st_size
    assert found["ETag"].strip('"').endswith("-3"), "three parts"
    assert found["ChecksumSHA256"]
    assert body(store, bucket, "large/weights")["Body"].read() == file.read_bytes()
    assert not place.publish(file, "weights", kind="application/octet-stream", lasting=True)


def test_a_bucket_that_is_missing_or_denies_is_one_sentence_and_nothing_is_published(
    market: Market, store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(PLACE, "s3://nowhere/team")
    with pytest.raises(StoreError, match=r"s3://nowhere/team/shop/reports/.* has no such bucket"):
        publish(spec=market.spec, home=market.home)

    reader = store.add_user("reader-of-pages", READER)
    store.client().create_bucket(Bucket="guarded-pages")
    with monkeypatch.context() as patch:
        for name, value in store.environment(reader).items():
            patch.setenv(name, value)
        patch.setenv(PLACE, "s3://guarded-pages/team")
        with pytest.raises(StoreError, match=r"guarded-pages.* denies it; give the role") as told:
            publish(spec=market.spec, home=market.home)
    assert reader.secret not in str(told.value)
    assert keys(store, "guarded-pages", "") == {}

    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        patch.setenv(PLACE, f"s3://{bucket}/elsewhere")
        with pytest.raises(UnavailableError, match="the object store does not answer"):
            publish(spec=market.spec, home=market.home)
    for place, sentence in {"": "is not set", "pages": "is 'pages'"}.items():
        monkeypatch.setenv(PLACE, place)
        with pytest.raises(UserError, match=f"{PLACE} {sentence}; set it to the bucket"):
            publish(spec=market.spec, home=market.home)
