"""``autoifs samples show``: what a published day holds; starts no Spark."""

import hashlib
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features.errors import LakeError
from features.lake import Lake
from features.spec import Spec

Result = dict[str, Any]


def show(*, spec: Spec, lake: Lake, day: date) -> Result:
    """Say what a published day holds; starts no Spark.

    Returns:
        ``rows``, ``content_hash``, ``as_of``, ``labels`` (scenario → task → positives, negatives,
        unknown), ``quarantined`` (rule → rows).

    Raises:
        LakeError: when the day is not published.
    """
    said = lake.commit_of("samples", day)
    if said is None or day.isoformat() not in lake.days("samples"):
        raise LakeError(
            f"{spec.product}: {day} is not published; build it with: "
            f"autoifs samples run --from {day} --to {day}"
        )
    return {
        "ds": day.isoformat(),
        **{key: said.get(key) for key in ("rows", "content_hash", "as_of", "run_id", "version")},
        "encoded_hash": _encoded_hash(lake, day),
        "labels": _labels(spec, lake, day),
        "quarantined": _quarantined(lake, day),
    }


def _encoded_hash(lake: Lake, day: date) -> str:
    """Return a hash of the day's encoded rows, whatever the order they lie in."""
    table = lake.open("encoded").to_pyarrow_table(filters=[("ds", "=", day.isoformat())])
    ordered = table.sort_by("sample_id").combine_chunks()
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, ordered.schema) as stream:
        stream.write_table(ordered)
    return hashlib.sha256(written.getvalue()).hexdigest()[:32]


def _labels(spec: Spec, lake: Lake, day: date) -> dict[str, dict[str, dict[str, int]]]:
    columns = ["scenario", *(f"label_{task}" for task in spec.tasks)]
    table = lake.open("samples").to_pyarrow_table(
        filters=[("ds", "=", day.isoformat())], columns=columns
    )
    found: dict[str, dict[str, dict[str, int]]] = {}
    for scenario in spec.scenarios.names:
        rows = table.filter(pc.equal(table["scenario"], scenario))
        found[scenario] = {
            task: {
                "positives": pc.sum(rows[f"label_{task}"]).as_py() or 0,
                "negatives": pc.sum(pc.invert(rows[f"label_{task}"])).as_py() or 0,
                "unknown": rows[f"label_{task}"].null_count,
            }
            for task in spec.tasks
            if spec.has(scenario, task)
        }
    return found


def _quarantined(lake: Lake, day: date) -> dict[str, int]:
    table = lake.open("quarantine").to_pyarrow_table(
        filters=[("ds", "=", day.isoformat())], columns=["rules"]
    )
    counted = pc.value_counts(pc.list_flatten(table["rules"])).to_pylist()
    return dict(sorted((entry["values"], entry["counts"]) for entry in counted))
