"""A marketplace that logs events with a known ground truth, for trials, tests and benchmarks."""

from jobs.simulator.run import simulate

__all__ = ["simulate"]
