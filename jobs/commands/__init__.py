"""The commands of ``autoifs``, a file for each group that ``--help`` shows."""
