"""Which feature to look at first when a loss stops being a number."""

from dataclasses import dataclass

import torch

from features.spec.layout import Layout
from training.embeddings import embeddings_of
from training.model import Model
from training.prepare import CLIP, Inputs
from training.sharded import is_sharded


@dataclass(frozen=True)
class Suspect:
    """A feature of a batch, and what is wrong with it."""

    place: int
    """Among the embeddings and, after them, the numbers."""
    what: str

    def sentence(self, layout: Layout) -> str:
        """Return what to look at, by the name that the spec uses."""
        columns = (*layout.of("category"), *layout.of("multi"), *layout.of("number"))
        return f"look first at feature '{columns[self.place].source}', {self.what}"


@torch.no_grad()
def suspect(model: Model, inputs: Inputs) -> Suspect | None:
    """Return the feature that stands out in a batch; None where none does.

    A value that is no number comes first, then a token whose vector is none, then the number that
    is most often as large as numbers can be; what all have in common tells nothing.
    """
    embedded = len(model.architecture.sizes)
    broken = (~inputs.numbers.isfinite()).any(0)
    if broken.any():
        return Suspect(embedded + int(broken.nonzero()[0]), "whose values are no numbers")
    whole = not is_sharded(model)  # of parted tables a rank sees some rows only
    lost = [place for place in range(embedded) if whole and _lost(model, inputs, place)]
    if 0 < len(lost) < embedded:
        return Suspect(lost[0], "whose vectors are no numbers any more")
    extreme = (inputs.numbers.abs() >= CLIP).float().mean(0)
    if extreme.numel() and extreme.max() > 0:
        at = int(extreme.argmax())
        share = f"{100 * float(extreme[at]):.0f} %"
        return Suspect(
            embedded + at, f"{share} of whose values lie {CLIP:g} deviations off or more"
        )
    return None


def _lost(model: Model, inputs: Inputs, place: int) -> bool:
    """Return whether a token of the batch has a vector that is no number."""
    tokens = torch.split(inputs.index, list(inputs.taken), dim=1)[place]
    tokens = tokens[tokens >= 0].long()
    parts = embeddings_of(model)
    return any(not bool(part.vectors(place)[tokens].isfinite().all()) for part in parts)
