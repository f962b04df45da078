"""Asking a person whether a model becomes champion, and handing the answer on."""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator

SUBJECT = "Make version {{ ti.xcom_pull('gate')['version'] }} the champion?"
BODY = (
    "{{ (ti.xcom_pull('report') or {}).get('message') or 'This night has no report.' }}\n\n"
    "The gate let the model pass. From the command line: "
    "`autoifs models approve {{ ti.xcom_pull('gate')['version'] }}`, or `reject`."
)


class Approval(ApprovalOperator):
    """Asks as long as the spec says, and then answers as the spec says.

    The gate's result holds both. Unlike its base, a refusal skips nothing: the task after it is
    told the answer, and writes it down.
    """

    def execute(self, context: Any) -> None:
        """Park until a person answers under Browse → Required Actions, or time is up."""
        decision = context["ti"].xcom_pull(task_ids="gate")
        self.response_timeout = timedelta(seconds=decision["approval_seconds"])
        self.defaults = [
            self.APPROVE if decision["approval_otherwise"] == "approve" else self.REJECT
        ]
        super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Return the answer: ``chosen_options``, and by whom."""
        return HITLOperator.execute_complete(self, context, event)


def answer_arguments(context: Any) -> list[str]:
    """Return the words after ``models``: approve or reject the version, and who said so."""
    version = str(context["ti"].xcom_pull(task_ids="gate")["version"])
    answer = context["ti"].xcom_pull(task_ids="approve")
    word = "approve" if answer["chosen_options"] == [ApprovalOperator.APPROVE] else "reject"
    return [word, version, "--why", _who(answer)]


def _who(answer: Any) -> str:
    user = answer.get("responded_by_user")
    if not user:
        return "nobody answered in time"
    name = user.get("name") if isinstance(user, dict) else getattr(user, "name", user)
    return f"answered in Airflow by {name}"
