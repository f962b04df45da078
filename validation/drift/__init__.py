"""What moved: inputs, predictions and masks, each with a limit and a sentence."""

from validation.drift.masks import (
    FlowDrift,
    KeepRates,
    MaskDrift,
    keep_rates,
    mask_drift,
    mask_readings,
)
from validation.drift.reading import Reading, judged_by, student_reach

__all__ = [
    "FlowDrift",
    "KeepRates",
    "MaskDrift",
    "Reading",
    "judged_by",
    "keep_rates",
    "mask_drift",
    "mask_readings",
    "student_reach",
]
