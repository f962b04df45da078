"""MLflow's registry as this product uses it: versions, two aliases, checked promotion and files."""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from features.errors import ArtifactError, MlflowError, PromotionBusyError, RegistryError
from training import decisions
from training.artifact_files import checksum
from training.database import Busy, Unreachable, Unreadable, file_of, is_database, reading
from training.locks import lock_of
from training.mlflow_store import Store, first_line, log_run, silent
from training.promotion import Decide, in_database, tag_in_database, under_lock
from training.trail import Event
from training.versions import CHALLENGER, CHAMPION, Held, Version, read, read_client

log = logging.getLogger(__name__)

DATABASE = "AUTOIFS_MLFLOW_DATABASE"
"""Environment variable: the database behind an MLflow server, for those who may promote."""


class Registry:
    """The versions of one product."""

    def __init__(self, uri: str, product: str, artifacts: Path) -> None:
        """Name the store; nothing is opened yet.

        Args:
            uri: MLflow's tracking and registry store.
            product: the registered model's and the experiment's name.
            artifacts: root of the files when the store is a SQLite file; a server has its own.
        """
        self.uri, self.product, self.artifacts = uri, product, artifacts
        self.store = Store(uri, product)

    def register(
        self,
        *,
        parts: Mapping[str, Path],
        params: Mapping[str, Any],
        metrics: Sequence[tuple[str, float, int]],
        tags: Mapping[str, str],
    ) -> Version:
        """Log a night as a run, make a version of it and give that the alias ``challenger``.

        Args:
            parts: ``challenger`` (and ``baseline``) → artifact folder.
            params: settings of the run.
            metrics: (name, value, step).
            tags: of the run and the version: what it was trained on.
        """
        with self._mlflow() as client:
            run = client.create_run(self._experiment(client), run_name=tags.get("ds"))
            run_id = run.info.run_id
            log_run(client, run_id, params, metrics, tags)
            for part, folder in parts.items():
                client.log_artifacts(run_id, str(folder), part)
            client.set_terminated(run_id, "FINISHED")
            if not client.search_registered_models(f"name = '{self.product}'"):
                client.create_registered_model(self.product)
            source = f"{run.info.artifact_uri}/{CHALLENGER}"
            made = client.create_model_version(self.product, source, run_id, tags=dict(tags))
        self.challenge(str(made.version))
        return self.get(str(made.version))

    def challenge(self, version: str) -> None:
        """Give ``version`` the alias ``challenger``."""
        with self._mlflow() as client:
            client.set_registered_model_alias(self.product, CHALLENGER, version)

    def list(self) -> Sequence[Version]:
        """Return every version, newest first."""
        return self.held().versions

    def get(self, version: str) -> Version:
        """Return one version, by number or by alias.

        Raises:
            UnknownVersionError: when there is none of that number or alias.
        """
        return self.held().get(version)

    def find(self, **tags: str) -> Version | None:
        """Return the newest version that has every given tag."""
        wanted = tags.items()
        return next((one for one in self.list() if wanted <= one.tags.items()), None)

    def champion(self) -> Version | None:
        """Return the version in use, if there is one."""
        return self.held().by_alias(CHAMPION)

    def challenger(self) -> Version | None:
        """Return the version on trial, if there is one."""
        return self.held().by_alias(CHALLENGER)

    def tag(self, version: str, **tags: str) -> None:
        """Set tags of a version, all or none where MLflow's database can be reached."""
        if self.database is not None:
            try:
                tag_in_database(self.database, self.product, version, tags)
            except (Unreachable, Busy) as error:
                raise silent(self.database, error, "; nothing was changed") from None
            except Unreadable as error:
                log.debug("tagging through MLflow instead of its database: %s", error)
            else:
                return
        with self._mlflow() as client:
            for key, value in tags.items():
                client.set_model_version_tag(self.product, version, key, value)

    def untag(self, version: str, key: str) -> None:
        """Take one tag from a version."""
        with self._mlflow() as client:
            client.delete_model_version_tag(self.product, version, key)

    def promote(
        self, version: str, expect: str | None = None, *, who: str, why: str = ""
    ) -> Event | None:
        """Make ``version`` the champion; None when it was already.

        Args:
            version: the new champion.
            expect: the champion the caller decided against, ``none`` for no champion; left out:
                whichever it is.
            who: on whose behalf.
            why: kept in the trail.

        Raises:
            UnknownVersionError: the version does not exist.
            ChampionChangedError: the champion is not the expected one; nothing changed.
            VersionInUseError: the version is being retired.
        """
        return self._change(lambda held: decisions.promote(held, version, expect, who, why))

    def approve(self, version: str, expect: str, *, who: str, why: str = "") -> Event | None:
        """Make ``version`` the champion as :meth:`promote` does, unless a person refused it.

        Raises:
            ApprovalError: it was refused.
        """
        return self._change(lambda held: decisions.approve(held, version, expect, who, why))

    def rollback(self, expect: str | None = None, *, who: str, why: str = "") -> Event:
        """Make the champion before the present one champion again.

        Args:
            expect: the champion the caller wants to go back from; left out: whichever it is.
            who: on whose behalf.
            why: kept in the trail.

        Raises:
            RegistryError: when no earlier champion is known.
            UnknownVersionError: when its version was deleted.
            ChampionChangedError: the champion is not the expected one; nothing changed.
        """
        done = self._change(lambda held: decisions.rollback(held, expect, who, why))
        assert done is not None  # noqa: S101 (a rollback is an event or is refused)
        return done

    def reject(self, version: str, *, who: str, why: str = "") -> None:
        """Write into the trail that a person refused ``version``.

        Raises:
            ApprovalError: it is champion already.
        """
        self._change(lambda held: decisions.reject(held, version, who, why))

    def retire(self, version: str, *, who: str, why: str = "") -> Version:
        """Delete a version that nothing needs, and its run; return what it was.

        A retirement that was cut off is ended by retiring the version again.

        Raises:
            UnknownVersionError: the version does not exist.
            VersionInUseError: it has an alias, is pinned, or is what a rollback goes back to.
        """
        gone = self.get(version)
        begun = self._change(lambda held: decisions.retire(held, gone.version, who, why))
        assert begun is not None  # noqa: S101 (a retirement is an event or is refused)
        with self._mlflow() as client:
            client.delete_run(gone.run_id)
            client.delete_model_version(self.product, gone.version)
            ended = replace(begun, state="done")
            client.set_registered_model_tag(self.product, ended.key, ended.value)
        return gone

    def _change(self, decide: Decide) -> Event | None:
        """Change the champion or the trail while nobody else does."""
        if self.database is not None and self._exists():
            try:
                return in_database(self.database, self.product, decide)
            except Unreachable as error:
                raise silent(self.database, error, "; nothing was changed") from None
            except Busy:
                raise PromotionBusyError(
                    f"another process is changing the champion of {self.product} and does not "
                    "come to an end; run again, and look for it when that does not help"
                ) from None
            except Unreadable as error:
                log.debug("changing through MLflow instead of its database: %s", error)
        with self._mlflow("; what became of it: autoifs models history") as client:
            return under_lock(client, lock_of(client, self.product), self.product, decide)

    def download(self, version: str, into: Path, part: str = CHALLENGER) -> Path:
        """Fetch a version's folder below ``into`` and check it against the version's checksum.

        Raises:
            ArtifactError: when a file is absent or not as it was registered.
        """
        wanted = self.get(version)
        into.mkdir(parents=True, exist_ok=True)
        folder = self._fetch(wanted, into, wanted.tags.get(f"part_{part}", part))
        said = wanted.tags.get("checksum" if part == CHALLENGER else f"checksum_{part}")
        name = f"{part} of {self.product} version {wanted.version}"
        if checksum(folder, name) != said:
            raise ArtifactError(
                f"{name} is not as it was registered; roll back (autoifs models rollback) or train "
                "again"
            )
        return folder

    def add_part(self, version: str, name: str, folder: Path, checksum: str) -> None:
        """Keep one more folder beside a version's models, and its checksum in the version's tags.

        Its place is named after the checksum, so that two who add it at once, or one who is killed
        in between, never leave files and a checksum that do not belong together.

        Args:
            version: whose run gets it.
            name: what :meth:`download` calls it.
            folder: a sealed folder.
            checksum: of the folder.
        """
        one, place = self.get(version), f"{name}-{checksum[:12]}"
        root = _root_on_this_machine(one.source)
        if root is not None:
            scratch = root / f".{place}.{os.getpid()}"
            shutil.copytree(folder, scratch)
            if (root / place).exists():
                shutil.rmtree(scratch)
            else:
                scratch.rename(root / place)
        else:
            with self._mlflow() as client:
                client.log_artifacts(one.run_id, str(folder), place)
        self.tag(version, **{f"part_{name}": place, f"checksum_{name}": checksum})

    def attach(self, version: str, path: Path, folder: str) -> str:
        """Keep a file beside a version, in a folder of its run; return where it lies then."""
        one = self.get(version)
        root = _root_on_this_machine(one.source)
        if root is not None:
            beside = root / folder
            beside.mkdir(parents=True, exist_ok=True)
            scratch = beside / f".{path.name}.{os.getpid()}"
            shutil.copyfile(path, scratch)
            scratch.replace(beside / path.name)
        else:
            with self._mlflow() as client:
                client.log_artifact(one.run_id, str(path), folder)
        return f"runs:/{one.run_id}/{folder}/{path.name}"

    def _fetch(self, version: Version, into: Path, part: str) -> Path:
        """Copy a part from where it lies when that is this machine, else let MLflow fetch it.

        Raises:
            ArtifactError: when it is gone.
        """
        near = _on_this_machine(version.source, part)
        if near is not None:
            shutil.rmtree(into / part, ignore_errors=True)
            return Path(shutil.copytree(near, into / part))
        try:
            with self._mlflow() as client:
                return Path(client.download_artifacts(version.run_id, part, str(into)))
        except MlflowError:
            raise
        except (OSError, RegistryError) as error:
            raise ArtifactError(
                f"the files of {self.product} version {version.version} are gone "
                f"({first_line(error)}); use another version (autoifs models list), or train "
                "again: autoifs train --retrain"
            ) from None

    @property
    def database(self) -> str | None:
        """Address of MLflow's database, when it can be asked without a server."""
        uri = os.environ.get(DATABASE) or self.uri
        return uri if is_database(uri) else None

    def held(self) -> Held:
        """Return all versions and the trail, as they are now."""
        if not self._exists():
            return Held(product=self.product)
        if self.database is not None:
            try:
                with reading(self.database) as ask:
                    return read(ask, self.product)
            except (Unreachable, Busy) as error:
                raise silent(self.database, error) from None
            except Unreadable as error:
                log.debug("asking MLflow instead of its database: %s", error)
        with self._mlflow() as client:
            return read_client(client, self.product)

    def _exists(self) -> bool:
        """Return whether there can be a version: a SQLite file is made by the first one."""
        file = file_of(self.database or "")
        return file is None or file.exists()

    def _mlflow(self, outcome: str = "") -> AbstractContextManager[Any]:
        """Give MLflow's client, its failures turned into one sentence."""
        return self.store.asking(outcome)

    def _experiment(self, client: Any) -> str:
        found = client.get_experiment_by_name(self.product)
        if found is not None:
            return str(found.experiment_id)
        root = None if file_of(self.uri) is None else str(self.artifacts / self.product)
        return str(client.create_experiment(self.product, artifact_location=root))


def _on_this_machine(source: str, part: str) -> Path | None:
    """Return where a part lies; None when that is not this machine."""
    root = _root_on_this_machine(source)
    return root / part if root is not None and (root / part).is_dir() else None


def _root_on_this_machine(source: str) -> Path | None:
    """Return the folder of all artifacts of a version's run, when it lies on this machine."""
    near = Path(source.removeprefix("file://"))
    return near.parent if near.is_absolute() and near.is_dir() else None
