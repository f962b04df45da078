"""``autoifs bench``: what the sample factory costs, beside other engines and beside itself.

Each measurement runs in a process of its own (``child``), so that its memory can be told from
others' and Polars can be given its number of threads. ``shop``, ``duckdb_day`` and ``polars_day``
are the reference engines; ``factory`` is ours; ``measure`` strings all of it together.
"""
