"""``autoifs quarantine``: the rows a day refused, why, and how they get back in; starts no Spark.

Only ``release`` does: it builds the day again.
"""

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features.errors import LakeError, UserError
from features.lake import Lake
from features.spec import Spec
from jobs.home import Home

Result = dict[str, Any]
EXAMPLES = 5
"""Rows that ``show`` prints of each rule."""


def show(*, spec: Spec, lake: Lake, day: date, rule: str | None = None) -> Result:
    """Return what a day refused.

    Args:
        spec: the product.
        lake: its tables.
        day: the day.
        rule: only rows that broke this rule.

    Returns:
        ``rows``, ``rules`` (rule → rows; a row may break several) and ``examples`` (rule → the
        first rows as they were delivered, with file, line (of Parquet: row; from 1) and rules).

    Raises:
        LakeError: when the day was never built.
    """
    refused = [row for row in _refused(spec, lake, day) if rule is None or rule in row["rules"]]
    counted = _by_rule(refused)
    return {
        "ds": day.isoformat(),
        "rows": len(refused),
        "rules": counted,
        "examples": {
            name: [_example(row) for row in refused if name in row["rules"]][:EXAMPLES]
            for name in counted
            if rule in (None, name)
        },
    }


def explain(*, spec: Spec, lake: Lake, rule: str) -> Result:
    """Return what a rule says, and how many rows of each day broke it.

    Raises:
        UserError: when there is no such rule.
    """
    from validation.rows import BUILT_IN

    own = {item.id: item.reject for item in spec.rules}
    if rule not in own and rule not in BUILT_IN:
        raise UserError(f"no rule is called '{rule}'; known: {', '.join([*BUILT_IN, *own])}")
    days: Counter[str] = Counter()
    if lake.exists("quarantine"):
        table = lake.open("quarantine").to_pyarrow_table(columns=["ds", "rules"])
        for ds, rules in zip(table["ds"].to_pylist(), table["rules"].to_pylist(), strict=True):
            days[ds] += rule in rules
    return {
        "rule": rule,
        "declared": "in the spec" if rule in own else "built in",
        "refuses": own.get(rule) or BUILT_IN[rule],
        "days": {ds: n for ds, n in sorted(days.items()) if n},
    }


def release(
    *, spec: Spec, spec_file_name: str, lake: Lake, home: Home, source: Path, day: date
) -> Result:
    """Let in the rows that the rules, as they are now, no longer refuse, by building the day again.

    Returns:
        ``released`` (rule → rows fewer), ``rows`` (still refused) and what ``restate`` returns as
        ``restated``.

    Raises:
        LakeError: when the day is not published.
        UserError: when the rules still refuse the same rows.
    """
    from jobs.samples import restate

    before = _by_rule(_refused(spec, lake, day))
    restated = restate(
        spec=spec, spec_file_name=spec_file_name, lake=lake, home=home, source=source, day=day
    )
    refused = _refused(spec, lake, day)
    after = _by_rule(refused)
    fewer = {name: n - after.get(name, 0) for name, n in before.items() if n > after.get(name, 0)}
    if not fewer:
        raise UserError(
            f"nothing of {day} was released: its rules still refuse the same rows; "
            f"change a rule in {spec_file_name} first (autoifs quarantine explain --rule …)"
        )
    return {"ds": day.isoformat(), "released": fewer, "rows": len(refused), "restated": restated}


def _refused(spec: Spec, lake: Lake, day: date) -> list[Result]:
    if lake.commit_of("quarantine", day) is None:
        raise LakeError(
            f"{spec.product}: {day} was never built; autoifs samples run --from {day} --to {day}"
        )
    table = lake.open("quarantine").to_pyarrow_table(filters=[("ds", "=", day.isoformat())])
    ordered: pa.Table = table.take(pc.sort_indices(table, [("sample_id", "ascending")]))
    found: list[Result] = ordered.to_pylist()
    return found


def _by_rule(refused: list[Result]) -> dict[str, int]:
    return dict(sorted(Counter(name for row in refused for name in row["rules"]).items()))


def _example(row: Result) -> Result:
    return {key: row[key] for key in ("sample_id", "rules", "row", "source_file", "line")}
