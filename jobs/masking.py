"""What models keep of each flow, as the rows that the tables and the report hold."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.spec import FLOWS, Spec
from training.data import Dataset
from validation.drift import MaskDrift, keep_rates, mask_drift

Strengths = NDArray[np.floating]
"""[n, M, 4], 0 for a pruned flow."""


def drift_of(
    spec: Spec, before: Strengths | None, after: Strengths | None, samples: Dataset
) -> MaskDrift | None:
    """Compare two models' masks on the same samples; None when one has none."""
    if before is None or after is None:
        return None
    present = [[spec.has(name, task) for task in spec.tasks] for name in spec.scenarios.names]
    return mask_drift(
        before,
        after,
        samples.scenario,
        samples.layout,
        users=samples.user,
        present=np.array(present),
    )


def mask_rows(flows: Strengths, samples: Dataset) -> list[dict[str, Any]]:
    """Return keep rate and strength of every flow of every cell that has samples."""
    layout = samples.layout
    rates = keep_rates(flows, samples.scenario, layout)
    return [
        {
            "scenario": scenario,
            "task": task,
            "flow": flow,
            "keep_rate": float(rates.keep[k, m, j]),
            "strength": float(rates.strength[k, m, j]),
            "n": int(rates.n[k]),
        }
        for k, scenario in enumerate(layout.scenarios)
        if rates.n[k]
        for m, task in enumerate(layout.tasks)
        for j, flow in enumerate(FLOWS)
    ]


def masks_of(
    spec: Spec, flows: Strengths | None, drift: MaskDrift | None, samples: Dataset
) -> list[dict[str, Any]]:
    """Return a row for every flow of every cell that exists, with the other model's beside it."""
    if flows is None:
        return []
    before = {(one.scenario, one.task, one.flow): one for one in drift.flows} if drift else {}
    rows = []
    for row in mask_rows(flows, samples):
        if not spec.has(row["scenario"], row["task"]):
            continue
        one = before.get((row["scenario"], row["task"], row["flow"]))
        rows.append(
            {
                **row,
                "champion_keep_rate": one.keep_before if one else None,
                "champion_strength": one.strength_before if one else None,
                "flip": bool(one and one.flips > 0.5),
            }
        )
    return rows


def said_of(drift: MaskDrift | None) -> dict[str, float | None]:
    """Return how much two models' masks agree, and what unrelated ones would."""
    return {
        "agreement": drift.agreement if drift else None,
        "chance": drift.chance if drift else None,
        "chance_low": drift.chance_low if drift else None,
        "chance_high": drift.chance_high if drift else None,
    }
