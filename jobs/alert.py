"""Tell a chat channel of a night that failed, was refused, drifted or is late.

A message is one sentence, a link and the command to run next, as Slack's incoming webhooks take it
(Mattermost, Rocket.Chat and others take the same). It goes to people who may not see the data: no
secret of the environment is in it, and of errors only what this product itself says of them, never
what a library quotes from a row.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import quote, quote_plus

import httpx

from features.errors import UserError, WebhookError
from features.lake import Lake
from features.spec import Spec
from features.spec.policy import Event
from jobs.report import ADDRESS
from jobs.runs import results

TIMEOUT = 10.0
"""Seconds to wait for the webhook."""
MOST = 3
"""Findings that a message names; it counts the others."""
FOREIGN = ("internal", "crash", "")
"""Codes of failures whose text is a library's and not ours."""

_SECRET = re.compile(r"SECRET|TOKEN|PASSW|KEY|CREDENTIAL|WEBHOOK", re.IGNORECASE)
_ENTRY = re.compile(r"(?<=://)[^/\s@]+@")
_AWS_KEY = re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b")
_ASIDE = re.compile(r"\s*\([^()]*\)")


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is told."""

    sentence: str
    link: str | None = None
    next: str | None = None
    """A command to run."""


def alert(
    *,
    spec: Spec,
    lake: Lake,
    event: Event,
    day: date | None = None,
    text: str = "",
    error: str = "",
    link: str | None = None,
    then: str | None = None,
) -> dict[str, Any]:
    """Post a message to the spec's webhook, if the spec wants to hear of ``event``.

    The address is read from the environment variable the spec names and appears nowhere else.

    Args:
        spec: the product.
        lake: its tables, where a rejection's reasons and what drifted are looked up.
        event: what happened.
        day: the night.
        text: of a failure and of lateness, what to say.
        error: of a failure, its code: what a library says of it is left out.
        link: where to look; left out: the night's report, where reports are served.
        then: the command to run next, unless what happened asks for another.

    Returns:
        ``sent``, and when it was, the ``sentence``.

    Raises:
        WebhookError: when the variable is unset or the webhook does not take the message.
        UserError: a rejection or drift of no day.
    """
    variable = spec.alerts.webhook_env
    if variable is None or event not in spec.alerts.on:
        return {"sent": False}
    found = _message(spec, lake, event, day, _of_ours(text, error))
    if found is None:
        return {"sent": False}
    address = os.environ.get(variable)
    if not address:
        raise WebhookError(
            f"alerts.webhook_env names {variable}, which is not set; set it or remove the key"
        )
    said = Message(
        sentence=redacted(f"{spec.product}: {found.sentence}"),
        link=link or found.link,
        next=redacted(found.next or then or "") or None,
    )
    _post(address, as_slack(said), variable)
    return {"sent": True, "sentence": said.sentence}


def as_slack(said: Message) -> dict[str, Any]:
    """Return a message as an incoming webhook takes it: blocks, and text for those without."""
    parts = [_escaped(said.sentence)]
    if said.link:
        parts.append(f"<{said.link}|Look>")
    if said.next:
        parts.append(f"Next: `{_escaped(said.next)}`")
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(parts)}}
    return {"text": "\n".join(parts), "blocks": [section]}


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return ``text`` without any secret of the environment, login in an address, or AWS key.

    >>> redacted("postgresql://ann:pw@db/mlflow is away, hunter22", {"MY_TOKEN": "hunter22"})
    'postgresql://***@db/mlflow is away, ***'
    """
    known = os.environ if environment is None else environment
    for name, value in known.items():
        if _SECRET.search(name) and len(value) > 5:
            for form in {value, quote(value, safe=""), quote_plus(value)}:
                text = text.replace(form, "***")
    return _AWS_KEY.sub("***", _ENTRY.sub("***@", text))


def _of_ours(text: str, error: str) -> str:
    """Return of a failure's text what this product says; a library's reasons stand in brackets.

    >>> _of_ours("a.csv can't be read (row u17,x has 2 fields); deliver it again", "source")
    "a.csv can't be read; deliver it again"
    """
    if error in FOREIGN and ": " in text:
        return f"{text.partition(': ')[0]}; the log has the reason"
    return _ASIDE.sub("", text)


def _message(spec: Spec, lake: Lake, event: Event, day: date | None, text: str) -> Message | None:
    """Return what is to be told; None when there is nothing to tell."""
    if event == "failure":
        return Message(sentence=text, link=_page(spec, day))
    if day is None:
        raise UserError(f"--event {event} needs the day: --ds YYYY-MM-DD")
    said = results(lake, day)
    if event == "late":
        return _late(spec, said, day, text)
    return _rejection(spec, said, day) if event == "rejection" else _drift(spec, said, day)


def _late(spec: Spec, said: Mapping[str, Any], day: date, text: str) -> Message:
    """Return that a night is late; one that waits for a person says so."""
    gate = said.get("gate", {})
    if gate.get("verdict") != "waiting":
        return Message(sentence=text, link=_page(spec, day))
    version = gate["version"]
    return Message(
        sentence=f"{text}: version {version} waits for a person's word",
        link=_page(spec, day),
        next=f"autoifs models approve {version} --spec {spec.product}",
    )


def _rejection(spec: Spec, said: Mapping[str, Any], day: date) -> Message | None:
    gate = said.get("gate", {})
    if gate.get("verdict") != "rejected":
        return None
    version, champion = gate["version"], gate["previous"]
    reasons = _several([_ASIDE.sub("", reason) for reason in gate["reasons"][1:]])
    compare = f"autoifs models diff {champion} {version} --spec {spec.product}"
    return Message(
        sentence=f"version {version} of {day} is refused: {reasons}",
        link=_page(spec, day),
        next=compare if champion else f"autoifs report --ds {day} --spec {spec.product}",
    )


def _drift(spec: Spec, said: Mapping[str, Any], day: date) -> Message | None:
    findings = (said.get("evaluate", {}).get("drift") or {}).get("findings") or []
    ordered = sorted(findings, key=lambda finding: finding["severity"] != "stop")
    if not ordered:
        return None
    texts = _several([_ASIDE.sub("", str(finding["text"])) for finding in ordered])
    stops = " and stops promotion" if ordered[0]["severity"] == "stop" else ""
    return Message(
        sentence=f"{day} has drifted{stops}: {texts}",
        link=_page(spec, day),
        next=f"autoifs report --ds {day} --spec {spec.product}",
    )


def _several(texts: list[str]) -> str:
    told = [text.rstrip(".") for text in texts[:MOST]]
    more = f" (and {len(texts) - MOST} more)" if len(texts) > MOST else ""
    return "; ".join(told) + more


def _page(spec: Spec, day: date | None) -> str | None:
    served = os.environ.get(ADDRESS)
    return f"{served.rstrip('/')}/{spec.product}/{day}.html" if served and day else None


def _escaped(text: str) -> str:
    """Return text in which nothing is a command to Slack: no mention, no channel, no link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _post(address: str, message: dict[str, Any], variable: str) -> None:
    try:
        status = httpx.post(address, json=message, timeout=TIMEOUT).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The error's own text may hold the address, which is a secret.
        kind = type(error).__name__
        raise WebhookError(f"the webhook of {variable} can't be reached ({kind})") from None
    if status >= 400:
        raise WebhookError(f"the webhook of {variable} refused the message (HTTP {status})")
