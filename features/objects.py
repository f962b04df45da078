"""An object store as this product speaks to it beside Delta: conditional puts, small objects."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from features.errors import StoreError, UnavailableError, UserError

SCHEMES = ("s3", "s3a")
"""Hadoop says s3a, everybody else s3."""
PART = 8 * 1024 * 1024
"""Bytes from which a file goes in parts, and of each part."""
_DIGEST = "sha256"
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
    "NoSuchBucket": "has no such bucket; create it, or correct the name in the address",
    "CERTIFICATE_VERIFY_FAILED": (
        "shows a certificate that nobody here vouches for; name its authority's file in "
        "AWS_CA_BUNDLE and SSL_CERT_FILE"
    ),
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
        found = None
        with asking(self.url(key), expecting=_ABSENT):
            said = self._client.get_object(**self._named(key))
            found = Found(
                body=said["Body"].read(),
                etag=said["ETag"],
                changed=said["LastModified"],
                asked=parsedate_to_datetime(said["ResponseMetadata"]["HTTPHeaders"]["date"]),
            )
        return found

    def put(self, key: str, body: bytes, *, match: str | None) -> str | None:
        """Put an object where there is none, or in place of the one with the ETag ``match``.

        Returns:
            The new ETag; none when another writer was quicker.

        Raises:
            StoreError: when the store refuses.
            UnavailableError: when it does not answer.
        """
        condition = {"IfNoneMatch": "*"} if match is None else {"IfMatch": match}
        etag = None
        with asking(self.url(key), expecting=(*_LOST, *_ABSENT)):
            said = self._client.put_object(**self._named(key), Body=body, **condition)
            etag = str(said["ETag"])
        return etag

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with ``prefix``.

        Raises:
            StoreError: when the store refuses.
            UnavailableError: when it does not answer.
        """
        place = self._named(prefix)
        cut = len(place["Key"]) - len(prefix)
        with asking(self.url(prefix)):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=place["Bucket"], Prefix=place["Key"]
            )
            return [one["Key"][cut:] for page in pages for one in page.get("Contents", ())]

    def upload(self, key: str, path: Path) -> None:
        """Put a file.

        Raises:
            StoreError: when the store refuses.
            UnavailableError: when it does not answer.
        """
        with asking(self.url(key)):
            self._client.upload_file(str(path), **self._named(key))

    def download(self, key: str, path: Path) -> None:
        """Fetch an object into a file, whose folder is made.

        Raises:
            StoreError: when the store refuses.
            UnavailableError: when it does not answer.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with asking(self.url(key)):
            self._client.download_file(**self._named(key), Filename=str(path))

    def remove(self, keys: Iterable[str]) -> None:
        """Delete objects that may be there.

        Raises:
            StoreError: when the store refuses.
            UnavailableError: when it does not answer.
        """
        for key in keys:
            with asking(self.url(key)):
                self._client.delete_object(**self._named(key))

    def publish(self, path: Path, key: str, *, kind: str, lasting: bool) -> bool:
        """Put a file, in parts when it is large, each checked by the store against its SHA-256.

        Args:
            path: the file.
            key: its name there.
            kind: its media type.
            lasting: whether it never changes under this name, so that a browser may keep it.

        Returns:
            False when the same was there already.

        Raises:
            StoreError: when the store refuses, or holds something else afterwards.
            UnavailableError: when it does not answer.
        """
        from boto3.s3.transfer import TransferConfig

        digest = _sha256(path)
        named = self._named(key)
        extra = {
            "ChecksumAlgorithm": "SHA256",
            "ContentType": kind,
            "CacheControl": "max-age=31536000, immutable" if lasting else "no-cache",
            "Metadata": {_DIGEST: digest},
        }
        parts = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
        if self._digest(key) == digest:
            return False
        with asking(self.url(key)):
            self._client.upload_file(str(path), **named, ExtraArgs=extra, Config=parts)
        if self._digest(key) != digest:
            raise StoreError(
                f"{self.url(key)}: another file was put there at the same time; publish again"
            )
        return True

    def _digest(self, key: str) -> str | None:
        """Return the SHA-256 that an object was published with, none without an object."""
        digest = None
        # A bucket that is missing is absent here too; putting the file tells which it was.
        with asking(self.url(key), expecting=_ABSENT):
            said = self._client.head_object(**self._named(key))
            digest = str(said.get("Metadata", {}).get(_DIGEST, ""))
        return digest

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


@contextmanager
def asking(url: str, expecting: Sequence[str] = ()) -> Iterator[None]:
    """Turn what boto3 raises in the block into one sentence; what is expected ends the block.

    Raises:
        StoreError: when the store refuses.
        UnavailableError: when it does not answer.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (ClientError, BotoCoreError, Boto3Error) as error:
        if _code(error) not in expecting:
            raise translated(url, error) from None


def translated(url: str, error: Exception) -> UserError:
    """Return what to tell a person about a client's error at an address."""
    told = refusal(str(error))
    if told is not None:
        return StoreError(f"{url}: the object store {told}")
    said = " ".join(str(error).split())[:200]
    return UnavailableError(f"{url}: the object store does not answer ({said}); run again later")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _code(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
