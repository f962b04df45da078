"""Alerts reach the webhook, and its address reaches nobody."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from features.errors import ServiceError
from features.spec import Spec, load_spec
from jobs.alert import alert


class _Webhook(http.server.BaseHTTPRequestHandler):
    heard: list[Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append(json.loads(body))
        self.send_response(404 if "refuse" in self.path else 200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[Any]]]:
    heard: list[Any] = []
    handler = type("Handler", (_Webhook,), {"heard": heard})
    server = http.server.HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret-path", heard
    server.shutdown()


def spec_with_webhook(*events: str) -> Spec:
    spec = load_spec("bazaar")
    said = {**spec.model_dump(), "alerts": {"webhook_env": "SHOP_WEBHOOK", "on": events}}
    return Spec.model_validate(said)


def test_an_event_the_spec_wants_reaches_the_webhook(
    webhook: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, heard = webhook
    monkeypatch.setenv("SHOP_WEBHOOK", address)

    assert alert(spec=spec_with_webhook("failure"), event="failure", text="2026-01-02 failed") == {
        "sent": True
    }
    assert heard == [{"text": "bazaar: 2026-01-02 failed"}]


def test_an_event_the_spec_does_not_want_is_not_sent(
    webhook: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_WEBHOOK", webhook[0])

    assert alert(spec=spec_with_webhook("failure"), event="rejection", text="x") == {"sent": False}
    assert webhook[1] == []


@pytest.mark.parametrize("ending", ["", "-refuse"])
def test_a_webhook_that_does_not_answer_is_told_without_its_address(
    ending: str, webhook: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = webhook[0] + ending if ending else "http://127.0.0.1:1/secret-path"
    monkeypatch.setenv("SHOP_WEBHOOK", broken)

    with pytest.raises(ServiceError, match="SHOP_WEBHOOK") as refused:
        alert(spec=spec_with_webhook("failure"), event="failure", text="x")

    assert "secret-path" not in str(refused.value)


def test_a_webhook_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_WEBHOOK", raising=False)

    with pytest.raises(ServiceError, match="SHOP_WEBHOOK, which is not set"):
        alert(spec=spec_with_webhook("failure"), event="failure", text="x")
