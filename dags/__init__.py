"""Which job runs where and when: Airflow's wiring, and nothing else."""
