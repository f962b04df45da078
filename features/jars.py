"""Spark's further jars: pinned lists, fetched once into the cache, checked by their hashes."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pyspark

from features.errors import ServiceError

_TIMEOUT = 600.0
_MODULE = """<ivy-module version="2.0">
  <info organisation="autoifs" module="jars"/>
  <dependencies>
{dependencies}
  </dependencies>
</ivy-module>
"""


@dataclass(frozen=True)
class Jar:
    """One pinned jar."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def file(self) -> str:
        """Its file name, in the repository and in the cache."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def dependency(self) -> str:
        """It alone, without what it drags in, as an Ivy module asks for it."""
        name, wanted = quoteattr(self.artifact), quoteattr(self.version)
        return (
            f"    <dependency org={quoteattr(self.group)} name={name} rev={wanted}"
            ' transitive="false" conf="*->master"/>'
        )


DELTA, STORE = "jars.txt", "jars-s3.txt"
"""Lists in ``infra/``: Delta, and what S3 is spoken to with."""


def pinned(*lists: str) -> list[Jar]:
    """Return the jars that files in ``infra/`` list."""
    texts = [(_infra() / listed).read_text(encoding="utf-8") for listed in lists]
    return [jar for text in texts for jar in _parse(text)]


def jars(cache: Path, *lists: str) -> list[Path]:
    """Return the listed jars in ``cache/jars``, fetched first where they are missing.

    Raises:
        ServiceError: when one can't be fetched or is not the one that was pinned.
    """
    folder, wanted = cache / "jars", pinned(*lists)
    missing = [jar for jar in wanted if not (folder / jar.file).exists()]
    if missing:
        _fetch(missing, cache)
    return [folder / jar.file for jar in wanted]


def _infra() -> Path:
    return Path(__file__).resolve().parents[1] / "infra"


def _parse(text: str) -> Iterator[Jar]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            sha256, coordinate = line.split()
            yield Jar(sha256, *coordinate.split(":"))


def _fetch(jars: list[Jar], cache: Path) -> None:
    """Fetch jars, check them, and move each to its place: two sessions may do so at once."""
    try:
        (cache / "jars").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            _retrieve(jars, Path(scratch))
            for jar in jars:
                found = Path(scratch) / jar.file
                _check(jar, found)
                found.replace(cache / "jars" / jar.file)
    except OSError as error:
        raise ServiceError(
            f"can't write {cache / 'jars'} ({error.strerror}); make it writable, "
            "or set AUTOIFS_CACHE"
        ) from None


def _retrieve(jars: list[Jar], folder: Path) -> None:
    """Let the Ivy that comes with Spark bring the jars into ``folder``.

    Its settings are the project's own (``infra/ivysettings.xml``, or ``AUTOIFS_IVYSETTINGS`` for a
    mirror), for Ivy's default looks into ``~/.m2`` first and falls over a half-filled one.
    """
    module = folder / "ivy.xml"
    module.write_text(_MODULE.format(dependencies="\n".join(jar.dependency for jar in jars)))
    settings = os.environ.get("AUTOIFS_IVYSETTINGS") or str(_infra() / "ivysettings.xml")
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None) or "java"
    program = next((Path(pyspark.__file__).parent / "jars").glob("ivy-*.jar"))
    words = [java, "-jar", str(program), "-settings", settings, "-ivy", str(module)]
    words += ["-cache", str(folder / "ivy"), "-retrieve", f"{folder}/[artifact]-[revision].[ext]"]
    ended = subprocess.run(  # noqa: S603 (a list of words, no shell)
        words, capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )
    lost = [jar.file for jar in jars if not (folder / jar.file).exists()]
    if ended.returncode or lost:
        raise ServiceError(
            f"can't fetch Spark's jars ({', '.join(lost) or 'Ivy failed'}); connect to the "
            "network, or name the Ivy settings of a Maven mirror in AUTOIFS_IVYSETTINGS"
        )


def _check(jar: Jar, file: Path) -> None:
    if hashlib.sha256(file.read_bytes()).hexdigest() != jar.sha256:
        raise ServiceError(
            f"{jar.file} is not the jar that infra/jars.txt pins; "
            "name the Ivy settings of another repository in AUTOIFS_IVYSETTINGS"
        )


if __name__ == "__main__":  # for an image, which brings them along
    jars(Path(sys.argv[1]), DELTA, STORE)
