"""``autoifs benchmark``: every model of the zoo on the same data, under one protocol."""
