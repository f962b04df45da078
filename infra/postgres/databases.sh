#!/usr/bin/env bash
# Makes the databases and their owners, once: by hand, or as PostgreSQL's image runs it at its first
# start (/docker-entrypoint-initdb.d). Passwords come by the environment.
set -euo pipefail

psql -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" \
  -v airflow="$AIRFLOW_DATABASE_PASSWORD" -v mlflow="$MLFLOW_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE airflow LOGIN PASSWORD :'airflow';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_auth OWNER mlflow;
REVOKE ALL ON DATABASE airflow, mlflow, mlflow_auth FROM PUBLIC;
SQL
