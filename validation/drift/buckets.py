"""The few buckets in which a day's values are compared with those of the days before."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from validation.drift.profile import NEW, NULL, OTHER, Counts, edge

TOKENS = 20
"""Frequent tokens whose shares are compared, each by itself."""
PARTS = 10
"""Parts of about equal size, by the days before, in which numbers are compared."""
_SMOOTH = 0.5
"""Added to every count: a bucket that happens to be empty in a small scenario is no event."""


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """Either some tokens, each a bucket, or the lowest bins of the grid of each part."""

    tokens: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()
    """Of numbers: where each part begins on the grid; below the first belongs to the first."""

    @property
    def names(self) -> tuple[str, ...]:
        """All buckets; absent values have one."""
        if self.starts:
            return (NULL, *(str(part) for part in range(len(self.starts))))
        return (NULL, OTHER, *self.tokens)

    def shares(self, counts: Counts) -> dict[str, float]:
        """Return bucket → share of the values that ``counts`` tells of."""
        held = dict.fromkeys(self.names, _SMOOTH)
        for name, n in counts.items():
            if name != NEW:
                held[self._of(name)] += n
        whole = sum(held.values())
        return {bucket: n / whole for bucket, n in held.items()}

    def named(self, bucket: str) -> str:
        """Return how a sentence calls a bucket."""
        if bucket == NULL:
            return "no value"
        if not self.starts:
            return "rarer values" if bucket == OTHER else f"token {bucket}"
        part = int(bucket)
        low, after = edge(self.starts[part]), self.starts[part + 1 : part + 2]
        if not after:
            return f"from {low:.3g} on"
        high = edge(after[0])
        return f"below {high:.3g}" if part == 0 else f"from {low:.3g} to {high:.3g}"

    def _of(self, name: str) -> str:
        if name == NULL:
            return NULL
        if self.starts:
            return str(max(bisect_right(self.starts, int(name)) - 1, 0))
        return name if name in self.tokens else OTHER


def token_buckets(usual: Counts) -> Buckets:
    """Return a bucket for each of the most frequent tokens."""
    known = [(-n, name) for name, n in usual.items() if name not in (NULL, NEW, OTHER)]
    return Buckets(tokens=tuple(name for _, name in sorted(known)[:TOKENS]))


def number_buckets(usual: Counts) -> Buckets:
    """Return parts of the grid that hold about as many values each."""
    bins = sorted((int(name), n) for name, n in usual.items() if name != NULL)
    return Buckets(starts=_starts(bins) or (0,))


def _starts(bins: list[tuple[int, int]]) -> tuple[int, ...]:
    total, below, last = sum(n for _, n in bins), 0, -1
    found = []
    for name, n in bins:
        part = PARTS * (2 * below + n) // (2 * total)
        if part != last:
            found.append(name)
            last = part
        below += n
    return tuple(found)


def relabel(text: str, names: Mapping[str, str]) -> str:
    """Return a sentence in which ``token 7`` is called by its text.

    >>> relabel("tag in feed: token 7 8.00% before", {"7": "cats"})
    "tag in feed: 'cats' 8.00% before"
    """
    before, mark, rest = text.partition(": token ")
    index, space, end = rest.partition(" ")
    return f"{before}: '{names[index]}'{space}{end}" if mark and index in names else text
