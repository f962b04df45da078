"""The marketplace's fixed facts (places, goals, how often, how late); the spec is ``bazaar``."""

from dataclasses import dataclass

SCENARIOS = ("feed", "search", "live", "deals")
SHARES = (0.70, 0.20, 0.08, 0.02)
"""Share of the impressions shown in each scenario."""

TASKS = ("click", "like", "purchase")
BASE_RATES = {
    "click": (0.24, 0.32, 0.20, 0.28),
    "like": (0.10, 0.06, 0.14, None),
    "purchase": (0.035, 0.050, 0.060, 0.080),
}
"""Task → mean probability in each scenario; None where the scenario has no such goal."""

SPREAD = 1.5
"""Standard deviation of a cell's logit: a perfect model reaches an AUC of about .83."""

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
CLICK_WINDOW_MS = HOUR_MS
PURCHASE_WINDOW_MS = 3 * DAY_MS
PURCHASE_LONGEST_MS = 5 * DAY_MS
"""Nobody buys later than this after the impression; some buy after the label's window."""

HOURS = (2, 1, 1, 1, 1, 2, 3, 5, 6, 6, 6, 6, 7, 6, 6, 6, 6, 7, 8, 9, 9, 8, 6, 4)
"""Weight of each hour of the day."""

DEVICES = ("android", "ios", "web")
DEVICE_SHARES = (0.55, 0.35, 0.10)
SEGMENTS = ("budget", "family", "hobby", "premium", "student", "visitor")
CATEGORIES = (
    "beauty", "books", "fashion", "food", "games", "garden",
    "home", "music", "phones", "sport", "tools", "travel",
)  # fmt: skip
TAGS = tuple(f"t{number:02d}" for number in range(40))

STREAMS = ("impressions", "clicks", "purchases")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was asked for: everything the simulated bytes depend on."""

    rows: int
    """Impressions a day."""
    seed: int
    faults: bool = True
    """Whether files also hold duplicates and broken rows."""
    late: float = 0.02
    """Share of the events that arrive a day after they happened."""
    drift: float = 3.0
    """Degrees by which the segments' tastes turn each day."""
    planted: bool = True
    """Whether some flows carry nothing, or harm, in some cells; else each is of use in each."""


def cells() -> list[tuple[int, int]]:
    """Return the (scenario, task) indices that exist, scenario by scenario."""
    return [
        (k, m)
        for k in range(len(SCENARIOS))
        for m, task in enumerate(TASKS)
        if BASE_RATES[task][k] is not None
    ]
