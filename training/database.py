"""MLflow's own database, when it can be reached: read in a blink, changed in one transaction.

Importing MLflow takes six seconds and every job is a process of its own, so jobs that only look
read the tables themselves. A change of the champion writes them too: one transaction is either
there as a whole or not at all, also for a process killed in the middle of it.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from features.errors import RegistryError

Ask = Callable[[str, Mapping[str, Any]], Sequence[Any]]
"""Runs one statement with named parameters (``:name``) and returns its rows."""

PATIENCE = 30
"""Seconds to wait for another process's transaction; a transaction of ours takes milliseconds."""
_DENIED = "42501"
"""PostgreSQL's code for a right that is missing."""
ABANDONED = 60
"""Seconds after which PostgreSQL ends a transaction whose client fell silent in the middle."""


class Unreadable(Exception):
    """The tables are not as this release knows them: MLflow itself must be asked."""


class Unreachable(Exception):
    """The database does not answer."""


class Busy(Exception):
    """Another process has held what this one waited for, for ``PATIENCE`` seconds."""


def is_database(uri: str) -> bool:
    """Return whether ``uri`` is a database whose tables this module reads and writes."""
    return uri.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg2://"))


def file_of(uri: str) -> Path | None:
    """Return the SQLite file, when the database is one."""
    scheme, _, path = uri.partition(":///")
    return Path(path) if scheme == "sqlite" else None


@contextmanager
def reading(uri: str) -> Iterator[Ask]:
    """Yield what asks the database, which looks the same to all questions; nothing is changed.

    Raises:
        Unreadable, Unreachable, Busy: see there.
    """
    file = file_of(uri)
    if file is None:
        with _postgresql(uri) as ask:
            ask("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", {})
            yield ask
        return
    with _sqlite(file, "ro") as ask:
        ask("BEGIN", {})
        yield ask


@contextmanager
def changing(uri: str) -> Iterator[Ask]:
    """Yield what asks within one transaction: kept at the end of the block, undone by an error.

    Raises:
        Unreadable, Unreachable, Busy: see there; nothing was changed.
        RegistryError: this role may not do it.
    """
    file = file_of(uri)
    if file is None:
        with _postgresql(uri) as ask:
            ask(f"SET LOCAL lock_timeout = '{PATIENCE}s'", {})
            ask(f"SET LOCAL idle_in_transaction_session_timeout = '{ABANDONED}s'", {})
            yield ask
        return
    with _sqlite(file, "rw") as ask:
        ask("BEGIN IMMEDIATE", {})
        yield ask
        ask("COMMIT", {})


@contextmanager
def _sqlite(file: Path, mode: str) -> Iterator[Ask]:
    """Open a file; one that is closed without ``COMMIT`` is as it was before."""
    try:
        uri = f"{file.absolute().as_uri()}?mode={mode}"
        opened = sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)
        with closing(opened) as connection:
            yield lambda statement, values: connection.execute(statement, values).fetchall()
    except sqlite3.OperationalError as error:
        said = str(error)
        kind = Unreadable if said.startswith("no such") else Unreachable
        raise (Busy if "locked" in said else kind)(said) from None
    except sqlite3.Error as error:
        raise Unreadable(str(error)) from None


@contextmanager
def _postgresql(uri: str) -> Iterator[Ask]:
    from sqlalchemy import text
    from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

    try:
        with _engine(uri).begin() as connection:

            def ask(statement: str, values: Mapping[str, Any]) -> Sequence[Any]:
                found = connection.execute(text(statement), dict(values))
                return found.fetchall() if found.returns_rows else []

            yield ask
    except SQLAlchemyError as error:
        # The driver's own words; SQLAlchemy's add the statement and its values.
        cause = getattr(error, "orig", None) or error
        said = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        if getattr(cause, "pgcode", None) == _DENIED:
            raise RegistryError(
                f"MLflow's database refuses it ({said}); give the role of this run the right, or "
                "let another role run it"
            ) from None
        kind = Unreadable if isinstance(error, ProgrammingError) else Unreachable
        raise (Busy if "lock timeout" in said else kind)(said) from None


@lru_cache(maxsize=4)
def _engine(uri: str) -> Any:
    from sqlalchemy import create_engine

    waiting = {"connect_timeout": PATIENCE, "application_name": "autoifs"}
    return create_engine(uri, pool_pre_ping=True, pool_size=1, connect_args=waiting)
