"""MLflow's registry as this product uses it: versions, two aliases, checked promotion and files."""

import builtins
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from features.errors import RegistryError
from training.artifact_files import checksum
from training.versions import HISTORY, Held, Version, read_client, read_file

log = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


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
        self._client: Any = None

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
            _log(client, run_id, params, metrics, tags)
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
        return self._held().versions

    def get(self, version: str) -> Version:
        """Return one version.

        Raises:
            RegistryError: when there is none of that number.
        """
        versions = self.list()
        for one in versions:
            if one.version == str(version):
                return one
        held = ", ".join(one.version for one in versions) or "none"
        raise RegistryError(
            f"{self.product} has no model version {version}; registered: {held} "
            "(autoifs models list)"
        )

    def find(self, **tags: str) -> Version | None:
        """Return the newest version that has every given tag."""
        wanted = tags.items()
        return next((one for one in self.list() if wanted <= one.tags.items()), None)

    def champion(self) -> Version | None:
        """Return the version in use, if there is one."""
        return self._by_alias(CHAMPION)

    def challenger(self) -> Version | None:
        """Return the version on trial, if there is one."""
        return self._by_alias(CHALLENGER)

    def history(self) -> tuple[str, ...]:
        """Return the versions that were champion before, oldest first."""
        return self._held().history

    def tag(self, version: str, key: str, value: str) -> None:
        """Set one tag of a version."""
        with self._mlflow() as client:
            client.set_model_version_tag(self.product, version, key, value)

    def promote(self, version: str, expect: str | None = None) -> Version | None:
        """Make ``version`` the champion and remember the one before.

        Args:
            version: the new champion.
            expect: the champion the caller decided against, ``none`` for no champion; left out:
                whichever it is.

        Returns:
            The champion before, or None.

        Raises:
            RegistryError: the version does not exist, the champion is not the expected one, or
                another process promoted at the same time.
        """
        self.get(version)
        before = self.champion()
        now = "none" if before is None else before.version
        if expect is not None and now != str(expect):
            raise RegistryError(
                f"the champion of {self.product} is version {now} and not {expect}: it changed "
                "since; evaluate against it and decide again"
            )
        if now == str(version):
            return before
        self._crown(version)
        if before is not None:
            self._remember([*self.history(), before.version])
        return before

    def rollback(self) -> tuple[Version, Version | None]:
        """Give the alias back to the champion before; return (champion now, champion until now).

        Raises:
            RegistryError: when no earlier champion is known or its version was deleted.
        """
        earlier = self.history()
        if not earlier:
            raise RegistryError(
                f"{self.product} has no earlier champion to roll back to; "
                "promote a version by number: autoifs models promote"
            )
        until_now, back = self.champion(), self.get(earlier[-1])
        self._crown(back.version)
        self._remember(earlier[:-1])
        return self.get(back.version), until_now

    def download(self, version: str, into: Path, part: str = CHALLENGER) -> Path:
        """Fetch a version's folder below ``into`` and check it against the version's checksum.

        Raises:
            RegistryError: when a file is absent or not as it was registered.
        """
        wanted = self.get(version)
        into.mkdir(parents=True, exist_ok=True)
        folder = self._fetch(wanted, into, part)
        said = wanted.tags.get("checksum" if part == CHALLENGER else f"checksum_{part}")
        if checksum(folder) != said:
            raise RegistryError(
                f"{part} of {self.product} version {version} is not as it was registered; "
                "roll back (autoifs models rollback) or train again"
            )
        return folder

    def _fetch(self, version: Version, into: Path, part: str) -> Path:
        """Copy a part from where it lies when that is this machine, else let MLflow fetch it."""
        near = _on_this_machine(version.source, part)
        if near is not None:
            shutil.rmtree(into / part, ignore_errors=True)
            return Path(shutil.copytree(near, into / part))
        with self._mlflow() as client:
            return Path(client.download_artifacts(version.run_id, part, str(into)))

    def _held(self) -> Held:
        path = self._file()
        held = None if path is None else read_file(path, self.product)
        if held is None:
            with self._mlflow() as client:
                held = read_client(client, self.product)
        return held

    def _file(self) -> Path | None:
        """Return the SQLite file, when the store is one."""
        scheme, _, path = self.uri.partition(":///")
        return Path(path) if scheme == "sqlite" else None

    @contextmanager
    def _mlflow(self) -> Iterator[Any]:
        """Yield MLflow's client and turn its failures into one sentence."""
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield self._opened()
        except (MlflowException, SQLAlchemyError) as error:
            raise RegistryError(
                f"MLflow at {_without_password(self.uri)} answered: {str(error).splitlines()[0]}; "
                "check MLFLOW_TRACKING_URI and that the store can be reached"
            ) from error

    def _opened(self) -> Any:
        if self._client is None:
            started = time.perf_counter()
            from mlflow.tracking import MlflowClient

            for noisy in ("mlflow", "mlflow.store.db.utils", "alembic"):
                logging.getLogger(noisy).setLevel(logging.WARNING)
            path = self._file()
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._client = MlflowClient(self.uri, self.uri)
            log.debug("opened MLflow in %.1f s", time.perf_counter() - started)
        return self._client

    def _experiment(self, client: Any) -> str:
        found = client.get_experiment_by_name(self.product)
        if found is not None:
            return str(found.experiment_id)
        root = None if self._file() is None else str(self.artifacts / self.product)
        return str(client.create_experiment(self.product, artifact_location=root))

    def _by_alias(self, alias: str) -> Version | None:
        return next((one for one in self.list() if alias in one.aliases), None)

    def _crown(self, version: str) -> None:
        """Set the alias, and read it back: MLflow lets the last writer win without a word."""
        with self._mlflow() as client:
            client.set_registered_model_alias(self.product, CHAMPION, str(version))
        now = self.champion()
        if now is None or now.version != str(version):
            other = "none" if now is None else f"version {now.version}"
            raise RegistryError(
                f"version {version} of {self.product} was made champion and another process made "
                f"it {other} at the same time; look (autoifs models list) and decide"
            )

    def _remember(self, versions: Sequence[str]) -> None:
        with self._mlflow() as client:
            said = json.dumps(builtins.list(versions))
            client.set_registered_model_tag(self.product, HISTORY, said)


def _log(
    client: Any,
    run_id: str,
    params: Mapping[str, Any],
    metrics: Sequence[tuple[str, float, int]],
    tags: Mapping[str, str],
) -> None:
    """Log within what one MLflow request takes: 1000 metrics, 100 parameters, 100 tags."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, step) for name, value, step in metrics][:1000],
        params=[Param(name, str(value)) for name, value in params.items()][:100],
        tags=[RunTag(name, str(value)) for name, value in tags.items()][:100],
    )


def _on_this_machine(source: str, part: str) -> Path | None:
    """Return where a part lies beside the challenger's ``source``; None when that is elsewhere."""
    near = Path(source.removeprefix("file://")).with_name(part)
    return near if near.is_absolute() and near.is_dir() else None


def _without_password(uri: str) -> str:
    """Return ``uri`` without what stands before an @."""
    scheme, mark, rest = uri.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
