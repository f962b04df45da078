"""The bar that a person at a terminal watches while a model trains."""

import io

from rich.console import Console

from jobs import train
from training.history import Progress
from training.ranks import Ranks


def test_the_bar_shows_loss_rate_and_the_time_that_is_left(monkeypatch):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160)
    monkeypatch.setattr(train, "STDERR", console)
    with train._bar("challenger", Ranks()) as report:
        assert report is not None
        for step in (20, 40, 60):
            report(Progress(stage="search 1", step=step, steps=400, loss=0.5))
        report(Progress(stage="retrain", step=20, steps=100, loss=0.25))
    said = out.getvalue()
    assert "challenger: retrain, loss 0.2500" in said
    assert "steps a second" in said and "left" in said
    assert "20/100" in said


def test_other_ranks_and_pipes_see_no_bar(monkeypatch):
    monkeypatch.setattr(train, "STDERR", Console(file=io.StringIO(), force_terminal=True))
    with train._bar("challenger", Ranks(rank=1, count=2)) as report:
        assert report is None
    monkeypatch.setattr(train, "STDERR", Console(file=io.StringIO(), force_terminal=False))
    with train._bar("challenger", Ranks()) as report:
        assert report is None
