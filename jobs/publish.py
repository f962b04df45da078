"""Put the report's pages and the champion's serving folder where others fetch them: an S3 bucket.

Below the address in ``AUTOIFS_PUBLISH``::

    <product>/reports/2026-11-10.html, …, index.html, latest.html
    <product>/models/17/model.json, program.pt2, …
    <product>/models/champion.json        which version is in use, and its checksum

What changes under a stable name is put last, and ``champion.json`` after the whole folder it names:
whoever follows it finds everything. What is there already is not sent again.
"""

import json
import mimetypes
import os
from datetime import date
from pathlib import Path
from typing import Any

from features.errors import UserError
from features.objects import Objects, is_address
from features.spec import Spec
from jobs.bundle import ensure_bundle, fetch_bundle
from jobs.home import Home
from jobs.report import publishable
from jobs.train import registry_of
from training.artifact_files import CHECKSUMS
from training.versions import Version

PLACE = "AUTOIFS_PUBLISH"
"""Environment variable: ``s3://bucket/prefix``; unset, nothing is published."""
POINTER = "champion.json"
_LAST = ("index.html", "latest.html")
_KINDS = {".html": "text/html; charset=utf-8", ".json": "application/json"}


def publish(*, spec: Spec, home: Home, day: date | None = None) -> dict[str, Any]:
    """Publish a day's pages, or all of them, and the champion's serving folder.

    Raises:
        UserError: no address is set, or it is no bucket's.
        StoreError: the bucket does not exist or denies; what changes under a stable name was not
            touched.
        UnavailableError: the store does not answer.
    """
    place = os.environ.get(PLACE, "")
    if not is_address(place):
        raise UserError(
            f"{PLACE} is {f'{place!r}' if place else 'not set'}; set it to the bucket and prefix "
            "to publish to, such as s3://bucket/recommenders"
        )
    store = Objects(f"{place.rstrip('/')}/{spec.product}")
    pages = _pages(store, home, spec, day)
    model, version = _champion(store, spec, home)
    return {
        "product": spec.product,
        "place": store.root,
        "latest": store.url("reports/latest.html"),
        "pages": pages,
        "champion": version,
        "files": model,
    }


def _pages(store: Objects, home: Home, spec: Spec, day: date | None) -> int:
    """Send the pages, those with a stable name last; return how many were not there already."""
    found = publishable(home, spec, day)
    ordered = sorted(found, key=lambda one: _LAST.index(one[0]) if one[0] in _LAST else -1)
    return sum(_send(store, path, f"reports/{name}", lasting=False) for name, path in ordered)


def _champion(store: Objects, spec: Spec, home: Home) -> tuple[int, str | None]:
    """Send the champion's folder, then the file that points to it."""
    registry = registry_of(spec, home)
    champion = registry.champion()
    if champion is None:
        return 0, None
    one = ensure_bundle(spec, home, registry, champion.version)
    sent = 0
    with home.scratch() as scratch:
        folder = fetch_bundle(registry, one.version, scratch)
        files = sorted(folder.iterdir(), key=lambda path: path.name == CHECKSUMS)
        for path in files:
            sent += _send(store, path, f"models/{one.version}/{path.name}", lasting=True)
        pointer = scratch / POINTER
        pointer.write_text(json.dumps(_pointer(spec, one), indent=1) + "\n", encoding="utf-8")
        sent += _send(store, pointer, f"models/{POINTER}", lasting=False)
    return sent, one.version


def _pointer(spec: Spec, one: Version) -> dict[str, Any]:
    return {
        "product": spec.product,
        "version": one.version,
        "folder": f"models/{one.version}",
        "checksum": one.tags["checksum_serving"],
        "ds": one.tags.get("ds"),
    }


def _send(store: Objects, path: Path, key: str, *, lasting: bool) -> bool:
    kind = _KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return store.publish(path, key, kind=kind or "application/octet-stream", lasting=lasting)
