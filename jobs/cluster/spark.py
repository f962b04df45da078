"""Spark's own cluster: a master and workers, from the programs in pyspark's wheel."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from jobs.cluster.server import HOST, Server
from jobs.process import Part, free_port, start

SETTINGS = Path(__file__).resolve().parents[2] / "infra" / "spark" / "spark-defaults.conf"


@dataclass(kw_only=True)
class Spark(Server):
    """A master that remembers its applications when it is started again, and its workers."""

    workers: int = 2
    cores: int = 1
    """Cores of each worker."""
    memory: str = "1g"
    """Memory of each worker, for executors."""
    page: int = field(default_factory=lambda: free_port(HOST))
    """The port of the master's page."""

    @property
    def url(self) -> str:
        """What ``AUTOIFS_SPARK_MASTER`` is."""
        return f"spark://{HOST}:{self.port}"

    @property
    def settings(self) -> Path:
        """What ``SPARK_CONF_DIR`` is: the shipped settings, and a log of each application."""
        return self.folder / "conf"

    @property
    def events(self) -> Path:
        """Folder of the applications' logs, which Spark's history server shows."""
        return self.folder / "events"

    def start(self) -> None:
        """Start the master and all workers."""
        self._write_settings()
        self.start_master()
        for number in range(self.workers):
            self.start_worker(number)

    def start_master(self) -> Part:
        """Start the master; applications and workers of before find it again."""
        (self.folder / "recovery").mkdir(parents=True, exist_ok=True)
        words = ["--host", HOST, "--port", str(self.port), "--webui-port", str(self.page)]
        return self._daemon("master.Master", "master", words)

    def start_worker(self, number: int) -> Part:
        """Start one worker."""
        words = ["--host", HOST, "--cores", str(self.cores), "--memory", self.memory]
        words += ["--webui-port", str(free_port(HOST)), self.url]
        return self._daemon("worker.Worker", f"worker-{number}", words)

    def answers(self) -> bool:
        """Return whether every worker has reported to the master."""
        try:
            said = httpx.get(f"http://{HOST}:{self.page}/json/", trust_env=False, timeout=5).json()
        except (httpx.HTTPError, ValueError):
            return False
        alive = [worker for worker in said["workers"] if worker["state"] == "ALIVE"]
        return said["status"] == "ALIVE" and len(alive) >= self.workers

    def _write_settings(self) -> None:
        for folder in (self.events, self.settings):
            folder.mkdir(parents=True, exist_ok=True)
        chosen = {"enabled": "true", "dir": self.events.as_uri(), "compress": "false"}
        ours = [f"spark.eventLog.{name} {value}\n" for name, value in chosen.items()]
        shipped = SETTINGS.read_text(encoding="utf-8")
        text = "".join([shipped, "\n", *ours])
        (self.settings / SETTINGS.name).write_text(text, encoding="utf-8")

    def _daemon(self, kind: str, name: str, words: list[str]) -> Part:
        import pyspark

        home = Path(pyspark.__file__).parent
        recovery = "-Dspark.deploy.recoveryMode=FILESYSTEM"
        recovery += f" -Dspark.deploy.recoveryDirectory={self.folder / 'recovery'}"
        env = {
            **os.environ,
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": HOST,  # its pages too
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": f"-XX:+UseSerialGC {recovery}",
            # By default inside the installed package.
            "SPARK_WORKER_DIR": str(self.folder / name),
            "SPARK_LOCAL_DIRS": str(self.folder / name / "scratch"),
            "SPARK_LOG_DIR": str(self.folder),
        }
        program = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}"]
        log = self.folder / f"{name}.log"
        part = start(f"spark {name}", [*program, *words], env, log, lasting=self.lasting)
        self.parts.append(part)
        return part
