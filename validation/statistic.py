"""A measure with its uncertainty, in a form in which means and differences keep theirs.

Measures are taken in every cell and slice and, pooled over scenarios, of every task; a scenario, a
slice and the whole are means over tasks. What two models do on the same samples is strongly alike,
so the error of a difference comes from the samples, never from two separate errors.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from validation.cells import Group, Judged, losses
from validation.intervals import REPLICATES, Estimate, Floats, bootstrap_sums, interval
from validation.ranking import Ranked, influence, rank
from validation.sums import MEASURES, WIDTH, Sums, ratio, sums_by_bucket

Scale = Literal["plain", "ratio", "distance"]
_NOTHING: Floats = np.empty(0)


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """A value and how it varies."""

    value: float
    variation: Floats = field(default_factory=lambda: _NOTHING)
    """Each user's part in the error, or the value in each resample; empty: not asked for."""
    resampled: bool
    """Which of the two ``variation`` is."""
    scale: Scale = "plain"
    """On what its error is even: the value, its logarithm, or that of a distance from 0."""
    chance: Floats = field(default_factory=lambda: _NOTHING)
    """Of a distance: what it would be in each resample if the truth were 0."""
    inflation: float = 0.0
    """Of a distance: how much the noise of a resample adds to it on average."""

    @property
    def error(self) -> float | None:
        """The standard error; None when the variation was not asked for."""
        if len(self.variation) == 0:
            return None
        if self.resampled:
            return float(np.nanstd(self.variation, ddof=1))
        return float(np.sqrt(self.variation @ self.variation))

    @property
    def by_chance(self) -> float | None:
        """What a distance would be on average if the truth were 0; None for what is none."""
        return float(np.nanmean(self.chance)) if len(self.chance) else None

    def estimate(self, confidence: float) -> Estimate:
        """Return the value with its interval."""
        error = self.error
        if error is None:
            return Estimate(value=self.value)
        if self.scale == "ratio" and self.value > 0:
            return self._ratio(confidence)
        if self.scale == "distance":
            return self._distance(error, confidence)
        return interval(self.value, error, confidence)

    def minus(self, other: "Statistic") -> "Statistic":
        """Return the difference to the same measure of another model on the same samples."""
        return Statistic(
            value=self.value - other.value,
            variation=self.variation - other.variation,
            resampled=self.resampled,
        )

    def _ratio(self, confidence: float) -> Estimate:
        """Return an interval that is even in the logarithm: a few positives make it lopsided."""
        positive = self.variation[self.variation > 0]
        error = float(np.std(np.log(positive), ddof=1)) if len(positive) > 1 else 0.0
        reach = np.exp(NormalDist().inv_cdf(0.5 + confidence / 2) * error)
        low, high = self.value / reach, self.value * reach
        return Estimate(value=self.value, low=round(low, 9), high=round(high, 9))

    def _distance(self, error: float, confidence: float) -> Estimate:
        """Return an interval that takes off what noise adds to a distance.

        From 0 when no more was found than chance gives.
        """
        around = interval(self.value - self.inflation, error, confidence)
        assert around.low is not None and around.high is not None  # noqa: S101 (from ``interval``)
        nothing = self.value <= float(np.nanquantile(self.chance, confidence))
        return Estimate(
            value=self.value,
            low=0.0 if nothing else max(0.0, min(around.low, self.value)),
            high=max(around.high, self.value),
        )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All measures of a model on some samples."""

    statistics: Mapping[str, dict[Group, Statistic]]
    """Measure → cell, slice or pooled task → its value; absent where there is none."""
    totals: Mapping[Group, Sums]
    """Sums over cells, slices and pooled tasks with finite predictions."""

    def suffices(self, measure: str, cell: Group, minimum: int) -> bool:
        """Return whether what only this measure needs is there: of GAUC, users' days to rank in."""
        return measure != "gauc" or (
            cell in self.totals and bool(self.totals[cell].user_days >= minimum)
        )

    def with_means(
        self, measure: str, samples: Judged, among: Container[Group]
    ) -> dict[Group, Statistic]:
        """Return a measure with the means over tasks: of each scenario and slice, and the whole.

        Args:
            measure: ``auc``, or one of ``MEASURES``.
            samples: what it was taken on.
            among: the cells, slices and pooled tasks that may enter a mean.
        """
        found = dict(self.statistics[measure])
        for part in samples.parts:
            cells = [(part, m) for m in range(len(samples.layout.tasks))]
            known = [found[cell] for cell in cells if cell in found and cell in among]
            if known:
                found[part, None] = _mean(known)
        return found


