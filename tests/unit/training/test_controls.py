import torch

from training.controls import bare, even, shuffled, whole

CELLS = ((True, True), (True, False), (True, True))


def found() -> torch.Tensor:
    strength = torch.zeros(3, 2, 4)
    strength[..., 0] = torch.tensor([[0.5, 1], [0.25, 1], [0.75, 1]])
    strength[0, 1, 2], strength[2, 0, 3] = 0.1, 0.2
    return strength


def test_shuffled_masks_are_as_sparse_and_as_strong_and_no_cell_loses_all():
    exists = torch.tensor(CELLS)
    for seed in range(20):
        moved = shuffled(found(), CELLS, seed)
        assert torch.equal(moved[exists].flatten().sort()[0], found()[exists].flatten().sort()[0])
        assert (moved > 0).any(2).all()
    assert not torch.equal(moved, found())
    assert torch.equal(moved, shuffled(found(), CELLS, 19))
    assert not torch.equal(moved, shuffled(found(), CELLS, 18))


def test_whole_bare_and_even_masks():
    assert (whole(CELLS) == 1).all() and (bare(CELLS) == 0).all()
    assert whole(CELLS).shape == bare(CELLS).shape == (3, 2, 4)
    mean = found()[torch.tensor(CELLS)].mean()
    assert torch.allclose(even(found(), CELLS), mean.expand(3, 2, 4))
