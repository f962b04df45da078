"""The search on data whose flows are known: what its masks are worth after retraining."""

import pytest
import torch

from features.spec.search import Search
from training.masks import Masks, masks_of
from training.prepare import Inputs
from training.rows import Examples
from training.scores import pooled_log_loss, predict
from training.search import Record, freeze_and_retrain, search_and_retrain
from training.trainer import Trainer
from training.zoo import build

pytestmark = pytest.mark.slow

SCENARIOS, TASKS, WIDTH = 4, 3, 32
TRAIN, VALIDATE, TEST = 12_000, 3_000, 5_000


def planted(seed: int) -> tuple[Examples, Examples, Examples]:
    """Rows whose logits are, in every cell, the sum of a random half of the four flows."""
    g = torch.Generator().manual_seed(seed)
    n = TRAIN + VALIDATE + TEST
    shared, own = torch.randn(WIDTH, 16, generator=g), torch.randn(4, WIDTH, 16, generator=g)
    all_tasks, each_task = torch.randn(16, generator=g), torch.randn(TASKS, 16, generator=g)
    kept = (torch.rand(SCENARIOS, TASKS, 4, generator=g) < 0.5).float()
    kept[kept.sum(2) == 0] = torch.tensor([1.0, 0, 0, 0])
    x = torch.randn(n, WIDTH, generator=g)
    k = torch.multinomial(torch.tensor([0.7, 0.2, 0.08, 0.02]), n, True, generator=g)
    s = torch.relu(x @ shared / WIDTH**0.5)
    z = torch.relu(torch.einsum("nd,ndh->nh", x, own[k]) / WIDTH**0.5)
    both = [(s @ all_tasks)[:, None].expand(-1, TASKS), (z @ all_tasks)[:, None].expand(-1, TASKS)]
    flows = torch.stack([both[0], z @ each_task.t(), s @ each_task.t(), both[1]], dim=2)
    flows = (flows - flows.mean(0)) / flows.std(0)
    logits = 2 * (kept[k] * flows).sum(2) / kept[k].sum(2).sqrt()
    labels = (torch.rand(n, TASKS, generator=g) < torch.sigmoid(logits)).float()
    rows = Inputs(k, torch.zeros(n, 0, dtype=torch.int32), x)
    ends = [(0, TRAIN), (TRAIN, VALIDATE), (TRAIN + VALIDATE, TEST)]
    one, two, three = (
        Examples(rows.narrow(start, length), labels[start : start + length])
        for start, length in ends
    )
    return one, two, three


def shuffled(strength: torch.Tensor, seed: int) -> torch.Tensor:
    """The same strengths in other places; a cell that lost every flow gets one back."""
    g = torch.Generator().manual_seed(seed)
    moved = strength.flatten()[torch.randperm(strength.numel(), generator=g)].view(strength.shape)
    moved[(moved > 0).sum(2) == 0] = torch.tensor([1.0, 0, 0, 0])
    return moved


@pytest.mark.parametrize("seed", [2, 4])
def test_masks_that_were_found_beat_random_masks_of_the_same_sparsity(architecture, settings, seed):
    train, validate, test = planted(seed)

    def trainer() -> Trainer:
        a = architecture(
            SCENARIOS,
            TASKS,
            sizes=(),
            dims=(),
            bags=0,
            numbers=WIDTH,
            trunk=(64,),
            scenario=(32,),
            rank=8,
        )
        given = settings(TASKS, batch=256, learning_rate=2e-3, ema=0.99)
        return Trainer(build(a, 1), train, validate, given)

    search = Search(epochs=8)

    def worth(strength: torch.Tensor) -> float:
        one = trainer()
        freeze_and_retrain(one, search, Masks(strength=strength.tolist(), shrink=None), 4, Record())
        return pooled_log_loss(predict(one.model, test.inputs), test.labels)

    searching = trainer()
    search_and_retrain(searching, search, 1, Record())
    found = torch.tensor(masks_of(searching.model).strength)
    assert 0.2 < (found == 0).float().mean() < 0.6
    random = [worth(shuffled(found, other)) for other in range(2)]
    assert worth(found) < min(random) - 0.01