def measure(
    probabilities: Floats, samples: Judged, *, replicates: int = REPLICATES, seed: int = 1
) -> Measured:
    """Take all measures of predictions [n, M], in every cell, slice and pooled task.

    A cell without labels, or with a prediction that is not finite, has none; one with a single
    class has those that need no other. One sort a task serves all of its AUCs, and one more those
    of users' days.

    Args:
        probabilities: [n, M].
        samples: what they are judged on.
        replicates: resamples of the users; 0: nothing is said about variation.
        seed: of the resampling; two models must have the same to be compared.
    """
    areas: dict[Group, Statistic] = {}
    sums: dict[Group, Floats] = {}
    for m in range(len(samples.layout.tasks)):
        chances, labels = probabilities[:, m], samples.labels[:, m]
        known, lost = ~np.isnan(labels), losses(chances, labels)
        ranked = rank(chances, labels > 0, np.flatnonzero(known & np.isfinite(chances)))
        segmented = ranked.within(samples.user_days)
        for part in samples.parts:
            members = samples.members(part)
            own = ranked.of(members)
            if len(own.rows) == 0 or len(own.rows) < samples.counts[part, m].n:
                continue
            days = segmented.of(members)
            sums[part, m] = sums_by_bucket(chances, lost, own, days, samples)
            if 0 < own.positive.sum() < len(own.rows):
                areas[part, m] = _area(own, samples, varies=replicates > 0)
    taken, totals = _of_sums(sums, samples, replicates, seed)
    return Measured(statistics={"auc": areas, **taken}, totals=totals)


def average(models: Sequence[Measured]) -> Measured:
    """Return the mean measures of models that were measured on the same samples with one seed.

    It says how good a model is on the average of its seeds, not how good they are together: no
    predictions are averaged.
    """
    names = models[0].statistics
    return Measured(
        statistics={
            name: {
                group: _mean([one.statistics[name][group] for one in models])
                for group in names[name]
                if all(group in one.statistics[name] for one in models)
            }
            for name in names
        },
        totals=models[0].totals,
    )


def _area(ranked: Ranked, samples: Judged, *, varies: bool) -> Statistic:
    """Return the AUC, with each user's part in its error."""
    area, parts = influence(ranked)
    by_user = np.bincount(samples.clusters[ranked.rows], parts, samples.users) if varies else None
    variation = _NOTHING if by_user is None else by_user.astype(np.float64)
    return Statistic(value=area, variation=variation, resampled=False)


def _of_sums(
    sums: Mapping[Group, Floats], samples: Judged, replicates: int, seed: int
) -> tuple[dict[str, dict[Group, Statistic]], dict[Group, Sums]]:
    """Return the measures that are functions of sums, and the sums."""
    found: dict[str, dict[Group, Statistic]] = {name: {} for name in MEASURES}
    if not sums:
        return found, {}
    by_bucket = np.hstack(list(sums.values()))
    drawn = bootstrap_sums(by_bucket, replicates=replicates, seed=seed)
    drawn = drawn.reshape(replicates, len(sums), WIDTH)
    totals = by_bucket.sum(axis=0).reshape(len(sums), WIDTH)
    for place, group in enumerate(sums):
        whole, resampled = Sums(totals[place]), Sums(drawn[:, place])
        for name, taken in MEASURES.items():
            value = float(taken(whole))
            if np.isfinite(value):
                found[name][group] = Statistic(
                    value=value,
                    variation=taken(resampled),
                    resampled=True,
                    scale="ratio" if name == "pcoc" else "plain",
                )
        if replicates:
            found["ece"][group] = _distance(found["ece"][group], whole, resampled)
    return found, {group: Sums(total) for group, total in zip(sums, totals, strict=True)}


def _distance(found: Statistic, whole: Sums, resampled: Sums) -> Statistic:
    """Return the calibration error as a distance: never below 0, and larger for noise alone.

    Its error is that of the bins' residuals with the signs that they have; a resample's own signs
    would hide some of it.
    """
    signs, off = np.sign(whole.residuals), whole.residuals / whole.n
    residuals = ratio(resampled.residuals, resampled.n[..., None])
    return replace(
        found,
        variation=(residuals * signs).sum(axis=-1),
        scale="distance",
        chance=np.abs(residuals - off).sum(axis=-1),
        inflation=float(np.nanmean(found.variation)) - found.value,
    )


def _mean(parts: list[Statistic]) -> Statistic:
    return Statistic(
        value=sum(part.value for part in parts) / len(parts),
        variation=np.mean([part.variation for part in parts], axis=0),
        resampled=parts[0].resampled,
        scale=parts[0].scale,
        chance=np.mean([part.chance for part in parts], axis=0),
        inflation=sum(part.inflation for part in parts) / len(parts),
    )
