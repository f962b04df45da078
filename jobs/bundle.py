"""The serving folder of a version: made before it becomes champion, and fetched to serve."""

import logging
from pathlib import Path

from features.errors import LakeError, VocabularyGoneError
from features.spec import Spec
from jobs.home import Home
from training.registry import Registry
from training.versions import Version

log = logging.getLogger(__name__)

SERVING = "serving"
"""What the registry calls the part."""


def ensure_bundle(spec: Spec, home: Home, registry: Registry, version: str) -> Version:
    """Return a version that has its serving folder in the registry, whole; make it if need be.

    Raises:
        ArtifactError: the version's files are not as registered, or would not be served as they
            were judged.
        VocabularyGoneError: the vocabulary it was trained with is gone.
    """
    one = registry.get(version)
    with home.scratch() as scratch:
        if f"checksum_{SERVING}" in one.tags:
            fetch_bundle(registry, one.version, scratch)
            return one
        log.info("making the serving folder of version %s", one.version)
        model = registry.download(one.version, scratch)
        folder = scratch / SERVING
        checksum = _make(spec, home, model, folder, one.version)
        registry.add_part(one.version, SERVING, folder, checksum)
    return registry.get(one.version)


def fetch_bundle(registry: Registry, version: str, into: Path) -> Path:
    """Return a version's serving folder, fetched below ``into`` and checked by hash.

    Raises:
        ArtifactError: it is absent, or not as it was made.
    """
    return registry.download(version, into, SERVING)


def _make(spec: Spec, home: Home, model: Path, folder: Path, version: str) -> str:
    from training import bundle
    from training.artifact import card_of
    from training.raw import Tokens

    card = card_of(model)
    lake = home.lake(spec.product)
    gone = VocabularyGoneError(
        f"the vocabulary that version {version} of {spec.product} was trained with is gone, so "
        "that its indices mean nothing any more: train again (autoifs train --retrain) and "
        "promote that version"
    )
    try:
        if card.vocabulary_id and str(lake.open("vocabulary").metadata().id) != card.vocabulary_id:
            raise gone
        tokens = Tokens.from_lake(lake, card.layout, card.sizes)
    except LakeError:
        raise gone from None
    if not tokens.fill(card.layout, card.sizes):
        raise gone
    return bundle.save(model, tokens, folder, {"product": spec.product, "version": version})
