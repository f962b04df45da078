"""``python -m jobs`` is ``autoifs``."""

from jobs.cli import main

main()
