"""What a person is asked, for how long, and what becomes of the answer."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from jinja2 import Template

from dags.approval import BODY, SUBJECT, Approval, answer_arguments


def ti(**xcom):
    return SimpleNamespace(xcom_pull=lambda task_ids, key="return_value": xcom.get(task_ids))


GATE = {"version": "8", "approval_seconds": 3600.0, "approval_otherwise": "reject"}


@pytest.mark.parametrize(("otherwise", "option"), [("reject", "Reject"), ("approve", "Approve")])
def test_the_spec_says_how_long_a_question_stands_and_what_silence_means(
    monkeypatch, otherwise, option
):
    asked = []
    monkeypatch.setattr(HITLOperator, "execute", lambda self, context: asked.append(self))
    gate = {**GATE, "approval_otherwise": otherwise}
    Approval(task_id="approve", subject="?", response_timeout=timedelta(days=7)).execute(
        {"ti": ti(gate=gate)}
    )
    (one,) = asked
    assert (one.response_timeout, one.defaults) == (timedelta(hours=1), [option])


def test_a_refusal_skips_nothing(monkeypatch):
    monkeypatch.setattr(ApprovalOperator, "execute_complete", lambda *_: pytest.fail("it skips"))
    monkeypatch.setattr(HITLOperator, "execute_complete", lambda self, context, event: event)
    one = Approval(task_id="approve", subject="?", response_timeout=timedelta(days=7))
    assert one.execute_complete({}, {"chosen_options": ["Reject"]})["chosen_options"] == ["Reject"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            {"chosen_options": ["Approve"], "responded_by_user": {"id": "7", "name": "anna"}},
            ["approve", "8", "--why", "answered in Airflow by anna"],
        ),
        (
            {"chosen_options": ["Reject"], "responded_by_user": None},
            ["reject", "8", "--why", "nobody answered in time"],
        ),
    ],
)
def test_the_answer_is_handed_on_with_who_gave_it(answer, words):
    assert answer_arguments({"ti": ti(gate=GATE, approve=answer)}) == words


def test_the_question_holds_the_reports_summary():
    known = {"ti": ti(gate=GATE, report={"message": "**bazaar** waits: 3 cells better"})}
    body = Template(BODY).render(**known)
    assert body.startswith("**bazaar** waits: 3 cells better\n\nThe gate let the model pass.")
    assert "`autoifs models approve 8`" in body
    assert Template(SUBJECT).render(**known) == "Make version 8 the champion?"
    assert Template(BODY).render(ti=ti(gate=GATE)).startswith("This night has no report.")
