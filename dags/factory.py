"""The DAGs of a product: a night of samples, the training that follows it, the tables' upkeep."""

from datetime import timedelta
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    CronPartitionTimetable,
    CronTriggerTimetable,
    Param,
    PartitionedAssetTimetable,
    TriggerRule,
    WeightRule,
    task,
)

from dags.alerts import Alert, deadlines
from dags.approval import BODY, SUBJECT, Approval, answer_arguments
from dags.assets import samples_of
from dags.day import asked, day_of, is_backfill
from dags.job import JobOperator, one_day
from dags.settings import gpu_options, schedule_end, task_defaults, train_ranks

TRAIN_POOL = "train"
"""One slot: two trainings would share the GPU, or the laptop's cores."""
DEFAULT_POOL = "default_pool"
BUILDER, TRAINER, PROMOTER = "builder", "trainer", "promoter"
"""Whose rights a job has: who writes samples, who trains and judges, who changes what is in use."""

PARAMS = {
    "day": Param(
        None, type=["null", "string"], description="The day, where no partition key says."
    ),
    "source": Param(None, type=["null", "string"], description="Folder of the raw logs."),
    "retrain": Param(False, type="boolean", description="Train although the night has a version."),
}
TO = Param(None, type=["null", "string"], description="Of a backfill: its last day, YYYY-MM-DD.")

SAMPLES_DOC = """
### Samples of {product}, one partition a day

`make` builds, audits, publishes and encodes the night's day, and builds again the day whose last
label window closes, all in one Spark session. `announce` tells the training DAG; it is skipped in
backfills, which therefore start no training.

A day by hand: trigger with the partition key `YYYY-MM-DD`. A range: a backfill; with
`{{"to": "YYYY-MM-DD"}}` as its configuration a run builds, with its own day, the small days after
it that go through the same plan, and their runs find them done. A run again changes nothing unless
its data changed.
"""

TRAINING_DOC = """
### Training of {product}, after each announced day

Trains the spec's model and a baseline, registers the challenger, judges it beside the champion on
days neither saw, lets the gate decide, writes the report, and publishes it where a bucket is named.
Where the spec says `gate: {{approval: true}}`, `approve` shows the report's summary and waits for a
person (Browse → Required Actions), and `answer` does what was said; otherwise the gate promotes by
itself and both are skipped.
"""


def samples_dag(product: str, spec: str) -> DAG:
    """Return the producer: one night of samples."""
    with DAG(
        f"{product}_samples",
        description="Raw logs → audited, published, encoded samples, one partition a day.",
        doc_md=SAMPLES_DOC.format(product=product),
        # Midnight, not 2 o'clock: with any other hour a run by hand and a backfill of the same day
        # count as two partitions.
        schedule=CronPartitionTimetable(
            "0 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"
        ),
        end_date=schedule_end(),
        catchup=False,
        max_active_runs=1,
        deadline=deadlines(spec),
        default_args={**task_defaults(), "on_failure_callback": [Alert(spec, "failure")]},
        params={**PARAMS, "to": TO},
        tags=["autoifs", product, "samples"],
    ) as dag:
        make = JobOperator(
            task_id="make",
            command="samples",
            spec=spec,
            role=BUILDER,
            arguments=samples_arguments,
            pool=lake_pool(product),
            # A backfill announces nothing, or one of 30 days would start 30 trainings.
            ends_backfill=True,
            doc_md="Build, audit, publish and encode; `autoifs samples night` or `samples ahead`.",
        )
        make >> announce(samples_of(product))
    return dag


def maintenance_dag(product: str, spec: str) -> DAG:
    """Return the weekly upkeep of a product's tables: small files merged, old ones deleted."""
    with DAG(
        f"{product}_maintenance",
        description="Merge the tables' small files; delete old ones that no model needs.",
        doc_md=f"`autoifs maintain` on the tables of {product}, in the pool of their writers.",
        schedule=CronTriggerTimetable("0 12 * * 0", timezone="UTC"),
        end_date=schedule_end(),
        catchup=False,
        max_active_runs=1,
        default_args={**task_defaults(), "on_failure_callback": [Alert(spec, "failure")]},
        tags=["autoifs", product, "maintenance"],
    ) as dag:
        JobOperator(
            task_id="maintain",
            command="maintain",
            spec=spec,
            role=BUILDER,
            arguments=lambda _: [],
            pool=lake_pool(product),
            doc_md="`autoifs maintain`.",
        )
    return dag


