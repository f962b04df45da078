"""What a process that measures is told."""

import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Request:
    """One measurement."""

    work: str
    """An engine (``autoifs``, ``duckdb``, ``polars``), ``cluster`` or ``nights``."""
    raw: Path
    """Folder of the simulation."""
    out: Path
    """Takes what is written."""
    cache: Path
    """Holds Delta's jars."""
    days: tuple[date, ...]
    """Of an engine or a cluster: earlier days, untimed, and the day that is timed; of ``nights``:
    the first day of the history, the early night and the late one."""
    cores: int
    repeats: int
    audits: int = 0
    """How often the audit of the day is timed, beside one aggregate pass."""

    @classmethod
    def of(cls, text: str) -> "Request":
        """Return the request that ``text`` was made of."""
        said = json.loads(text)
        places = {name: Path(said[name]) for name in ("raw", "out", "cache")}
        days = tuple(date.fromisoformat(day) for day in said["days"])
        return cls(**{**said, **places, "days": days})

    def text(self) -> str:
        """Return the request as JSON."""
        return json.dumps(asdict(self), default=str)
