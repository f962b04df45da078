"""The population stability index: how far apart two sets of shares are."""

import math
from collections.abc import Mapping

RARE = 0.001
"""Shares below this one weigh like this one in the stability index."""


def stability(before: Mapping[str, float], today: Mapping[str, float]) -> float:
    """Return the population stability index of two sets of shares over the same buckets.

    The sum of (q - p) ln(q / p); what the buckets leave of 1 is one more bucket.

    >>> round(stability({"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.1}), 2)
    0.88
    """
    pairs = [(before[bucket], today[bucket]) for bucket in before]
    rest = (max(1 - sum(before.values()), 0.0), max(1 - sum(today.values()), 0.0))
    floored = [(max(p, RARE), max(q, RARE)) for p, q in (*pairs, rest)]
    return sum((q - p) * math.log(q / p) for p, q in floored)
