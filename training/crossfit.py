"""Strengths that are learned where the weights did not learn: cross-fitting.

On the rows that weights are fitted to, a flow that remembers looks as useful as one that
generalises; on others it does not. So the rows are parted into folds, the network's branches are
there once for each fold and learn from the other folds, and the strengths, which all share, learn
from every row through the branches that never saw it. (Cross-fitting of nuisance functions:
Chernozhukov et al. 2018, https://arxiv.org/abs/1608.00060.)
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from training.autoifs import AutoIFS
from training.gates import Coefficients
from training.losses import masked_loss
from training.model import Model
from training.prepare import Inputs

FOLDS = 4


class CrossFit(Model):
    """An AutoIFS whose branches are there once for each fold; trunk and strengths are shared.

    The trunk, which all flows come from and which is the dearer part, learns from all rows.
    """

    def __init__(self, model: AutoIFS, folds: int = FOLDS) -> None:
        """Start every fold with the weights of ``model``, which is trained as one of them."""
        super().__init__(model.architecture)
        self.base = model
        left_out = (model.embeddings, model.trunk, model.gates)
        self.copies = nn.ModuleList(
            copy.deepcopy(model, {id(one): nn.Identity() for one in left_out})
            for _ in range(folds - 1)
        )

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the mean of the folds' logits, [n, M]."""
        keep = self.strengths.strength[inputs.scenario]
        said = [base + (keep * flows).sum(2) for base, flows in self._branches(inputs)]
        return torch.stack(said).mean(0)

    def loss(self, inputs: Inputs, labels: Tensor, weights: Tensor) -> Tensor:
        """Return the loss of the weights on the folds they learn from, and of the strengths.

        A row counts once for the strengths, and once for the weights, in parts over the folds.
        """
        fold, others = fold_of(inputs, len(self.copies) + 1), len(self.copies)
        keep = self.strengths.strength[inputs.scenario]
        losses = []
        for place, (base, flows) in enumerate(self._branches(inputs)):
            apart = (fold == place)[:, None]
            judged = base.detach() + (keep * flows.detach()).sum(2)
            learned = base + (keep.detach() * flows).sum(2)
            counts = torch.where(apart, 1.0, 1.0 / others)
            losses.append(
                masked_loss(torch.where(apart, judged, learned), labels, weights * counts)
            )
        return torch.stack(losses).sum()

    def gate_parameters(self) -> list[nn.Parameter]:
        """Return the strengths."""
        return list(self.strengths.parameters())

    @property
    def strengths(self) -> Coefficients:
        """The strengths that all folds share."""
        return cast(Coefficients, self.base.gates)

    @torch.no_grad()
    def balance(self) -> None:
        """Bring the largest strength to 1 and take as much off the heads: nothing is said anew.

        Only how strong flows are beside each other means something. Left alone, a price would
        shrink all of them while the heads grow.
        """
        exists = torch.tensor(self.architecture.cells, device=self.strengths.strength.device)
        largest = self.strengths.strength[exists].max().clamp(min=1e-6)
        self.strengths.strength.div_(largest)
        for member in self._members:
            member.units.heads.scale(largest)

    @property
    def _members(self) -> list[AutoIFS]:
        return [self.base, *cast(list[AutoIFS], list(self.copies))]

    def _branches(self, inputs: Inputs) -> list[tuple[Tensor, Tensor]]:
        """Return what each fold's branches say of the rows."""
        h = self.base.trunk(self.base.embed(inputs))
        return [member.branches(h, inputs.scenario) for member in self._members]


def fold_of(inputs: Inputs, folds: int) -> Tensor:
    """Return each row's fold [n], which depends on what the row says and on nothing else.

    So it is the same in every epoch and on every rank, and equal rows are never told apart.
    """
    taken = torch.tensor(inputs.taken, dtype=torch.int64)
    features = len(taken)
    random = torch.Generator().manual_seed(features)
    odd = torch.randint(2**62, (1 + features + inputs.numbers.shape[1],), generator=random) * 2 + 1
    odd = odd.to(inputs.scenario.device)
    # A bag's tokens share a factor, and what pads it is -1: neither order nor width counts.
    of_tokens = odd[1 : 1 + features].repeat_interleave(taken.to(odd.device))
    said = inputs.scenario * odd[0]
    said = said + ((inputs.index.long() + 1) * of_tokens).sum(1)
    bits = inputs.numbers.contiguous().view(torch.int32).long()
    said = said + (bits * odd[1 + features :]).sum(1)
    mixed = (said ^ (said >> 29)) * _MIX
    return (mixed >> 33).remainder(folds)


_MIX = -7046029254386353131
"""An odd number with bits all over (2^64 over the golden ratio), as torch counts them."""
