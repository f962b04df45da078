"""Airflow wiring: which job runs when, and after what."""