def training_dag(product: str, spec: str) -> DAG:
    """Return the consumer: train, register, evaluate, gate, report."""
    with DAG(
        f"{product}_training",
        description="Published samples → a registered, judged, perhaps promoted model; the report.",
        doc_md=TRAINING_DOC.format(product=product),
        schedule=PartitionedAssetTimetable(assets=samples_of(product)),
        catchup=False,
        # A night that waits a week for its approval must not hold up the nights after it; the pool
        # lets one job work at a time, and the weights let a night end before the next begins.
        max_active_runs=16,
        deadline=deadlines(spec),
        default_args={
            **task_defaults(),
            "on_failure_callback": [Alert(spec, "failure")],
            "pool": TRAIN_POOL,
            "weight_rule": WeightRule.UPSTREAM,
        },
        params=PARAMS,
        tags=["autoifs", product, "training"],
    ) as dag:
        train = JobOperator(
            task_id="train",
            command="train",
            spec=spec,
            role=TRAINER,
            arguments=train_arguments,
            ranks=train_ranks(),
            **gpu_options(),
            execution_timeout=timedelta(hours=12),
            doc_md="Train the spec's model and the baseline; `autoifs train`.",
        )
        register = _job(
            "register", spec, PROMOTER, "Make the model the challenger; `autoifs register`."
        )
        evaluate = _job(
            "evaluate",
            spec,
            TRAINER,
            "Judge it beside the champion; `autoifs evaluate`.",
            on_success_callback=[Alert(spec, "drift")],
        )
        gate = _job(
            "gate",
            spec,
            PROMOTER,
            "Decide, and promote if nobody must agree; `autoifs gate`.",
            on_success_callback=[Alert(spec, "rejection")],
        )
        # A refusal is a result, not a failure. Should the gate itself break, there is still an
        # evaluation to show; the run fails all the same, for answer can't follow.
        report = _job(
            "report",
            spec,
            PROMOTER,
            "Write the night's report; `autoifs report`.",
            trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
        )
        train >> register >> evaluate >> gate
        [evaluate, gate] >> report >> _publish(spec)
        [gate >> needs_approval(), report] >> _approve() >> _answer(spec)
    return dag


def lake_pool(product: str) -> str:
    """Return the pool, of one slot, that gives a product's tables one writer at a time."""
    return f"lake_{product}"


def samples_arguments(context: Any) -> list[str]:
    """Return ``night --ds …``; in a backfill that says its end, ``ahead --ds … --to …``."""
    day, source = day_of(context), asked(context, "source")
    end = context["params"].get("to") if is_backfill(context) else None
    words = ["ahead", "--ds", day, "--to", end] if end else ["night", "--ds", day]
    return [*words, *(["--source", source] if source else [])]


def train_arguments(context: Any) -> list[str]:
    """Return the day, and ``--retrain`` when it was asked of this run or of the samples' run."""
    return [*one_day(context), *(["--retrain"] if asked(context, "retrain") else [])]


def announce(samples: Asset) -> Any:
    """Return the task that alone has the asset as its outlet: a backfill goes without it."""

    @task(task_id="announce", outlets=[samples], doc_md="Tell the training DAG.")
    def tell(**context: Any) -> None:
        context["outlet_events"][samples].extra = {"retrain": bool(asked(context, "retrain"))}

    return tell()


def needs_approval() -> Any:
    """Return the task that lets only a model through which passed and needs a person's word."""

    @task.short_circuit(
        task_id="needs_approval",
        ignore_downstream_trigger_rules=False,
        pool=DEFAULT_POOL,
        doc_md="Go on only where the spec wants a person to agree.",
    )
    def decide(**context: Any) -> bool:
        decision = context["ti"].xcom_pull(task_ids="gate")
        # A gate that found its decision made does not ask for it once more.
        return bool(decision.get("verdict") == "waiting" and not decision.get("skipped"))

    return decide()


def _job(name: str, spec: str, role: str, doc: str, **options: Any) -> JobOperator:
    return JobOperator(task_id=name, command=name, spec=spec, role=role, doc_md=doc, **options)


def _approve() -> Approval:
    return Approval(
        task_id="approve",
        subject=SUBJECT,
        body=BODY,
        pool=DEFAULT_POOL,
        # Until the gate's result says how long; nothing waits for ever should it not.
        response_timeout=timedelta(days=7),
        execution_timeout=None,
        doc_md="Wait for a person: Browse → Required Actions. Rejecting leaves the champion as is.",
    )


def _answer(spec: str) -> JobOperator:
    return JobOperator(
        task_id="answer",
        command="models",
        spec=spec,
        role=PROMOTER,
        arguments=answer_arguments,
        doc_md="Do what was answered; `autoifs models approve` or `reject`.",
    )


def _publish(spec: str) -> JobOperator:
    return _job(
        "publish",
        spec,
        PROMOTER,
        "Put the pages and the champion's folder into the bucket; `autoifs publish`.",
        only_with="AUTOIFS_PUBLISH",
    )
