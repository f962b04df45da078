"""``autoifs masks``: what the flows that were kept are worth, beside controls."""
