"""PostgreSQL: one server, a database for each who keeps something there."""

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from features.errors import ServiceError
from jobs.cluster.login import Login, new_login
from jobs.cluster.programs import program
from jobs.cluster.server import HOST, Server, tried
from jobs.process import last_line, start

USER = "postgres"
"""Whom the server runs as when we are root, whom it refuses."""


@dataclass(kw_only=True)
class Postgres(Server):
    """A server on 127.0.0.1 that lets nobody in without a password."""

    login: Login = field(default_factory=lambda: new_login("autoifs"))
    """Who may do everything."""
    settings: dict[str, str] = field(default_factory=dict)
    """More settings of ``postgresql.conf``."""

    @property
    def data(self) -> Path:
        """The server's own folder."""
        return self.folder / "data"

    def start(self) -> None:
        """Start the server; its data are made at the first start.

        Raises:
            ServiceError: when they can't be made.
        """
        self._make_folder()
        if not (self.data / "PG_VERSION").exists():
            self._make_data()
        chosen = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            **self.settings,
        }
        words = [str(program("postgres", self.cache)), "-D", str(self.data)]
        words += [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        self._run("postgres", words, os.environ, USER)

    def answers(self) -> bool:
        """Return whether it lets us in."""
        import psycopg2

        return tried(lambda: self.ask("SELECT 1"), psycopg2.OperationalError)

    def url(self, database: str, login: Login | None = None) -> str:
        """Return the address by which SQLAlchemy finds a database; it holds the password."""
        who = login or self.login
        entry = f"{quote(who.user)}:{quote(who.secret)}"
        return f"postgresql+psycopg2://{entry}@{HOST}:{self.port}/{database}"

    def variables(self, login: Login) -> dict[str, str]:
        """Return what libpq reads: an address then need not name the server nor the password."""
        return {
            "PGHOST": HOST,
            "PGPORT": str(self.port),
            "PGUSER": login.user,
            "PGPASSWORD": login.secret,
        }

    def ask(
        self, statement: str, database: str = "postgres", login: Login | None = None
    ) -> list[tuple[Any, ...]]:
        """Run statements in a transaction of their own; return the last one's rows.

        Raises:
            psycopg2.Error: when the server refuses.
        """
        import psycopg2

        who = login or self.login
        connection = psycopg2.connect(
            host=HOST, port=self.port, user=who.user, password=who.secret, dbname=database
        )
        connection.autocommit = True  # CREATE DATABASE wants no transaction around it
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def make_database(self, name: str, owner: str | None = None) -> None:
        """Create a database, unless there is one; nobody but its owner may enter it unasked."""
        if not self.ask(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):  # noqa: S608
            self.ask(f'CREATE DATABASE "{name}" OWNER "{owner or self.login.user}"')
            self.ask(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')

    def make_user(self, login: Login) -> None:
        """Create a user, unless there is one."""
        if not self.ask(f"SELECT 1 FROM pg_roles WHERE rolname = '{login.user}'"):  # noqa: S608
            self.ask(f"CREATE ROLE \"{login.user}\" LOGIN PASSWORD '{login.secret}'")

    def _make_folder(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            import pwd

            owner = pwd.getpwnam(USER)
            os.chown(self.data, owner.pw_uid, owner.pw_gid)

    def _make_data(self) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.folder) as password:
            password.write(self.login.secret)
            password.flush()
            words = [str(program("initdb", self.cache)), "-D", str(self.data)]
            words += ["-U", self.login.user, "--pwfile", password.name]
            words += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
            log = self.folder / "initdb.log"
            part = start("initdb", words, os.environ, log, user=USER)
            if part.process.wait() != 0:
                raise ServiceError(f"PostgreSQL's data can't be made ({last_line(log)}); see {log}")
