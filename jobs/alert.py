"""Tell a chat channel that a night failed or that its model was refused."""

import os
from typing import Any

import httpx

from features.errors import ServiceError
from features.spec import Spec

TIMEOUT = 10.0
"""Seconds to wait for the webhook."""


def alert(*, spec: Spec, event: str, text: str) -> dict[str, Any]:
    """Post ``text`` to the spec's webhook, if the spec wants to hear of ``event``.

    The address is read from the environment variable the spec names and appears nowhere else.

    Raises:
        ServiceError: when the variable is unset or the webhook does not take the message.
    """
    variable = spec.alerts.webhook_env
    if variable is None or event not in spec.alerts.on:
        return {"sent": False}
    address = os.environ.get(variable)
    if not address:
        raise ServiceError(
            f"alerts.webhook_env names {variable}, which is not set; set it or remove the key"
        )
    _post(address, {"text": f"{spec.product}: {text}"}, variable)
    return {"sent": True}


def _post(address: str, message: dict[str, str], variable: str) -> None:
    try:
        status = httpx.post(address, json=message, timeout=TIMEOUT).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The error's own text may hold the address, which is a secret.
        kind = type(error).__name__
        raise ServiceError(f"the webhook of {variable} can't be reached ({kind})") from None
    if status >= 400:
        raise ServiceError(f"the webhook of {variable} refused the message (HTTP {status})")
