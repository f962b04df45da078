"""An object store as this product speaks to it beside Delta: conditional puts, small objects."""

import os
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from features.errors import StoreError, UnavailableError, UserError

SCHEMES = ("s3", "s3a")
"""Hadoop says s3a, everybody else s3."""
_WAIT, _ATTEMPTS = 20, 4
"""Seconds to wait for an answer, and how often it is asked for."""
_ABSENT = ("NoSuchKey", "404")
_LOST = ("PreconditionFailed", "ConditionalRequestConflict", "412")
_REFUSALS = {
    "AccessDenied": "denies it; give the role of this run the right, or let another role run it",
    "Access Denied": "denies it; give the role of this run the right, or let another role run it",
    "InvalidAccessKeyId": "does not know the access key; correct AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "refuses the secret; correct AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "says that the credentials have expired; renew them and run again",
    "RequestTimeTooSkewed": "says that this machine's clock is wrong; set it and run again",
    "NoSuchBucket": "has no such bucket; create it, or correct AUTOIFS_LAKE",
    "QuotaExceeded": "is full; free space and run again",
}
"""What S3 answers → what to tell a person, after "the object store"."""


def is_address(place: str) -> bool:
    """Return whether a place is an object store's and not a folder."""
    return urlsplit(place).scheme in SCHEMES


@dataclass(frozen=True, kw_only=True)
class Found:
    """An object, with the store's own times."""

    body: bytes
    etag: str
    changed: datetime
    asked: datetime
    """When the store answered, by its own clock."""


@dataclass(frozen=True)
class Objects:
    """The objects below an address such as ``s3://bucket/prefix``."""

    root: str

    def url(self, key: str) -> str:
        """Return the address of an object."""
        return f"{self.root}/{key}"

    def get(self, key: str) -> Found | None:
        """Return an object, or none.

        Raises:
            StoreError: when the store refuses.
            UnavailableError: when it does not answer.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            said = self._client.get_object(**self._named(key))
            body = said["Body"].read()
        except (ClientError, BotoCoreError) as error:
            if _code(error) in _ABSENT:
                return None
            raise _translated(self.url(key), error) from None
        return Found(
            body=body,
            etag=said["ETag"],
            changed=said["LastModified"],
            asked=parsedate_to_datetime(said["ResponseMetadata"]["HTTPHeaders"]["date"]),
        )

    def put(self, key: str, body: bytes, *, match: str | None) -> str | None:
        """Put an object where there is none, or in place of the one with the ETag ``match``.

        Returns:
            The new ETag; none when another writer was quicker.

        Raises:
            StoreError: when the store refuses.
            UnavailableError: when it does not answer.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        condition = {"IfNoneMatch": "*"} if match is None else {"IfMatch": match}
        try:
            said = self._client.put_object(**self._named(key), Body=body, **condition)
        except (ClientError, BotoCoreError) as error:
            if _code(error) in (*_LOST, *_ABSENT):
                return None
            raise _translated(self.url(key), error) from None
        return str(said["ETag"])

    def _named(self, key: str) -> dict[str, str]:
        place = urlsplit(self.url(key))
        return {"Bucket": place.netloc, "Key": place.path.lstrip("/")}

    @cached_property
    def _client(self) -> Any:
        return client()


def client() -> Any:
    """Return a boto3 client of S3 as the environment (``AWS_*``) describes it."""
    from boto3.session import Session
    from botocore.config import Config

    config = Config(
        connect_timeout=_WAIT,
        read_timeout=_WAIT,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
    )
    # A session of its own: the module's keeps the first credentials for ever.
    return Session().client("s3", region_name=os.environ.get("AWS_REGION"), config=config)


def refusal(text: str) -> str | None:
    """Return what to tell a person about a client's error that quotes the store's answer.

    >>> refusal("An error occurred (ExpiredToken) when calling the GetObject operation")
    'says that the credentials have expired; renew them and run again'
    """
    return next((told for code, told in _REFUSALS.items() if code in text), None)


def _translated(url: str, error: Exception) -> UserError:
    told = refusal(str(error))
    if told is not None:
        return StoreError(f"{url}: the object store {told}")
    said = " ".join(str(error).split())[:200]
    return UnavailableError(f"{url}: the object store does not answer ({said}); run again later")


def _code(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
