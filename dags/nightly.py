"""Every product's DAGs; the one file of this folder in which Airflow looks for a DAG."""

from dags.factory import maintenance_dag, samples_dag, training_dag
from dags.settings import products

for _product, _spec in products().items():
    globals()[f"{_product}_samples"] = samples_dag(_product, _spec)
    globals()[f"{_product}_training"] = training_dag(_product, _spec)
    globals()[f"{_product}_maintenance"] = maintenance_dag(_product, _spec)
