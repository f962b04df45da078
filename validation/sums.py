"""What users add up to, and the measures that are functions of such sums.

Every measure but the AUC is one: taken on the sums of all users it is the value, and on the sums of
users drawn anew it is what the bootstrap needs. A measure is therefore written once, below.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from validation.cells import Judged
from validation.intervals import Floats, Ints
from validation.ranking import Ranked, segment_aucs

BINS = 15
"""Parts of equal size, by prediction, in which calibration is looked at (Guo et al. 2017)."""
BIN_LABELS = 50
"""Positives and negatives a bin has on average: with fewer bins are fewer, for a distance from few
labels is mostly noise."""
_PLAIN = 7


@dataclass(frozen=True)
class Sums:
    """Sums over a group's samples; the axes before the last are the group's and the resample's."""

    columns: Floats
    """[…, 7 + BINS]"""

    @property
    def n(self) -> Floats:
        """Labels."""
        return self.columns[..., 0]

    @property
    def positives(self) -> Floats:
        """Positive labels."""
        return self.columns[..., 1]

    @property
    def predicted(self) -> Floats:
        """Predictions."""
        return self.columns[..., 2]

    @property
    def loss(self) -> Floats:
        """Log losses in nats."""
        return self.columns[..., 3]

    @property
    def ranked(self) -> Floats:
        """Samples in users' days that have both classes."""
        return self.columns[..., 4]

    @property
    def won(self) -> Floats:
        """The same, times their day's AUC."""
        return self.columns[..., 5]

    @property
    def user_days(self) -> Floats:
        """How many users' days have both classes."""
        return self.columns[..., 6]

    @property
    def residuals(self) -> Floats:
        """[…, BINS] predictions minus labels."""
        return self.columns[..., _PLAIN:]


WIDTH = _PLAIN + BINS


def sums_by_bucket(
    chances: Floats, lost: Floats, ranked: Ranked, segmented: Ranked, samples: Judged
) -> Floats:
    """Return what each group of users adds to the sums of a cell, as [buckets, WIDTH].

    Args:
        chances: [n] predictions of the task.
        lost: [n] their log losses.
        ranked: the cell's samples by prediction.
        segmented: the same, by user's day and prediction.
        samples: whose they are.
    """
    buckets, size = samples.buckets[ranked.rows], samples.drawn
    predicted, positive = chances[ranked.rows], ranked.positive.astype(np.float64)
    days = segment_aucs(segmented)
    owners = samples.buckets[days.first]
    plain = [
        np.bincount(buckets, minlength=size),
        np.bincount(buckets, positive, size),
        np.bincount(buckets, predicted, size),
        np.bincount(buckets, lost[ranked.rows], size),
        np.bincount(owners, days.size, size),
        np.bincount(owners, days.size * days.auc, size),
        np.bincount(owners, minlength=size),
    ]
    place = buckets * BINS + bins_of(ranked)
    residuals = np.bincount(place, predicted - positive, size * BINS).reshape(size, BINS)
    return np.hstack([np.stack(plain, axis=1), residuals])


def bins_of(ranked: Ranked) -> Ints:
    """Return each sample's bin [r]; equal predictions are never told apart."""
    ones = int(ranked.positive.sum())
    count = min(max(min(ones, len(ranked.rows) - ones) // BIN_LABELS, 1), BINS)
    starts = ranked.starts()
    sizes = np.diff(np.r_[starts, len(ranked.rows)])
    return np.repeat(starts * count // max(len(ranked.rows), 1), sizes)


def logloss(sums: Sums) -> Floats:
    """Return the log loss in nats a label."""
    return ratio(sums.loss, sums.n)


def normalised_entropy(sums: Sums) -> Floats:
    """Return the log loss over that of always predicting the labels' mean (He et al. 2014)."""
    share = ratio(sums.positives, sums.n)
    with np.errstate(invalid="ignore", divide="ignore"):
        entropy = -share * np.log(share) - (1 - share) * np.log1p(-share)
    return ratio(logloss(sums), entropy)


def pcoc(sums: Sums) -> Floats:
    """Return predicted over observed positives; 1 is calibrated."""
    return ratio(sums.predicted, sums.positives)


def gauc(sums: Sums) -> Floats:
    """Return the mean AUC of users' days that have both classes, weighted by impressions."""
    return ratio(sums.won, sums.ranked)


def calibration_error(sums: Sums) -> Floats:
    """Return the expected calibration error: how far bins are off on average, by their size."""
    return ratio(np.abs(sums.residuals).sum(axis=-1), sums.n)


MEASURES: dict[str, Callable[[Sums], Floats]] = {
    "gauc": gauc,
    "logloss": logloss,
    "ne": normalised_entropy,
    "pcoc": pcoc,
    "ece": calibration_error,
}


def ratio(above: Floats, below: Floats) -> Floats:
    """Return the quotient; NaN where there is nothing below."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)
