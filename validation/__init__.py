"""Rules on samples and on models, and the report."""
