-- What the four roles may do in MLflow's own database, where jobs are let into it
-- (AUTOIFS_MLFLOW_DATABASE: a promotion is then one transaction). Run by its owner in the database
-- `mlflow`, once the server has made its tables; a release of MLflow's that adds tables may want
-- it again. Whoever goes through MLflow's server alone needs none of this.
--
-- All four read what is registered. Only the promoter writes: registers, promotes, retires.

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT ON DATABASE mlflow TO builder, trainer, promoter, reader;
GRANT USAGE ON SCHEMA public TO builder, trainer, promoter, reader;

GRANT SELECT ON ALL TABLES IN SCHEMA public TO builder, trainer, promoter, reader;

GRANT INSERT, UPDATE, DELETE ON
    experiments, experiment_tags,
    runs, params, tags, metrics, latest_metrics,
    registered_models, registered_model_tags, registered_model_aliases,
    model_versions, model_version_tags
TO promoter;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO promoter;
