"""Tables of embeddings that no rank holds whole: each has a run of the rows.

A rank's batch asks all ranks for its tokens and gets the sum of what each knows, which is the row
itself; gradients go the other way, so that every rank moves its own rows only, by an optimiser
whose state is parted alike. Checkpoints describe the parts as ``torch.distributed.tensor`` does, so
that another number of ranks can read them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import FunctionCtx
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from training.average import State
from training.embeddings import embeddings_of, tables_of
from training.ranks import Ranks, message_device

PARTED = ("optimiser.tables.", "average.means.", "average.seen.")
"""What a checkpoint calls what is kept for each row of a table."""


class ShardedTable(nn.Embedding):
    """This rank's rows of a table; asked for any row by all ranks at once."""

    def __init__(self, whole: nn.Embedding, ranks: Ranks) -> None:
        """Keep this rank's run of ``whole``'s rows."""
        self.rows, self.ranks = len(whole.weight), ranks
        mine = run(self.rows, ranks)
        self.first = mine.start
        part = whole.weight.detach()[mine].clone()
        super().__init__(part.shape[0], part.shape[1], _weight=part, sparse=True)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the vectors [n, w, d] of rows [n, w]; every rank must ask, if for none."""
        found: Tensor = _Asked.apply(self.weight, rows, self)  # type: ignore[no-untyped-call]
        return found


class _Asked(torch.autograd.Function):
    """Vectors of rows wherever they lie, and their gradients back to where they lie."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, rows: Tensor, table: ShardedTable) -> Tensor:
        asked = table.ranks.gather(rows)
        every = torch.cat(asked)
        local = every - table.first
        # Row 0 is what bags are padded with: zeros, never trained.
        mine = (local >= 0) & (local < len(weight)) & (every > 0)
        found = weight.new_zeros(*every.shape, weight.shape[1])
        found[mine] = weight[local[mine]]
        dist.all_reduce(found)
        before = sum(len(one) for one in asked[: table.ranks.rank])
        context: Any = ctx
        context.table, context.rows, context.mine = table, local[mine], mine
        return found[before : before + len(rows)]

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        context: Any = ctx
        table: ShardedTable = context.table
        every = torch.cat(table.ranks.gather(gradients[0].contiguous()))
        # The mean over the ranks, as DDP makes it of all other gradients.
        values = every[context.mine] / table.ranks.count
        found = torch.sparse_coo_tensor(
            context.rows[None], values, table.weight.shape, check_invariants=False
        )
        return found, None, None


def run(rows: int, ranks: Ranks) -> slice:
    """Return which of ``rows`` are this rank's, as torch parts a tensor."""
    each = -(-rows // ranks.count)
    return slice(min(ranks.rank * each, rows), min((ranks.rank + 1) * each, rows))


def shard(model: nn.Module, ranks: Ranks) -> None:
    """Let each rank keep its part of every table (in place)."""
    for part in embeddings_of(model):
        for place, table in enumerate(part.tables):
            if isinstance(table, nn.Embedding) and not isinstance(table, ShardedTable):
                part.tables[place] = ShardedTable(table, ranks)


def join(model: nn.Module) -> None:
    """Give every rank the whole of every table again (in place)."""
    for part in embeddings_of(model):
        for place, table in enumerate(part.tables):
            if isinstance(table, ShardedTable):
                weight = torch.cat(table.ranks.gather(table.weight.detach()))
                rows, dim = weight.shape
                part.tables[place] = nn.Embedding(
                    rows, dim, _weight=weight, padding_idx=0, sparse=True
                )


def is_sharded(model: nn.Module) -> bool:
    """Return whether no rank holds the model whole."""
    return any(isinstance(part, ShardedTable) for part in model.modules())


def parted(names: Iterable[str], model: nn.Module) -> set[str]:
    """Return which of a checkpoint's names are of rows of tables."""
    held = {id(table) for table in tables_of(model)}
    tables = tuple(f"{name}.weight" for name, one in model.named_modules() if id(one) in held)
    return {name for name in names if name.startswith(PARTED) or name.endswith(tables)}


def as_parts(tensors: State, names: set[str], ranks: Ranks) -> Mapping[str, Tensor]:
    """Return what a checkpoint holds, those of ``names`` as parts of what all ranks hold."""
    if ranks.alone:
        return tensors
    mesh = init_device_mesh(message_device().type, (ranks.count,))
    found: dict[str, Tensor] = {}
    for name, one in sorted(tensors.items()):
        if name not in names:
            found[name] = one.detach()
            continue
        length = torch.tensor([len(one)], device=one.device)
        whole = (int(ranks.sum(length)), *one.shape[1:])
        stride = torch.empty(whole, device="meta").stride()
        found[name] = DTensor.from_local(
            one.detach(), mesh, [Shard(0)], run_check=False, shape=torch.Size(whole), stride=stride
        )
    return found
