"""The processes that train one model together, as torchrun starts them; one alone needs nothing."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

LIFE = "TORCHELASTIC_RESTART_COUNT"
"""Variable with how often torchrun has started the ranks anew."""
TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others before it gives up, and torchrun starts all of them anew."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that train together; every method does nothing where it is alone."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes, prints and answers for all."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    def share(self, rows: Tensor) -> Tensor:
        """Return this rank's run of ``rows`` [n]; the runs differ by one row at most."""
        return rows if self.alone else rows.tensor_split(self.count)[self.rank]

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of ``values`` over all ranks (in place)."""
        if not self.alone:
            dist.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> list[Tensor]:
        """Return what each rank gave, whose first dimension may differ."""
        if self.alone:
            return [values]
        lengths = [values.new_zeros(1, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(lengths, values.new_tensor([len(values)], dtype=torch.int64))
        longest = max(int(one) for one in lengths)
        padded = values.new_zeros(longest, *values.shape[1:])
        padded[: len(values)] = values
        found = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(found, padded)
        return [one[: int(length)] for one, length in zip(found, lengths, strict=True)]

    def from_first(self, values: Tensor) -> Tensor:
        """Return what the first rank gave; the others give something of its shape."""
        if self.alone:
            return values
        held = values.to(message_device(), copy=True).contiguous()
        dist.broadcast(held, 0)
        return held.to(values.device)

    def told(self, words: dict[str, Any] | None) -> dict[str, Any]:
        """Return what the first rank says, as JSON can; the others give None."""
        if self.alone:
            return words or {}
        text = json.dumps(words).encode() if self.first else b""
        length = int(self.from_first(torch.tensor([len(text)])))
        padded = torch.tensor(list(text or bytes(length)))
        said: dict[str, Any] = json.loads(bytes(self.from_first(padded).tolist()))
        return said

    def wait(self) -> None:
        """Return when every rank has come here."""
        if not self.alone:
            dist.barrier()


ALONE = Ranks()


def started() -> Ranks:
    """Return the ranks that torchrun's environment names, before any has met the others."""
    return Ranks(
        rank=int(os.environ.get("RANK", "0")), count=int(os.environ.get("WORLD_SIZE", "1"))
    )


def local_device(device: torch.device) -> torch.device:
    """Return this rank's own GPU, where ranks train on GPUs."""
    if device.type != "cuda":
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Meet the other ranks: by NCCL between GPUs, by gloo between CPUs."""
    ranks = started()
    if ranks.alone:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, count = next(rendezvous("env://", timeout=TIMEOUT))
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        # Torchrun keeps one store over restarts, where addresses of ranks that died still stand.
        store=PrefixStore(f"life {os.environ.get(LIFE, '0')}", store),
        rank=rank,
        world_size=count,
        timeout=TIMEOUT,
    )
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


def message_device() -> torch.device:
    """Return where messages between ranks must lie: NCCL carries none from a CPU."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
