import re

import pytest

from features.errors import UserError
from jobs.capacity.report import size
from jobs.capacity.size import Costs, limits, read_costs
from jobs.capacity.size import size as sized
from jobs.commands.capacity import FILES

SAID = {
    "measured": {
        "build_seconds": 144.0,
        "shuffle_bytes": 500.0,
        "train_seconds": 72.0,
        "efficiency": 0.8,
        "row_bytes": 200.0,
        "requests": {"write": 100, "read": 1000},
        "tables": {"samples": {"bytes": 100.0, "days": 10}},
    },
    "assumed": {
        "gpu_over_core": 10.0,
        "window": 10,
        "build_hours": 1.0,
        "train_hours": 2.0,
        "executor_cores": 4,
        "file_bytes": 1e8,
        "executors": 10,
        "disk_bytes": 1e9,
        "gpus": 2,
        "gpu_host_bytes": 1e9,
        "files": 1000,
        "dollars": {"core_hour": 1.0, "gpu_hour": 3.0, "gb_month": 0.3, "write": 5.0, "read": 0.5},
    },
}


def costs(**changes):
    return Costs(measured=SAID["measured"], assumed={**SAID["assumed"], **changes})


def test_a_night_s_machines_bytes_files_and_money_follow_from_its_costs():
    found = sized(costs(), 1e8)
    assert found["core_hours"] == pytest.approx(144 * 100 / 0.8 / 3600)
    assert found["executors"] == 2  # five cores for an hour, four an executor
    assert found["shuffle_bytes"] == 5e10
    assert found["gpu_hours"] == pytest.approx(72 * 100 * 10 / 10 / 3600)
    assert found["gpus"] == 1
    assert found["stored_bytes"] == {"samples": 1e11}
    assert found["files"] == {"samples": 1000}
    assert found["requests"] == {"write": 10_000, "read": 100_000}
    dollars = found["dollars"]
    assert dollars["samples"] == pytest.approx(5.0)
    assert dollars["training"] == pytest.approx(6.0)
    assert dollars["storage"] == pytest.approx(100 * 0.3 / 30)
    assert dollars["requests"] == pytest.approx(50 + 50)
    assert dollars["night"] == pytest.approx(112.0)


def test_a_small_day_still_has_a_file_and_an_executor():
    found = sized(costs(), 1000)
    assert (found["executors"], found["gpus"], found["files"]["samples"]) == (1, 1, 10)
    assert found["requests"] == SAID["measured"]["requests"]


@pytest.mark.parametrize(
    ("limit", "changes"),
    [
        ("executors", {"executors": 1, "build_hours": 0.001}),
        ("shuffle disks", {"disk_bytes": 1e5}),
        ("GPU hours", {"train_hours": 0.01}),
        ("rows in a training's memory", {"gpu_host_bytes": 1e6}),
        ("files of one table", {"files": 1}),
    ],
)
def test_a_limit_is_met_where_the_size_reaches_what_there_is(limit, changes):
    few = costs(**changes)
    found = limits(few)
    assert min(found, key=found.get) == limit
    assert found[limit] < limits(costs())[limit]


def test_at_the_limit_of_executors_a_night_needs_them_all():
    found = sized(costs(), limits(costs())["executors"])
    assert found["executors"] == SAID["assumed"]["executors"]


def test_the_shipped_costs_are_read_and_told_as_a_table():
    found = size(path=FILES / "costs.yaml", impressions=[1e8, 1e9])
    assert found["first_limit"] == next(iter(found["limits"]))
    assert re.match(r"\| a night +\| 1e8 +\| 1e9 +\|\n", found["markdown"])
    small, large = (one["dollars"]["night"] for one in found["sizes"])
    assert large == pytest.approx(10 * small, rel=0.05)


def test_a_cost_that_is_missing_is_told_with_its_place(tmp_path):
    path = tmp_path / "costs.yaml"
    path.write_text((FILES / "costs.yaml").read_text().replace("efficiency:", "inefficiency:"))
    with pytest.raises(UserError, match=r"costs\.yaml: measured\.(in)?efficiency: "):
        read_costs(path)
