"""What is summed up of impressions and over days: tasks, and facts that are no tasks (no Spark)."""

from dataclasses import dataclass

from features.spec import Spec

GRAIN = 2.0**16
"""Facts are added up as whole multiples of 1 / GRAIN: a sum of fractions would depend on the order
of the rows, and with it the content hash."""
LARGEST = 2.0**14
"""Facts beyond it count as it: a sum of millions of them, weighed, must stay a 64-bit number."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What rates and residuals may be taken of: a task, or a fact."""

    total: str
    """Column of the counts with its sum."""
    known: str
    """Column with the number of impressions that have it."""
    unit: float = 1.0
    """What a 1 is in ``total``."""


def measures(spec: Spec) -> dict[str, Measure]:
    """Return name → measure, tasks first."""
    tasks = {name: Measure(total=f"n_{name}", known="n") for name in spec.tasks}
    facts = {
        name: Measure(total=f"s_{name}", known=f"k_{name}", unit=GRAIN)
        for name in spec.features.facts
    }
    return tasks | facts


def sums(spec: Spec) -> list[str]:
    """Return the columns of the counts that are summed up over days."""
    of_facts = (f"{part}_{name}" for name in spec.features.facts for part in ("k", "s"))
    return ["n", *(f"n_{task}" for task in spec.tasks), *of_facts]


def fact_column(name: str) -> str:
    """Return how a fact is called in frames of impressions: whole multiples of 1 / GRAIN."""
    return f"_fact_{name}"
