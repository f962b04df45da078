"""Where everything this product writes lies: one folder that can be deleted to start over."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from features.errors import UserError
from features.lake import ADDRESS, Lake
from features.spec import Spec


@dataclass(frozen=True)
class Home:
    """The folders below ``AUTOIFS_HOME`` and the cache of tools and jars beside them."""

    root: Path
    """Holds all state; default ``.autoifs`` in the checkout."""
    cache: Path
    """Holds what can be fetched again: Delta's jars and the environment."""

    @property
    def lake_root(self) -> str:
        """Where the tables of all products lie: ``AUTOIFS_LAKE``, or a folder of this home."""
        return os.environ.get(ADDRESS) or str(self.root / "lake")

    @property
    def airflow(self) -> Path:
        """Airflow's home: its database, logs and passwords."""
        return self.root / "airflow"

    @property
    def mlflow_uri(self) -> str:
        """Address of MLflow's store: ``MLFLOW_TRACKING_URI``, or a SQLite file of this home."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.mlflow / 'mlflow.db'}"

    @property
    def mlflow(self) -> Path:
        """Folder of MLflow's database and artifacts."""
        return self.root / "mlflow"

    @property
    def mlflow_artifacts(self) -> Path:
        """Folder of the registered models' files."""
        return self.mlflow / "artifacts"

    @property
    def tmp(self) -> Path:
        """Scratch space of Spark and downloads."""
        return self.root / "tmp"

    def lake(self, product: str) -> Lake:
        """Return the tables of a product."""
        return Lake(self.lake_root, product)

    def raw(self, product: str) -> Path:
        """Return where a product's raw logs are looked for unless ``--source`` says otherwise."""
        return self.root / "raw" / product

    def reports(self, product: str) -> Path:
        """Return the folder of a product's nightly reports."""
        return self.root / "reports" / product

    def docs(self, product: str) -> Path:
        """Return the folder of a product's Great Expectations Data Docs."""
        return self.root / "docs" / product

    def work(self, product: str, day: date) -> Path:
        """Return the folder in which one night's training leaves its files."""
        return self.root / "work" / product / day.isoformat()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder that is gone after the block."""
        self.tmp.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.tmp) as folder:
            yield Path(folder)

    def source(self, spec: Spec, given: Path | None) -> Path:
        """Return the folder of the raw data: as given, else this home's own."""
        return given if given is not None else self.raw(spec.product)


def open_home(root: Path | None = None) -> Home:
    """Return the home at ``root``, at ``AUTOIFS_HOME`` or in the checkout, made if needed.

    Raises:
        UserError: when the folder can't be written to.
    """
    folder = root or Path(os.environ.get("AUTOIFS_HOME") or _checkout() / ".autoifs")
    folder = folder.expanduser().resolve()
    cache = Path(os.environ.get("AUTOIFS_CACHE") or folder / "cache").expanduser().resolve()
    _make_writable(folder)
    return Home(root=folder, cache=cache)


def _checkout() -> Path:
    return Path(__file__).resolve().parents[1]


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"can't write to {folder} ({error.strerror}); "
            "make it writable, or name another folder with --home or AUTOIFS_HOME"
        ) from None
