"""MMoE: experts that all cells share, mixed by a softmax gate a cell.

Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts",
KDD 2018, https://doi.org/10.1145/3219819.3220007.
"""

from torch import Tensor

from training.architecture import Architecture
from training.experts import Gates, Grouping, Mlps, Owned, Reader, Towers, narrowed
from training.model import Model
from training.prepare import Inputs

EXPERTS = 4


class MMoE(Model):
    """``z_km = Tower_m(Σ_n softmax(x G_km)_n · Expert_n(x))``, with one last head a cell.

    The paper has a gate a task; here every (scenario, task) has one.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the network with fresh weights."""
        super().__init__(architecture)
        a = architecture
        self.reader = Reader(a)
        width = self.reader.width
        self.experts = Mlps(EXPERTS, width, narrowed(a.experts, EXPERTS), a.dropout)
        self.gates = Owned([Gates(a.tasks, width, EXPERTS) for _ in range(a.scenarios)])
        self.towers = Towers(self.experts.out, a)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]."""
        x = self.reader(inputs)
        shares = self.gates(x, Grouping(inputs.scenario, self.architecture.scenarios))
        said: Tensor = self.towers(shares @ self.experts(x), inputs.scenario)
        return said
