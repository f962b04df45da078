"""A real Airflow of this home, driven from outside: its processes, its REST interface, its runs."""

from jobs.airflow.client import Client
from jobs.airflow.server import Airflow, connect

__all__ = ["Airflow", "Client", "connect"]
