import pytest
import torch

from training.blocks import Dropout, ScenarioLayer, TaskHeads
from training.embeddings import Embeddings


@pytest.mark.parametrize(("scenarios", "rank"), [(1, 1), (3, 2), (5, 4)])
def test_the_fused_scenario_layer_equals_the_gathered_one(scenarios, rank):
    torch.manual_seed(0)
    layer = ScenarioLayer(6, 5, scenarios, rank, spread=1.0)
    torch.nn.init.normal_(layer.bias)
    h, scenario = torch.randn(30, 6), torch.randint(0, scenarios, (30,))
    chosen = torch.nn.functional.one_hot(scenario, scenarios).float()
    shared, specific = layer(h, chosen)
    down = layer.down.view(6, scenarios, rank).permute(1, 0, 2)
    up = layer.up.view(scenarios, rank, 5)
    for row, k in enumerate(scenario.tolist()):
        assert torch.allclose(shared[row], layer.shared(h[row]), atol=1e-5)
        wanted = (h[row] @ down[k]) @ up[k] + layer.bias[k]
        assert torch.allclose(specific[row], wanted, atol=1e-5)


def test_without_spread_every_scenario_starts_as_the_shared_model():
    layer = ScenarioLayer(6, 5, 3, 2)
    assert (layer(torch.randn(4, 6), torch.eye(3)[[0, 1, 2, 0]])[1] == 0).all()


def test_columns_read_their_own_rows_and_a_bag_is_the_mean_of_its_tokens(architecture, inputs):
    a, rows = architecture(), inputs(25)
    embed = Embeddings(a.sizes, a.dims, a.bags)
    said, table = embed(rows), embed.tables[0].weight
    for row in range(25):
        first, second, *bag = rows.index[row].tolist()
        tokens = [table[1 + 7 + 5 + token] for token in bag if token >= 0]
        mean = torch.stack(tokens).mean(0) if tokens else torch.zeros(4)
        wanted = torch.cat([table[1 + first], table[1 + 7 + second], mean])
        assert torch.allclose(said[row], wanted, atol=1e-6)


def test_columns_of_other_widths_live_in_tables_of_their_own(inputs):
    embed = Embeddings((7, 5, 6), (4, 2, 4), 1)
    rows = inputs(9)
    said = embed(rows)
    assert said.shape == (9, 10)
    narrow = embed.tables[0].weight
    assert torch.equal(said[:, :2], narrow[1 + rows.index[:, 1].long()])


def test_the_row_behind_padding_is_never_trained(inputs):
    embed = Embeddings((7, 5, 6), (4, 4, 4), 1)
    embed(inputs(50)).sum().backward()
    assert (embed.tables[0].weight.grad[0] == 0).all()
    assert (embed.tables[0].weight[0] == 0).all()


def test_heads_are_full_vectors_for_all_tasks_and_for_each():
    heads = TaskHeads(5, 3)
    values = torch.randn(8, 5)
    shared, own = heads(values)
    assert torch.allclose(shared[:, 0], values @ heads.shared, atol=1e-6)
    assert torch.allclose(own, values @ heads.specific.t(), atol=1e-6)


def test_dropout_drops_its_share_keeps_the_mean_and_rests_when_not_training():
    torch.manual_seed(0)
    drop, ones = Dropout(0.25), torch.ones(999, 101)
    said = drop(ones)
    assert (said == 0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert said.mean() == pytest.approx(1, abs=0.01)
    assert torch.equal(drop.eval()(ones), ones)
