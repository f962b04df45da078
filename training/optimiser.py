"""What moves the weights: Adam for the network, row-wise Adagrad for its tables."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.average import State
from training.checkpoint import below, under
from training.embeddings import tables_of
from training.model import Model
from training.ranks import Ranks
from training.settings import Settings
from training.sharded import ShardedTable

EPSILON = 1e-8


class RowWiseAdagrad(torch.optim.Optimizer):
    """Adagrad with one number a row: ``w_r ← w_r - η g_r / (√(Σ mean(g_r²)) + ε)``.

    Only rows with a gradient are read or written, so a step costs what its batch holds and not what
    the table does; rows without one do not decay. As in production recommenders (Mudigere et al.,
    "Software-Hardware Co-design for Fast and Scalable Training of DLRMs", ISCA 2022,
    https://arxiv.org/abs/2104.05158).
    """

    def __init__(
        self,
        tables: Iterable[Tensor],
        rate: float,
        before: Callable[[Tensor, Tensor], None] | None = None,
    ) -> None:
        """Start with no history.

        Args:
            tables: [R, d] each, whose gradients are sparse and coalesced.
            rate: η.
            before: told of a table and its rows that are about to change.
        """
        super().__init__(list(tables), {"lr": rate})
        self.before = before
        for group in self.param_groups:
            for table in group["params"]:
                self.state[table]["sum"] = table.new_zeros(len(table))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the rows that have a gradient."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._move(table, group["lr"])

    def _move(self, table: Tensor, rate: float) -> None:
        rows, gradient = table.grad._indices()[0], table.grad._values()  # type: ignore[union-attr]
        if self.before is not None:
            self.before(table, rows)
        total = self.state[table]["sum"]
        now = total.index_select(0, rows) + gradient.square().mean(1)
        total.index_copy_(0, rows, now)
        table.index_add_(0, rows, gradient * (-rate / (now.sqrt() + EPSILON))[:, None])


@dataclass(frozen=True)
class Trained:
    """The parameters of a model that now learn, by what moves them."""

    weights: list[Tensor]
    tables: list[Tensor]
    """Of embeddings, where those have a sparse optimiser of their own."""
    gates: list[Tensor]
    """Gates that are hard and parameters learned from held-out rows belong to none of the three."""
    sharded: frozenset[int] = frozenset()
    """Ids of the tables of which this rank has a part."""

    @classmethod
    def of(cls, model: Model, settings: Settings) -> "Trained":
        """Sort the parameters of ``model``; its tables get gradients of the kind they need."""
        gates = model.gate_parameters()
        apart = {id(one) for one in (*gates, *model.held_out())}
        sparse = settings.embeddings.optimiser == "adagrad"
        for table in tables_of(model):
            table.sparse = sparse
            # Torch would pick the rows of padding out of every gradient; one row is left out later.
            table.padding_idx = None if sparse else 0
        held = {id(table.weight) for table in tables_of(model)} if sparse else set()
        rest = [one for one in model.parameters() if id(one) not in apart]
        parts = [one for one in tables_of(model) if isinstance(one, ShardedTable)]
        return cls(
            sharded=frozenset(id(one.weight) for one in parts),
            weights=[one for one in rest if id(one) not in held],
            tables=[one for one in rest if id(one) in held],
            gates=[gate for gate in gates if gate.requires_grad],
        )


class Optimiser:
    """Every optimiser of one stage of a training, with the scaler that half precision needs."""

    def __init__(
        self,
        trained: Trained,
        others: Iterable[Tensor],
        settings: Settings,
        gate_rate: float,
        before: Callable[[Tensor, Tensor], None] | None = None,
    ) -> None:
        """Build them with no history.

        Args:
            trained: what they move.
            others: parameters that are no part of the model, such as the losses' weights.
            settings: learning rates.
            gate_rate: learning rate of the gates.
            before: told of a table and its rows that are about to change.
        """
        self.settings = settings
        groups = [{"params": [*trained.weights, *others], "lr": settings.learning_rate}]
        if trained.gates:
            groups.append({"params": trained.gates, "lr": gate_rate})
        self.each: dict[str, torch.optim.Optimizer] = {
            "network": torch.optim.Adam(groups, fused=True)
        }
        self.tables, self.sharded = trained.tables, trained.sharded
        if self.tables:
            rate = settings.embeddings.learning_rate
            self.each["tables"] = RowWiseAdagrad(self.tables, rate, before)
        self.scaler = torch.amp.GradScaler(
            settings.device.type, enabled=settings.precision == "float16"
        )

    @property
    def rate(self) -> float:
        """Learning rate of the network's weights."""
        return float(self.each["network"].param_groups[0]["lr"])

    def set_rate(self, share: float) -> None:
        """Let weights and tables learn at ``share`` of the settings' rates; gates keep theirs."""
        self.each["network"].param_groups[0]["lr"] = share * self.settings.learning_rate
        if self.tables:
            own = share * self.settings.embeddings.learning_rate
            self.each["tables"].param_groups[0]["lr"] = own

    def step(self, loss: Tensor, ranks: Ranks) -> None:
        """Move everything down the gradient of ``loss``, averaged over the ranks."""
        for optimiser in self.each.values():
            optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        for table in self.tables:
            if table.grad is not None:
                sharded = id(table) in self.sharded
                table.grad = _own(table.grad) if sharded else _merged(table.grad, ranks)
        for optimiser in self.each.values():
            self.scaler.step(optimiser)
        self.scaler.update()

    def state(self) -> State:
        """Return what :meth:`load` needs to go on from here."""
        said = {key: torch.tensor(one) for key, one in self.scaler.state_dict().items()}
        found = under("scaler", said)
        for name, optimiser in self.each.items():
            found |= under(name, state_of(optimiser))
        return found

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        for name, optimiser in self.each.items():
            load_into(optimiser, below(name, state))
        said = {key: one.item() for key, one in below("scaler", state).items()}
        self.scaler.load_state_dict(said)


def state_of(optimiser: torch.optim.Optimizer) -> State:
    """Return what an optimiser remembers of each parameter."""
    return {
        f"{place}.{key}": value
        for place, parameter in enumerate(_parameters(optimiser))
        for key, value in optimiser.state.get(parameter, {}).items()
    }


def load_into(optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Let an optimiser remember what :func:`state_of` returned."""
    for place, parameter in enumerate(_parameters(optimiser)):
        held = below(str(place), state)
        optimiser.state[parameter] = {key: one.clone() for key, one in held.items()}


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [one for group in optimiser.param_groups for one in group["params"]]


def _merged(gradient: Tensor, ranks: Ranks) -> Tensor:
    """Return a sparse gradient with each row once but padding's, averaged over the ranks.

    A sort of the row numbers and one pass over the values; twice as fast as ``coalesce``.
    """
    rows, values = _distinct(gradient._indices()[0], gradient._values())
    if not ranks.alone:
        rows, values = _distinct(torch.cat(ranks.gather(rows)), torch.cat(ranks.gather(values)))
        values = values / ranks.count
    padding = int(len(rows) > 0 and rows[0] == 0)
    return _sparse(rows[padding:], values[padding:], gradient)


def _own(gradient: Tensor) -> Tensor:
    """Return a sparse gradient of this rank's part of a table with each row once."""
    return _sparse(*_distinct(gradient._indices()[0], gradient._values()), gradient)


def _sparse(rows: Tensor, values: Tensor, like: Tensor) -> Tensor:
    return torch.sparse_coo_tensor(
        rows[None], values, like.shape, is_coalesced=True, check_invariants=False
    )


def _distinct(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return each of ``rows`` [n] once, ascending, and the sum of its ``values`` [n, d]."""
    once, place = torch.unique(rows, return_inverse=True)
    return once, values.new_zeros(len(once), values.shape[1]).index_add_(0, place, values)
