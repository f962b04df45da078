"""``autoifs models``: what is registered, and which version is in use."""

from typing import Any

from features.spec import Spec
from jobs.home import Home
from jobs.train import registry_of


def list_versions(*, spec: Spec, home: Home) -> dict[str, Any]:
    """Return every version of the product, newest first, and who the champion is."""
    versions = registry_of(spec, home).list()
    champion = next((one.version for one in versions if "champion" in one.aliases), None)
    return {
        "product": spec.product,
        "champion": champion,
        "versions": [one.to_json() for one in versions],
    }


def promote(*, spec: Spec, home: Home, version: str, expect: str | None = None) -> dict[str, Any]:
    """Make ``version`` the champion.

    Raises:
        RegistryError: no such version, or the champion is not ``expect``.
    """
    before = registry_of(spec, home).promote(version, expect)
    return {
        "product": spec.product,
        "champion": str(version),
        "before": before.version if before else None,
    }


def rollback(*, spec: Spec, home: Home) -> dict[str, Any]:
    """Make the champion before the present one champion again.

    Raises:
        RegistryError: there was none.
    """
    now, before = registry_of(spec, home).rollback()
    return {
        "product": spec.product,
        "champion": now.version,
        "before": before.version if before else None,
    }
