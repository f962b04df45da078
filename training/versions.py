"""What the registry holds of a product, read from MLflow or straight from its database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from features.errors import UnknownVersionError
from training.database import Ask
from training.trail import Event, earlier, mend, read_trail

CHAMPION, CHALLENGER = "champion", "challenger"
PINNED = "pinned"
"""Tag of a version that may not be retired; its value says why."""
_DELETED = "Deleted_Internal"
"""What MLflow calls the stage of a version that was deleted."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One registered model version."""

    version: str
    run_id: str
    created: datetime
    source: str
    """Where the challenger's folder lies."""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what ``autoifs models list`` prints of it."""
        return {
            "version": self.version,
            "aliases": list(self.aliases),
            "ds": self.tags.get("ds"),
            "created": self.created.isoformat(timespec="seconds"),
            "run_id": self.run_id,
            "tags": dict(self.tags),
        }


@dataclass(frozen=True, kw_only=True)
class Held:
    """Every version of a product, newest first, and what was done with them."""

    product: str
    versions: Sequence[Version] = ()
    trail: tuple[Event, ...] = ()
    """Every change of the champion, oldest first."""

    def get(self, version: str) -> Version:
        """Return a version by its number or one of its aliases.

        Raises:
            UnknownVersionError: when there is none.
        """
        found = next((one for one in self.versions if one.version == str(version)), None)
        found = found or self.by_alias(str(version))
        if found is None:
            raise UnknownVersionError(
                f"{self.product} has no model version {version}; registered: "
                f"{', '.join(self.numbers) or 'none'} (autoifs models list)"
            )
        return found

    def by_alias(self, alias: str) -> Version | None:
        """Return the version that has an alias, if there is one."""
        return next((one for one in self.versions if alias in one.aliases), None)

    @property
    def champion(self) -> str | None:
        """Number of the version in use."""
        found = self.by_alias(CHAMPION)
        return found.version if found else None

    @property
    def earlier(self) -> tuple[str, ...]:
        """The champions that rollbacks go back to, the next one last."""
        return earlier(self.trail)

    @property
    def mended(self) -> "Held":
        """The same, its trail as it must be after what was cut off or done by hand."""
        return replace(self, trail=mend(self.trail, self.champion, self.numbers))

    @property
    def numbers(self) -> list[str]:
        """Numbers of all versions, newest first."""
        return [one.version for one in self.versions]


def read_client(client: Any, product: str) -> Held:
    """Return what an MLflow client answers."""
    models = client.search_registered_models(f"name = '{product}'")
    if not models:
        return Held(product=product)
    aliases = {name: str(version) for name, version in dict(models[0].aliases).items()}
    found = [
        _version(
            number=one.version,
            run_id=one.run_id,
            created=one.creation_timestamp,
            source=one.source,
            tags=dict(one.tags),
            aliases=aliases,
        )
        for one in _pages(client, product)
    ]
    return Held(
        product=product,
        versions=_newest_first(found),
        trail=read_trail(dict(models[0].tags)),
    )


def read(ask: Ask, product: str) -> Held:
    """Return what MLflow's database holds."""
    name = {"name": product}
    aliases = {
        str(alias): str(version)
        for alias, version in ask(
            "SELECT alias, version FROM registered_model_aliases WHERE name = :name", name
        )
    }
    tags: dict[str, dict[str, str]] = {}
    for version, key, value in ask(
        "SELECT version, key, value FROM model_version_tags WHERE name = :name", name
    ):
        tags.setdefault(str(version), {})[key] = value
    rows = ask(
        "SELECT version, run_id, creation_time, source FROM model_versions "
        "WHERE name = :name AND current_stage <> :deleted",
        {**name, "deleted": _DELETED},
    )
    found = [
        _version(
            number=number,
            run_id=run_id,
            created=created,
            source=source,
            tags=tags.get(str(number), {}),
            aliases=aliases,
        )
        for number, run_id, created, source in rows
    ]
    model = ask("SELECT key, value FROM registered_model_tags WHERE name = :name", name)
    return Held(
        product=product,
        versions=_newest_first(found),
        trail=read_trail({key: value for key, value in model}),
    )


def _pages(client: Any, product: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_model_versions(f"name = '{product}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _version(
    *,
    number: Any,
    run_id: Any,
    created: int,
    source: Any,
    tags: Mapping[str, str],
    aliases: Mapping[str, str],
) -> Version:
    return Version(
        version=str(number),
        run_id=str(run_id),
        created=datetime.fromtimestamp(created / 1000, tz=UTC),
        source=str(source),
        tags=tags,
        aliases=tuple(sorted(name for name, held in aliases.items() if held == str(number))),
    )


def _newest_first(versions: list[Version]) -> list[Version]:
    return sorted(versions, key=lambda one: int(one.version), reverse=True)
