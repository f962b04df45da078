"""Row-wise Adagrad, sparse gradients, and the average of rows that stood still."""

import numpy as np
import pytest
import torch
from torch import nn

from features.spec.policy import Embeddings
from training.average import Average
from training.optimiser import Optimiser, RowWiseAdagrad, Trained, _merged
from training.ranks import ALONE
from training.trainer import Trainer, constant, linear_decay
from training.zoo import MODELS, build

SPARSE = Embeddings(optimiser="adagrad", learning_rate=0.1)


def sparse(rows: list[int], values: torch.Tensor, length: int) -> torch.Tensor:
    return torch.sparse_coo_tensor(
        torch.tensor([rows]), values, (length, values.shape[1]), check_invariants=True
    )


def test_rows_move_by_adagrad_with_one_number_a_row():
    table = nn.Parameter(torch.zeros(5, 3))
    optimiser = RowWiseAdagrad([table], rate=0.5)
    wanted, total = np.zeros((5, 3)), np.zeros(5)
    random = np.random.default_rng(0)
    for rows in ([1, 3], [3], [0, 1, 3]):
        gradient = random.normal(size=(len(rows), 3))
        table.grad = sparse(rows, torch.tensor(gradient, dtype=torch.float32), 5).coalesce()
        optimiser.step()
        for row, one in zip(rows, gradient, strict=True):
            total[row] += (one**2).mean()
            wanted[row] -= 0.5 * one / (np.sqrt(total[row]) + 1e-8)
    assert np.allclose(table.detach().numpy(), wanted, atol=1e-6)
    assert (table[[2, 4]] == 0).all(), "rows without a gradient stand still"


def test_a_gradient_that_names_a_row_twice_is_the_sum():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])
    merged = _merged(sparse([4, 1, 4], values, 6), ALONE)
    assert merged.is_coalesced()
    assert torch.equal(merged.to_dense(), sparse([4, 1, 4], values, 6).to_dense())
    assert _merged(sparse([0, 2, 0], values, 6), ALONE)._indices().tolist() == [[2]], "padding's"


@pytest.mark.parametrize("kind", ["autoifs", "shared_bottom", "mlp_per_cell", "causalint"])
def test_a_models_sparse_gradient_is_its_dense_one(architecture, examples, settings, kind):
    model, rows = build(architecture(kind=kind), 1), examples(50)

    def gradients(optimiser: Embeddings) -> list[torch.Tensor]:
        trained = Trained.of(model, settings(embeddings=optimiser))
        model.zero_grad()
        model.loss(rows.inputs, rows.labels, torch.ones(2)).backward()
        tables = trained.tables or [table.weight for table in _tables(model)]
        return [one.grad.to_dense()[1:] for one in tables]  # row 0 is padding's

    for first, second in zip(gradients(Embeddings()), gradients(SPARSE), strict=True):
        assert torch.allclose(first, second, atol=1e-7)
        assert first.abs().max() > 0


def _tables(model):
    from training.embeddings import tables_of

    return tables_of(model)


@pytest.mark.parametrize("kind", sorted(set(MODELS) - {"lightgbm"}))
def test_every_network_learns_with_sparse_tables(architecture, examples, settings, kind):
    trainer = Trainer(
        build(architecture(kind=kind, ids=(0,), histories=(2,), listed=(0,)), 1),
        examples(1000),
        examples(300, seed=1),
        settings(embeddings=SPARSE),
    )
    before = trainer.validation_loss()
    assert trainer.run("train", 3 * trainer.epoch, linear_decay).validation < before


def test_rows_that_no_batch_holds_never_move(architecture, examples, settings):
    model = build(architecture(sizes=(50, 5, 6)), 1)
    (table,) = _tables(model)
    before = table.weight.detach().clone()
    trainer = Trainer(model, examples(), examples(seed=1), settings(embeddings=SPARSE))
    trainer.run("train", 12, constant, keep="last")
    unused = torch.arange(1 + 7, 1 + 50)
    assert torch.equal(table.weight[unused], before[unused])
    assert not torch.equal(table.weight[1:8], before[1:8])
    assert (table.weight[0] == 0).all(), "bags are padded with zeros"


def test_the_average_of_rows_that_stood_still_is_that_of_every_step():
    random = torch.Generator().manual_seed(0)
    table = nn.Parameter(torch.randn(6, 2, generator=random))
    average, dense = Average([], [table], 0.9, 40), table.detach().double().clone()
    for step in range(1, 41):
        rows = torch.randperm(6, generator=random)[: int(torch.randint(0, 4, (), generator=random))]
        average.before(table, rows)
        with torch.no_grad():
            table[rows] += torch.randn(len(rows), 2, generator=random)
        average.fold()
        decay = min(0.9, step / (step + 10))
        dense = decay * dense + (1 - decay) * table.detach()
        if step in (7, 40):
            now = table.detach().clone()
            average.swap()
            assert torch.allclose(table.detach().double(), dense, atol=1e-5)
            average.swap()
            assert torch.equal(table, now)


def test_the_cost_of_a_step_does_not_depend_on_the_tables_rows(architecture, settings, inputs):
    """The rows that a step reads or writes are those of its batch, whatever the table holds."""
    touched = []
    for size in (50, 50_000):
        model = build(architecture(sizes=(size, 5, 6)), 1)
        optimiser = Optimiser(
            Trained.of(model, settings(embeddings=SPARSE)),
            [],
            settings(embeddings=SPARSE),
            0.01,
            before=lambda _, rows: touched.append(len(rows)),
        )
        rows = inputs(64)
        loss = model.loss(rows, torch.ones(64, 2), torch.ones(2))
        optimiser.step(loss, ALONE)
    assert touched[0] == touched[1] <= 7 + 5 + 6
