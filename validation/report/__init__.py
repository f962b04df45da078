"""The nightly report: values in, one self-contained HTML page out."""

from validation.report.data import ReportData
from validation.report.render import (
    render,
    render_diff,
    render_diff_markdown,
    render_index,
    render_markdown,
)

__all__ = [
    "ReportData",
    "render",
    "render_diff",
    "render_diff_markdown",
    "render_index",
    "render_markdown",
]
