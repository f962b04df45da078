"""Great Expectations judges the checks and writes its Data Docs into one folder a product."""

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import great_expectations as gx
import pandas as pd
from great_expectations.core import (
    ExpectationSuite,
    ExpectationSuiteValidationResult,
    RunIdentifier,
    ValidationDefinition,
)
from great_expectations.data_context.data_context.ephemeral_data_context import (
    EphemeralDataContext,
)
from great_expectations.data_context.types.base import DataContextConfig, ProgressBarsConfig
from great_expectations.data_context.types.resource_identifiers import (
    ExpectationSuiteIdentifier,
    ValidationResultIdentifier,
)
from great_expectations.expectations.core.expect_column_max_to_be_between import (
    ExpectColumnMaxToBeBetween,
)
from great_expectations.expectations.metadata_types import FailureSeverity

from validation.audit.checks import Check
from validation.audit.view import KIND

VIEWS = "validation.audit.view"
PAGES_IN_INDEX = 60
"""Days that the index lists; it reads the result of each, 10 ms a day."""


def judge(
    checks: Sequence[Check], severities: Mapping[str, str], product: str, day: date, folder: Path
) -> tuple[list[bool], Path]:
    """Validate checks as one Great Expectations suite and render the day's page and the index.

    What is judged is one row of measures, a column a check, not the samples: Spark has no part in
    it. A day judged again replaces its page.

    Args:
        checks: what to judge, in the order of the page.
        severities: check name -> ``stop`` or ``warn``.
        product: names the suite.
        day: names the run.
        folder: where everything is written; nothing is written elsewhere or sent anywhere.

    Returns:
        For each check whether it passed, and the day's page.
    """
    context = _context(folder)
    names = [f"{check.check} ({severities[check.check]}s){KIND}{check.subject}" for check in checks]
    measured = pd.DataFrame([[float(check.value) for check in checks]], columns=names)
    asset = context.data_sources.add_pandas(product).add_dataframe_asset("samples")
    batch = asset.add_batch_definition_whole_dataframe("day")
    expectations = [
        _expectation(name, check, severities[check.check])
        for name, check in zip(names, checks, strict=True)
    ]
    suite = context.suites.add(ExpectationSuite(name=product, expectations=expectations))
    validation = context.validation_definitions.add(
        ValidationDefinition(name=product, data=batch, suite=suite)
    )
    # The run's time is the day's: the page of a day that is judged again takes the old one's place.
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    run = RunIdentifier(run_name=day.isoformat(), run_time=midnight)
    result = validation.run(batch_parameters={"dataframe": measured}, run_id=run)
    return _verdicts(result, names), _render(context, result, run, folder)


def _verdicts(result: ExpectationSuiteValidationResult, names: Sequence[str]) -> list[bool]:
    said = {
        one.expectation_config.kwargs["column"]: bool(one.success)
        for one in result.results
        if one.expectation_config is not None
    }
    return [said[name] for name in names]


def _render(
    context: EphemeralDataContext,
    result: ExpectationSuiteValidationResult,
    run: RunIdentifier,
    folder: Path,
) -> Path:
    """Write the page of one result and the index of all; return the page."""
    page = ValidationResultIdentifier(
        expectation_suite_identifier=ExpectationSuiteIdentifier(result.suite_name),
        run_id=run,
        batch_identifier=result.batch_id,
    )
    context.build_data_docs(resource_identifiers=[page])
    address = context.get_docs_sites_urls(resource_identifier=page)[0]["site_url"]
    # Pictures and fonts of Great Expectations' own pages (4 MB).
    shutil.rmtree(folder / "static", ignore_errors=True)
    return Path(url2pathname(urlsplit(str(address)).path))


def _context(folder: Path) -> EphemeralDataContext:
    """Return a context of its own for one run: results and pages on disk, all else in memory."""
    memory = {"class_name": "InMemoryStoreBackend"}
    stores = {
        "expectations": _store("ExpectationsStore", memory),
        "results": _store("ValidationResultsStore", _files(folder / "results")),
        "checkpoints": _store("CheckpointStore", memory),
        "validation_definition_store": _store("ValidationDefinitionStore", memory),
    }
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": _files(folder),
        "site_index_builder": {
            "class_name": "DefaultSiteIndexBuilder",
            "validation_results_limit": PAGES_IN_INDEX,
            "view": {"module_name": VIEWS, "class_name": "IndexView"},
        },
        "site_section_builders": {
            "expectations": "None",
            "profiling": "None",
            "validations": {"view": {"module_name": VIEWS, "class_name": "DayView"}},
        },
    }
    config = DataContextConfig(
        expectations_store_name="expectations",
        validation_results_store_name="results",
        checkpoint_store_name="checkpoints",
        stores=stores,
        data_docs_sites={"audit": site},
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(project_config=config, mode="ephemeral")


def _store(kind: str, backend: dict[str, str]) -> dict[str, Any]:
    return {"class_name": kind, "store_backend": backend}


def _files(folder: Path) -> dict[str, str]:
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.resolve())}


def _expectation(name: str, check: Check, severity: str) -> ExpectColumnMaxToBeBetween:
    stop = severity == "stop"
    return ExpectColumnMaxToBeBetween(
        column=name,
        min_value=check.low,
        max_value=check.high,
        description=check.expected,
        severity=FailureSeverity.CRITICAL if stop else FailureSeverity.WARNING,
    )
