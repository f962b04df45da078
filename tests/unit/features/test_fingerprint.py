"""When a day is up to date."""

from datetime import date
from pathlib import Path

import pytest

from features.arrivals import arrivals
from features.fingerprint import counts_fingerprint, fingerprint
from features.spec.load import parse_spec
from features.spec.model import Spec

DAY = date(2026, 1, 2)
COUNTS = {"2026-01-01": {"fingerprint": "a"}, "2026-01-03": {"fingerprint": "c"}}
TEXT = """
product: shop
sources: {views: {path: "{ds}.csv", time: {column: at}, late: 1d}}
impression: {source: views, key: view_id}
scenarios: {column: place, values: {feed: feed}}
tasks: {click: {label: clicked = 1}}
features: {categories: [place]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for day in ("2026-01-02", "2026-01-03"):
        (tmp_path / f"{day}.csv").write_text(f"view_id,at,place,clicked\n{day},1,feed,1\n")
    return tmp_path


def of(folder: Path, spec: Spec, as_of: date = DAY, counts: object = None) -> str:
    return fingerprint(spec, arrivals(spec, folder, DAY, as_of), counts or COUNTS)  # type: ignore[arg-type]


def test_it_follows_the_spec_but_not_its_training_and_gate(folder: Path) -> None:
    spec = parse_spec(TEXT, "shop.yaml")
    same = parse_spec(TEXT + "training: {epochs: 9}\ngate: {tolerance: 0.5}\n", "shop.yaml")
    other = parse_spec(TEXT + "rules: [{id: dark, reject: place = 'dark'}]\n", "shop.yaml")
    assert of(folder, same) == of(folder, spec)
    assert of(folder, other) != of(folder, spec)


def test_a_contract_shows_in_it_where_published_days_would_differ(folder: Path) -> None:
    plain = parse_spec(TEXT, "shop.yaml")
    found = {
        answer: of(
            folder, parse_spec(TEXT.replace("late: 1d", f"late: 1d, contract: {answer}"), "s.yaml")
        )
        for answer in ("evolve", "freeze", "discard", "{new_column: discard}")
    }
    assert found["evolve"] == found["freeze"] == of(folder, plain)
    assert len(set(found.values())) == 3


def test_it_follows_earlier_counts_and_not_the_day_s_own_or_later_ones(folder: Path) -> None:
    spec = parse_spec(TEXT, "shop.yaml")
    later = {**COUNTS, "2026-01-02": {"fingerprint": "b"}, "2026-01-03": {"fingerprint": "x"}}
    earlier = {"2026-01-01": {"fingerprint": "x"}}
    assert of(folder, spec, counts=later) == of(folder, spec)
    assert of(folder, spec, counts=earlier) != of(folder, spec)


def test_counts_depend_on_what_had_arrived_by_the_end_of_the_day_alone(folder: Path) -> None:
    spec = parse_spec(TEXT, "shop.yaml")
    assert of(folder, spec, as_of=date(2026, 1, 3)) != of(folder, spec)
    own = counts_fingerprint(spec, arrivals(spec, folder, DAY, DAY))
    (folder / "2026-01-03.csv").write_text("late\n")
    assert counts_fingerprint(spec, arrivals(spec, folder, DAY, DAY)) == own
