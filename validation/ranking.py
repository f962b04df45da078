"""Samples in the order of their predictions: one sort, from which every AUC is counted."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from validation.intervals import Floats, Ints

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Ranked:
    """Samples in ascending order of prediction; within segments, where there are any.

    What is in a mask keeps this order, so that a cell or a slice needs no sort of its own.
    """

    rows: Ints
    """[r] samples."""
    run: Ints
    """[r] number of the prediction in ascending order; equal predictions share one."""
    positive: Bools
    """[r]"""
    segment: Ints | None = None
    """[r] what samples are compared within, ascending; None: all of them together."""

    def of(self, members: Bools | None) -> "Ranked":
        """Return the samples for which ``members`` [n] holds; all for None."""
        if members is None:
            return self
        kept = np.flatnonzero(members[self.rows])
        segment = None if self.segment is None else self.segment[kept]
        return Ranked(self.rows[kept], self.run[kept], self.positive[kept], segment)

    def within(self, segments: Ints) -> "Ranked":
        """Return the samples in the order of segment [n], then of prediction.

        Those of segments with a single class are left out: no part of such a segment has both.
        """
        own = segments[self.rows]
        size, ones = np.bincount(own), np.bincount(own, self.positive)
        kept = np.flatnonzero(((ones > 0) & (ones < size))[own])
        # The place in this order rides in the key's low bits: a plain sort is twice an argsort.
        bits = len(self.rows).bit_length()
        keys = np.sort(own[kept] << bits | kept)
        place = keys & ((1 << bits) - 1)
        return Ranked(self.rows[place], self.run[place], self.positive[place], keys >> bits)

    def starts(self) -> Ints:
        """Return where each run of equal predictions (of one segment) begins."""
        new = self.run[1:] != self.run[:-1]
        if self.segment is not None:
            new |= self.segment[1:] != self.segment[:-1]
        return np.flatnonzero(np.r_[len(self.rows) > 0, new])


def rank(scores: Floats, positive: Bools, rows: Ints) -> Ranked:
    """Return ``rows`` in the order of their finite ``scores`` [n]."""
    own = scores[rows]
    order = _order(own)
    ordered, placed = own[order], rows[order]
    run = np.zeros(len(rows), dtype=np.int64)
    np.cumsum(ordered[1:] != ordered[:-1], out=run[1:])
    return Ranked(placed, run, positive[placed])


def _order(scores: Floats) -> Ints:
    """Return the places of ``scores`` in ascending order."""
    short = scores.astype(np.float32)
    if len(short) == 0 or short.min() < 0 or not np.array_equal(short, scores):
        return np.argsort(scores)
    # What models predict: 32 bits that order as integers do, and leave room for the place.
    keys = np.sort(short.view(np.int32).astype(np.int64) << 32 | np.arange(len(short)))
    return keys & ((1 << 32) - 1)


def influence(ranked: Ranked) -> tuple[float, Floats]:
    """Return the AUC and each sample's part in its error.

    The parts are DeLong's structural components (DeLong et al. 1988; from the order alone as in
    Sun & Xu 2014), centred and scaled so that the sum of their squares is DeLong's variance. The
    difference of two AUCs on the same samples has the difference of the parts.

    Args:
        ranked: with at least one positive and one negative.

    Returns:
        The AUC (ties count half) and the parts [r], in the order of ``ranked``.
    """
    ahead, starts = ranked.positive, ranked.starts()
    sizes, positives = _counts(ahead, starts)
    negatives = sizes - positives
    m, n = int(positives.sum()), int(negatives.sum())
    beaten = (np.cumsum(negatives) - negatives / 2) / n
    beating = (m - np.cumsum(positives) + positives / 2) / m
    area = float(beaten @ positives) / m
    of_one = np.repeat((beaten - area) / math.sqrt(m * max(m - 1, 1)), sizes)
    of_zero = np.repeat((beating - area) / math.sqrt(n * max(n - 1, 1)), sizes)
    return area, np.where(ahead, of_one, of_zero)


def auc_influence(scores: Floats, positive: Bools) -> tuple[float, Floats]:
    """Return the AUC and each sample's part in its error, as :func:`influence`, in their order.

    Args:
        scores: [n], finite.
        positive: [n]; at least one true and one false.
    """
    ranked = rank(scores, positive, np.arange(len(scores)))
    area, parts = influence(ranked)
    found = np.empty(len(scores))
    found[ranked.rows] = parts
    return area, found


@dataclass(frozen=True)
class Segments:
    """The AUC of each segment that has both classes."""

    first: Ints
    """[s] a sample of the segment."""
    size: Ints
    """[s] its samples."""
    auc: Floats
    """[s]"""


def segment_aucs(ranked: Ranked) -> Segments:
    """Return the AUC (ties count half) of every segment with positives and negatives."""
    assert ranked.segment is not None  # noqa: S101 (from ``within``)
    starts = ranked.starts()
    if len(starts) == 0:
        return Segments(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
    own = ranked.segment[starts]
    opening = np.flatnonzero(np.r_[True, own[1:] != own[:-1]])
    sizes, positives = _counts(ranked.positive, starts)
    negatives = sizes - positives
    below = np.cumsum(negatives) - negatives
    # Twice the pairs won, counted from the first sample of all, and set right for each segment.
    won = np.add.reduceat(positives * (2 * below + negatives), opening)
    ones, zeros = np.add.reduceat(positives, opening), np.add.reduceat(negatives, opening)
    won -= 2 * ones * below[opening]
    mixed = np.flatnonzero((ones > 0) & (zeros > 0))
    return Segments(
        first=ranked.rows[starts[opening[mixed]]],
        size=(ones + zeros)[mixed],
        auc=won[mixed] / (2.0 * ones[mixed] * zeros[mixed]),
    )


def _counts(positive: Bools, starts: Ints) -> tuple[Ints, Ints]:
    """Return the samples and the positives of each run."""
    bounds = np.append(starts, len(positive))
    until = np.zeros(len(positive) + 1, dtype=np.int64)
    np.cumsum(positive, out=until[1:])
    return np.diff(bounds), np.diff(until[bounds])
