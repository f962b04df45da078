"""What one DAG tells another: that a day's samples are published."""

from airflow.sdk import Asset


def samples_of(product: str) -> Asset:
    """Return the asset ``<product>_samples``, one partition a day."""
    return Asset(name=f"{product}_samples", group="samples")
