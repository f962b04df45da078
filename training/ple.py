"""PLE: levels of experts, shared and a task's own, that part more and more.

Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
Personalized Recommendations", RecSys 2020, https://doi.org/10.1145/3383313.3412236.
"""

from itertools import pairwise

from torch import Tensor, nn

from training.architecture import Architecture
from training.experts import CGC, Reader, Towers, narrowed
from training.model import Model
from training.prepare import Inputs


class PLE(Model):
    """A level of customized gate control for each expert width, then towers.

    ``v_t = softmax(x_t G_t) · [E_t(x_t), E_s(x_s)]`` and, but at the last level,
    ``v_s = softmax(x_s G_s) · [E_1(x_1), …, E_M(x_M), E_s(x_s)]``: over all experts there are.
    The paper has tasks alone; here the scenario is a feature and every cell has a last head.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the network with fresh weights."""
        super().__init__(architecture)
        a = architecture
        self.reader = Reader(a, scenario=True)
        widths = narrowed(a.experts, a.tasks + CGC.SHARED)
        self.levels = nn.ModuleList(
            CGC(width, (out,), a, last=level == len(widths))
            for level, (width, out) in enumerate(pairwise((self.reader.width, *widths)), start=1)
        )
        self.towers = Towers(widths[-1], a)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logits, [n, M]."""
        own = common = self.reader(inputs)
        for level in self.levels:
            own, common = level(own, common)
        said: Tensor = self.towers(own, inputs.scenario)
        return said
