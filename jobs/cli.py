"""``autoifs``: the one door that people and DAGs share.

Every command logs to stderr, prints one JSON object as its last line on stdout, and answers bad
input with one sentence and a non-zero exit. Heavy rooms are imported by the command that needs
them, so that ``autoifs --help`` stays quick.
"""

import atexit
import os
import sys

import typer

from jobs.commands import (
    bench,
    benchmark,
    capacity,
    chain,
    cluster,
    lake,
    masks,
    models,
    night,
    quarantine,
    samples,
    spec,
)

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
for _group in (chain, samples, night, lake, spec, benchmark):
    app.add_typer(_group.app)
app.add_typer(bench.app, name="bench")
app.add_typer(capacity.app, name="capacity")
app.add_typer(cluster.app, name="cluster")
app.add_typer(samples.samples_app, name="samples")
app.add_typer(quarantine.quarantine_app, name="quarantine")
app.add_typer(models.models_app, name="models")
app.add_typer(masks.masks_app, name="masks")
app.add_typer(spec.spec_app, name="spec")


def main() -> None:
    """Run the command line and end the process with its status.

    Python's own shutdown is left out: now and then it meets Arrow's I/O threads at work and aborts
    a command that has done all it had to do. What asked to be called at the end is called.
    """
    os.environ.setdefault("COLUMNS", "120")  # a help text that fits a log
    status: object = 0
    try:
        app()
    except SystemExit as ended:
        status = ended.code
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))
