"""Spark's further jars: fetched once, never trusted unseen."""

import hashlib
from pathlib import Path

import pytest

from features import jars
from features.errors import ServiceError

CONTENT = b"a jar"
JAR = jars.Jar(hashlib.sha256(CONTENT).hexdigest(), "io.delta", "delta-storage", "4.4.0")
POM = (
    "<project><modelVersion>4.0.0</modelVersion><groupId>io.delta</groupId>"
    "<artifactId>delta-storage</artifactId><version>4.4.0</version></project>"
)
SETTINGS = """<ivysettings>
  <settings defaultResolver="mirror"/>
  <resolvers><ibiblio name="mirror" m2compatible="true" root="{root}"/></resolvers>
</ivysettings>
"""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven repository of one jar, read through a file address by the real Ivy."""
    folder = tmp_path / "maven" / "io/delta/delta-storage/4.4.0"
    folder.mkdir(parents=True)
    (folder / "delta-storage-4.4.0.pom").write_text(POM)
    (folder / "delta-storage-4.4.0.jar").write_bytes(CONTENT)
    settings = tmp_path / "ivysettings.xml"
    settings.write_text(SETTINGS.format(root=(tmp_path / "maven").as_uri()))
    monkeypatch.setenv("AUTOIFS_IVYSETTINGS", str(settings))
    monkeypatch.setattr(jars, "pinned", lambda *_: [JAR])
    return folder / "delta-storage-4.4.0.jar"


def test_a_jar_is_fetched_into_the_cache_and_then_left_alone(mirror: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    [found] = jars.jars(cache, jars.DELTA)
    assert found == cache / "jars" / "delta-storage-4.4.0.jar"
    assert found.read_bytes() == CONTENT
    mirror.unlink()
    assert jars.jars(cache, jars.DELTA) == [found]


def test_another_jar_than_the_pinned_one_is_refused(mirror: Path, tmp_path: Path) -> None:
    mirror.write_bytes(b"another jar")
    with pytest.raises(ServiceError, match=r"not the jar that infra/jars.txt pins"):
        jars.jars(tmp_path / "cache", jars.DELTA)
    assert not (tmp_path / "cache" / "jars" / "delta-storage-4.4.0.jar").exists()


def test_an_unreachable_repository_is_one_sentence(mirror: Path, tmp_path: Path) -> None:
    mirror.unlink()
    with pytest.raises(ServiceError, match=r"delta-storage-4.4.0.jar.*AUTOIFS_IVYSETTINGS"):
        jars.jars(tmp_path / "cache", jars.DELTA)


def test_every_pinned_jar_has_a_hash_and_those_of_s3_stay_out_of_a_local_session() -> None:
    delta, store = jars.pinned(jars.DELTA), jars.pinned(jars.STORE)
    assert "delta-spark_4.2_2.13-4.4.0.jar" in [jar.file for jar in delta]
    assert {jar.group for jar in delta} == {"io.delta"}
    assert "hadoop-aws-3.5.0.jar" in [jar.file for jar in store]
    assert all(len(jar.sha256) == 64 for jar in delta + store)
