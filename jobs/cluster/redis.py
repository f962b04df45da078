"""Redis: the queue between Airflow's scheduler and its Celery workers."""

import os
import socket
from dataclasses import dataclass, field

from jobs.airflow.settings import write_private
from jobs.cluster.login import Login, new_login
from jobs.cluster.programs import program
from jobs.cluster.server import HOST, Server


@dataclass(kw_only=True)
class Redis(Server):
    """A server on 127.0.0.1 that lets nobody in without a password."""

    login: Login = field(default_factory=lambda: new_login("default"))

    @property
    def url(self) -> str:
        """Address for Celery; it holds the password."""
        return f"redis://:{self.login.secret}@{HOST}:{self.port}/0"

    def start(self) -> None:
        """Start the server; what it held when it was stopped is there again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        chosen = {
            "bind": HOST,
            "port": self.port,
            "requirepass": self.login.secret,
            "dir": self.folder,
            # A task that was handed over must outlive a restart.
            "appendonly": "yes",
        }
        file = self.folder / "redis.conf"
        write_private(file, "".join(f"{name} {value}\n" for name, value in chosen.items()))
        self._run("redis", [str(program("redis-server", self.cache)), str(file)], os.environ)

    def answers(self) -> bool:
        """Return whether it lets us in (asked in its own protocol: no client is needed here)."""
        try:
            with socket.create_connection((HOST, self.port), timeout=2) as line:
                line.sendall(f"AUTH {self.login.secret}\r\nPING\r\n".encode())
                said = b""
                while b"\n" not in said or (said.startswith(b"+OK") and said.count(b"\n") < 2):
                    more = line.recv(64)
                    if not more:
                        return False
                    said += more
        except OSError:
            return False
        return said.startswith(b"+OK") and b"+PONG" in said
