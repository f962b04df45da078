"""MLflow's client, opened when it is first needed, with failures that are one sentence."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from features.errors import MlflowError, RegistryError
from features.objects import translated
from training.database import file_of

log = logging.getLogger(__name__)

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",  # half a minute; by default a refusal takes four
}
_REFUSALS = (
    "INVALID_PARAMETER_VALUE",
    "PERMISSION_DENIED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
    "UNAUTHENTICATED",
)
"""What MLflow answers when asking again would not help."""


class Store:
    """An MLflow server or database, as its own client sees it."""

    def __init__(self, uri: str, product: str) -> None:
        """Name the store; nothing is opened yet."""
        self.uri, self.product = uri, product

    @cached_property
    def client(self) -> Any:
        """MLflow's client; importing it takes six seconds."""
        _quiet()
        started = time.perf_counter()
        from mlflow.tracking import MlflowClient

        for noisy in ("mlflow", "mlflow.store.db.utils", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        file = file_of(self.uri)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        made = MlflowClient(self.uri, self.uri)
        log.debug("opened MLflow in %.1f s", time.perf_counter() - started)
        return made

    @contextmanager
    def asking(self, outcome: str = "") -> Iterator[Any]:
        """Yield the client; what it raises becomes one sentence.

        Args:
            outcome: what to say of the state of things, should MLflow fall silent.

        Raises:
            MlflowError: it does not answer.
            RegistryError: it refuses.
            StoreError: the artifacts' object store refuses.
        """
        _quiet()
        from mlflow.exceptions import MlflowException
        from requests import RequestException  # of artifacts that the server hands on
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield self.client
        except (MlflowException, SQLAlchemyError, RequestException) as error:
            if _refuses(error):
                raise RegistryError(
                    f"MLflow at {without_password(self.uri)} refused: {first_line(error)}"
                ) from error
            raise silent(self.uri, error, outcome) from error
        except Exception as error:
            # MLflow lets what the artifacts' store answers through as it is.
            if not type(error).__module__.startswith(("boto3.", "botocore.", "s3transfer.")):
                raise
            raise translated(f"MLflow's artifacts of {self.product}", error) from None


def _refuses(error: Exception) -> bool:
    """Return whether it would be no use to ask again."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return getattr(error, "error_code", None) in _REFUSALS or status in (401, 403)


def _quiet() -> None:
    """Set what MLflow reads when it is imported."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def log_run(
    client: Any,
    run_id: str,
    params: Mapping[str, Any],
    metrics: Sequence[tuple[str, float, int]],
    tags: Mapping[str, str],
) -> None:
    """Log within what one MLflow request takes: 1000 metrics, 100 parameters, 100 tags."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, step) for name, value, step in metrics][:1000],
        params=[Param(name, str(value)) for name, value in params.items()][:100],
        tags=[RunTag(name, str(value)) for name, value in tags.items()][:100],
    )


def silent(uri: str, error: Exception, outcome: str = "") -> MlflowError:
    """Return the error of a store that does not answer as it should."""
    return MlflowError(
        f"MLflow at {without_password(uri)} answered: {first_line(error)}{outcome}; "
        "check MLFLOW_TRACKING_URI and that the store can be reached"
    )


def first_line(error: Exception) -> str:
    """Return what an error says, without what follows on further lines."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def without_password(uri: str) -> str:
    """Return ``uri`` without what stands before an @.

    >>> without_password("postgresql://anna:secret@db/mlflow")
    'postgresql://db/mlflow'
    """
    scheme, mark, rest = uri.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
