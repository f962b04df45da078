"""What a label weighs: by task, by scenario, by sample, and by how well a task can be learned."""

import pytest
import torch

from features.spec.policy import Loss
from training.objective import Objective
from training.rows import Examples
from training.zoo import build

MIX = (950, 40, 10)
"""Rows of each scenario where one dominates."""


@pytest.fixture
def rows(examples):
    found = examples(sum(MIX))
    found.inputs.scenario[:] = torch.arange(3).repeat_interleave(torch.tensor(MIX))
    return found


@pytest.fixture
def objective(architecture, settings, rows):
    def make(**loss) -> Objective:
        model = build(architecture(kind="shared_bottom"), 1)
        return Objective(model, rows.tally(3), settings(loss=Loss(**loss)))

    return make


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_a_dominant_scenario_weighs_as_its_rows_to_a_power(objective, rows, balance):
    every = objective(balance=balance).weights_of(rows).expand(len(rows), 2)
    shares = [float(every[rows.inputs.scenario == k].sum() / every.sum()) for k in range(3)]
    powers = torch.tensor(MIX, dtype=torch.float64) ** (1 - balance)
    assert shares == pytest.approx((powers / powers.sum()).tolist(), rel=1e-5)
    assert float(every.sum()) == pytest.approx(len(rows)), "the loss keeps its size"


def test_a_scenario_of_one_row_in_a_hundred_is_learned_by_more_with_a_balance(objective, rows):
    def pull(balance: float) -> float:
        whole = objective(balance=balance)
        whole(rows).backward()
        heads = whole.model.heads.weight.grad.view(3, 2, -1)
        return float(heads[2].norm() / heads[0].norm())

    assert pull(0.5) > 3 * pull(0.0)


def test_a_sample_that_stands_for_three_is_three_samples(objective, rows):
    whole, few = objective(), rows.take(torch.arange(0, 1000, 100))
    weighed = Examples(few.inputs, few.labels, torch.tensor([3.0] + [1.0] * 9))
    repeated = few.take(torch.tensor([0, 0, 0, *range(1, 10)]))
    assert float(whole(weighed)) * 10 == pytest.approx(float(whole(repeated)) * 12, rel=1e-5)


def test_uncertain_tasks_weigh_less_and_pay_for_it(objective, rows):
    plain, learned = objective(), objective(tasks="uncertainty")
    with torch.no_grad():
        learned.spread.copy_(torch.tensor([0.0, 2.0]))
    each = plain.model.loss(rows.inputs, rows.labels, plain.weights * torch.tensor([1.0, 0.0]))
    other = plain(rows) - each
    wanted = each + torch.exp(torch.tensor(-2.0)) * other + plain.tasks[1] * 2.0 / 2
    learned.model.load_state_dict(plain.model.state_dict())
    assert float(learned(rows)) == pytest.approx(float(wanted), rel=1e-5)
