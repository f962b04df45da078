"""Errors a user can act on: one sentence, the thing's name, what to do."""


class UserError(Exception):
    """Bad input or a missing part: its text is the one sentence the command line prints.

    A subclass is a kind of failure with an entry of its own in ``infra/RUNBOOK.md``.
    """

    code = "input"
    """Stable name of the kind of failure, printed as ``error`` in the JSON line."""

    exit_code = 2
    """Exit status of the command that raised it: 2 or 3 when a person must act."""


class SpecError(UserError):
    """A spec that can't be used: the text names the file, the path inside it and the fix."""

    code = "spec"


class SourceError(UserError):
    """Raw data that can't be read as the spec declares it."""

    code = "source"


class MissingDayError(SourceError):
    """A day whose raw data is absent or empty."""

    code = "missing-day"


class AuditError(UserError):
    """A staged partition that broke an audit rule of severity ``stop``."""

    code = "audit"
    exit_code = 3


class LakeError(UserError):
    """A table that is missing, unreadable or not writable."""

    code = "lake"


class TrainingError(UserError):
    """Training that can't start or must not go on."""

    code = "training"


class NoNightError(UserError):
    """A report, gate or comparison of a night that never ran."""

    code = "no-night"


class StoreError(UserError):
    """An object store that refuses: rights, credentials, a clock."""

    code = "store"


class UnavailableError(UserError):
    """A service that does not answer now; the same run may succeed later, so it is tried again."""

    code = "unavailable"
    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class RegistryError(UserError):
    """A model version, alias or artifact that is absent or not as it was registered."""

    code = "registry"


class UnknownVersionError(RegistryError):
    """A model version that is not, or no longer, registered."""

    code = "unknown-version"


class ChampionChangedError(RegistryError):
    """The champion is another one than the caller decided against."""

    code = "champion-changed"


class VersionInUseError(RegistryError):
    """A version that may not be retired: it has an alias, is pinned, or a rollback needs it."""

    code = "version-in-use"


class VocabularyGoneError(RegistryError):
    """A model whose vocabulary was deleted or built anew: its indices mean nothing any more."""

    code = "vocabulary-gone"


class ApprovalError(RegistryError):
    """An answer to a question that the gate did not ask, or that was answered otherwise."""

    code = "approval"


class PromotionBusyError(RegistryError, UnavailableError):
    """Another process holds the lock of the champion's changes, or nothing can lock them."""

    code = "promotion-lock"


class MlflowError(RegistryError, UnavailableError):
    """MLflow, or its database, does not answer or refuses the request."""

    code = "mlflow"


class ArtifactError(RegistryError):
    """Files of a model that are absent, changed by hand, of another format, or not to be loaded."""

    code = "artifact"


class ServiceError(UserError):
    """A service or tool (Java, Airflow, MLflow, a port) that is missing or does not answer."""

    code = "service"


class WebhookError(ServiceError):
    """The chat channel's webhook is not set, or does not take a message."""

    code = "webhook"
