"""ESMM: each task is predicted given the one before it, and learned over all impressions.

Ma et al., "Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click
Conversion Rate", SIGIR 2018, https://doi.org/10.1145/3209978.3210104.
"""

from torch import Tensor

from training.architecture import Architecture
from training.cascade import product_logits
from training.experts import CellHeads, Mlps, Reader, narrowed
from training.model import Model
from training.prepare import Inputs


class ESMM(Model):
    """A network a task over shared embeddings; task m's probability is ``p_1 · … · p_m``.

    The order of the tasks in the spec is the order of the cascade: the first is furthest upstream
    (click, then cart, then purchase). A task that a scenario lacks is left out of its product. The
    paper has two tasks; ``p_m`` is then the rate among rows positive so far, which gets no loss of
    its own. A task can be no likelier than the one before it: where its positives are no subset of
    that one's, this model is the wrong one.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the network with fresh weights."""
        super().__init__(architecture)
        a = architecture
        self.reader = Reader(a)
        widths = narrowed((*a.trunk, *a.scenario), a.tasks)
        self.networks = Mlps(a.tasks, self.reader.width, widths, a.dropout)
        self.heads = CellHeads(widths[-1], a.scenarios, a.tasks)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits of the products, [n, M]."""
        given = self.heads(self.networks(self.reader(inputs)), inputs.scenario)
        return product_logits(given, inputs.scenario, self.architecture.cells)
