"""Alerts reach the webhook, and its address reaches nobody."""

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from features.errors import UserError, WebhookError
from features.lake import Lake
from features.spec import Spec, load_spec
from jobs.alert import alert, redacted
from jobs.runs import record

DAY = date(2026, 1, 2)
CANARY = "canary-5e11-secret"
USER = "u1741"


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


@pytest.fixture
def send(webhook: tuple[str, list[Any]], lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that sends an event of ``DAY`` and returns what the webhook heard."""
    monkeypatch.setenv("SHOP_WEBHOOK", webhook[0])
    monkeypatch.delenv("AUTOIFS_REPORTS_URL", raising=False)

    def call(
        event: str, *, on: str | None = None, day: date | None = DAY, **told: Any
    ) -> list[Any]:
        spec = spec_with_webhook(on or event)
        alert(spec=spec, lake=lake, event=event, day=day, **told)  # type: ignore[arg-type]
        return webhook[1]

    return call


def test_a_failure_is_a_sentence_a_link_and_the_next_command(send: Any) -> None:
    heard = send(
        "failure",
        text="bazaar_samples make of 2026-01-02 failed: no raw data of 2026-01-02; deliver it",
        error="missing-day",
        link="http://airflow/dags/bazaar_samples",
        then="autoifs nightly --ds 2026-01-02 --spec bazaar",
    )
    text = (
        "bazaar: bazaar_samples make of 2026-01-02 failed: no raw data of 2026-01-02; deliver it\n"
        "<http://airflow/dags/bazaar_samples|Look>\n"
        "Next: `autoifs nightly --ds 2026-01-02 --spec bazaar`"
    )
    section = {"type": "section", "text": {"type": "mrkdwn", "text": text}}
    assert heard == [{"text": text, "blocks": [section]}]


def test_an_event_the_spec_does_not_want_is_not_sent(send: Any) -> None:
    assert send("rejection", on="failure", text="x") == []
    assert send("late", on="drift", text="x") == []


def test_a_refused_model_is_told_with_its_reasons_and_how_to_compare(
    send: Any, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = [
        "the challenger does not pass the gate",
        "live × click: logloss is worse by 0.0200, more than the tolerance of 0.002 (p = 0.01)",
        "drift: half of the queries are unknown",
    ]
    record(lake, DAY, "gate", 1.0, {"verdict": "promoted", "version": "8", "previous": "7"})
    assert send("rejection") == []
    said = {"verdict": "rejected", "version": "8", "previous": "7", "reasons": reasons}
    record(lake, DAY, "gate", 1.0, said)
    monkeypatch.setenv("AUTOIFS_REPORTS_URL", "https://reports/")
    (told,) = send("rejection")
    assert told["text"] == (
        "bazaar: version 8 of 2026-01-02 is refused: live × click: logloss is worse by 0.0200, "
        "more than the tolerance of 0.002; drift: half of the queries are unknown\n"
        "<https://reports/bazaar/2026-01-02.html|Look>\n"
        "Next: `autoifs models diff 7 8 --spec bazaar`"
    )


def test_what_drifted_is_told_worst_first_and_counted(send: Any, lake: Lake) -> None:
    texts = ["the device moved.", "the price moved", "search: volume halved", "live: empty"]
    findings = [
        {"severity": "stop" if text.startswith("live") else "warn", "text": text} for text in texts
    ]
    record(lake, DAY, "evaluate", 1.0, {"drift": {"findings": []}})
    assert send("drift") == []
    record(lake, DAY, "evaluate", 1.0, {"drift": {"findings": findings}})
    (told,) = send("drift")
    assert told["text"].splitlines()[0] == (
        "bazaar: 2026-01-02 has drifted and stops promotion: live: empty; the device moved; "
        "the price moved (and 1 more)"
    )


def test_a_night_that_is_late_because_it_waits_for_a_person_says_so(send: Any, lake: Lake) -> None:
    told = {"text": "bazaar_training of 2026-01-02 has not ended", "then": "autoifs nightly"}
    assert send("late", **told)[-1]["text"].endswith("has not ended\nNext: `autoifs nightly`")
    record(lake, DAY, "gate", 1.0, {"verdict": "waiting", "version": "8"})
    assert send("late", **told)[-1]["text"].endswith(
        "has not ended: version 8 waits for a person's word\n"
        "Next: `autoifs models approve 8 --spec bazaar`"
    )


def test_a_rejection_of_no_day_is_answered(send: Any) -> None:
    with pytest.raises(UserError, match="--event rejection needs the day"):
        send("rejection", day=None)


@pytest.mark.parametrize(
    ("error", "text", "said"),
    [
        (
            "source",
            f"clicks.csv can't be read (row 7: {USER},feed has 2 fields); deliver it again",
            "clicks.csv can't be read; deliver it again",
        ),
        ("internal", f"make of 2026-01-02 failed: KeyError: '{USER}'", "the log has the reason"),
        ("crash", f"make of 2026-01-02 failed: bad row {USER}", "the log has the reason"),
        ("mlflow", f"MLflow at postgresql://anna:{CANARY}@db/mlflow is away", "MLflow at postgr"),
        ("service", f"{CANARY} was refused", "*** was refused"),
        ("service", "key AKIAABCDEFGHIJKLMNOP was refused", "key *** was refused"),
    ],
)
def test_no_secret_and_no_user_is_in_any_alert(
    send: Any, monkeypatch: pytest.MonkeyPatch, error: str, text: str, said: str
) -> None:
    monkeypatch.setenv("SHOP_DB_PASSWORD", CANARY)
    for event in ("failure", "late"):
        heard = json.dumps(send(event, text=text, error=error, then=f"x {CANARY}"))
        assert said in heard.replace("\\n", " ")
        assert CANARY not in heard and USER not in heard and "AKIA" not in heard


def test_a_secret_is_hidden_however_it_is_written() -> None:
    known = {"MY_TOKEN": "a/b+c d?e", "HOME": "/home/anna", "SHORT_KEY": "abc"}
    for form in ("a/b+c d?e", "a%2Fb%2Bc%20d%3Fe", "a%2Fb%2Bc+d%3Fe"):
        assert redacted(f"url {form} end", known) == "url *** end"
    assert redacted("/home/anna abc", known) == "/home/anna abc"


def test_nothing_in_a_sentence_is_a_command_to_slack(send: Any) -> None:
    (told,) = send("failure", text="<!channel> & <@U1> failed", error="input")
    assert told["text"] == "bazaar: &lt;!channel&gt; &amp; &lt;@U1&gt; failed"


@pytest.mark.parametrize("ending", ["", "-refuse"])
def test_a_webhook_that_does_not_answer_is_told_without_its_address(
    ending: str, webhook: tuple[str, list[Any]], send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = webhook[0] + ending if ending else "http://127.0.0.1:1/secret-path"
    monkeypatch.setenv("SHOP_WEBHOOK", broken)

    with pytest.raises(WebhookError, match="SHOP_WEBHOOK") as refused:
        send("failure", text="x")

    assert "secret-path" not in str(refused.value)


def test_a_webhook_that_is_not_set_is_named(send: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_WEBHOOK", raising=False)

    with pytest.raises(WebhookError, match="SHOP_WEBHOOK, which is not set"):
        send("failure", text="x")
