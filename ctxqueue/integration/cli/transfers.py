"""Workflows out of a store, and into one: ``export``, ``import``."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from ctxqueue.errors import CapacityError, WorkflowExists
from ctxqueue.integration import transferring
from ctxqueue.integration.cli.arguments import all_workflows, json_option, reveal_option
from ctxqueue.integration.cli.commands import Told, command
from ctxqueue.integration.cli.output import one_out, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ctxqueue.integration.install import ContextQueue

T = TypeVar("T")


@command(
    "export",
    example="""
        celery -A proj ctx export q3-close q2-close --output quarters.jsonl
        celery -A proj ctx export --all --reveal | gzip > all.jsonl.gz
    """,
)
@click.argument("workflow_ids", metavar="[WORKFLOW]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All workflows.")
@click.option("--global", "with_global", is_flag=True, help="The namespace's global context too.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: standard output.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@reveal_option
def export(
    queue: ContextQueue,
    *,
    workflow_ids: tuple[str, ...],
    everything: bool,
    with_global: bool,
    output: Path | None,
    force: bool,
    reveal: bool,
) -> None:
    """Write workflows and their entries as JSON Lines, with a checksum at the end.

    Not in it: history, log, triggers, tasks that wait, memories. Without --reveal the values of sensitive entries are
    left out, and import passes them over. A file has its name only once it is whole.
    """
    if everything and workflow_ids:
        raise click.UsageError("name workflows, or give --all, not both")
    if not (everything or workflow_ids or with_global):
        raise click.UsageError("name workflows, or give --all")
    ids = (each.workflow_id for each in all_workflows(queue)) if everything else dict.fromkeys(workflow_ids)
    lines = transferring.exported(queue, ids, with_global=with_global, reveal=reveal, some_may_go=everything)
    if output is None:
        for line in lines:
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        return
    if output.exists() and not force:
        raise Told(f"{output} is there already: --force writes over it")
    try:
        _write_whole(output, _shown(lines, None))
    except OSError as error:
        raise Told(f"{output} cannot be written: {error}") from error


def _write_whole(output: Path, lines: Iterable[bytes]) -> None:
    unfinished = output.with_name(f"{output.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            for line in lines:
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)


def _shown(items: Iterable[T], length: int | None) -> Iterator[T]:
    """Yield the items, with a progress bar where somebody looks."""
    if not sys.stderr.isatty():
        yield from items
        return
    with click.progressbar(items, length=length, file=sys.stderr, show_pos=True, label="lines") as shown:
        yield from shown


@command(
    "import",
    example="""
        celery -A proj ctx import quarters.jsonl
        celery -A proj ctx import quarters.jsonl --resume
    """,
)
@click.argument("source", metavar="FILE")
@click.option("--resume", is_flag=True, help="Go on with an import of this file that was cut off.")
@click.option("--dry-run", is_flag=True, help="Only look whether it could be imported.")
@json_option
def import_(queue: ContextQueue, *, source: str, resume: bool, dry_run: bool, as_json: bool) -> None:
    """Make the workflows of an export, FILE or - for standard input, with their entries.

    The whole file is looked at first: one that was cut off or changed is refused, and nothing is written. So is one
    with a workflow that is there already. An import that was cut off goes on with --resume: what it has written, and
    what agents have written since, stays.
    """
    with _opened(source) as file:
        found = transferring.checked(file)
        _refuse_too_many(queue, *found.largest)
        if not resume:
            _refuse_existing(queue, found.workflow_ids)
        if dry_run:
            say(f"{len(found.workflow_ids)} workflows and {found.entries} entries could be imported")
            return
        length = found.size
        with _bar(length) as advance:
            report = transferring.imported(queue, file, found, advance)
    if as_json:
        one_out(report, as_json=True)
    else:
        say(", ".join(f"{count} {what.replace('_', ' ')}" for what, count in report.items()))


def _refuse_too_many(queue: ContextQueue, workflow_id: str, entries: int) -> None:
    """Refuse what would make room for itself: each entry beyond the limit would remove an earlier one."""
    most = queue.manager.terms.settings.max_entries
    if entries > most:
        raise CapacityError(
            f"workflow {workflow_id!r} has {entries} entries, and ctxqueue_max_entries is {most} here: nothing was"
            " imported"
        )


def _refuse_existing(queue: ContextQueue, workflow_ids: Iterable[str]) -> None:
    there = transferring.existing(queue, workflow_ids)
    if there:
        known = f" and {len(there) - 1} more exist" if len(there) > 1 else " exists"
        raise WorkflowExists(
            f"workflow {there[0]!r}{known}: nothing was imported. If an import of this file was cut off, --resume"
        )


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    """Open a file that can be read twice."""
    try:
        if source != "-":
            with Path(source).open("rb") as file:
                yield file
            return
    except OSError as error:
        raise Told(f"{source} cannot be read: {error.strerror}") from error
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.seek(0)
        yield file


@contextmanager
def _bar(length: int) -> Iterator[Any]:
    if not sys.stderr.isatty():
        yield lambda _bytes: None
        return
    with click.progressbar(length=length, file=sys.stderr, label="importing") as shown:
        yield shown.update


COMMANDS = {"export": export, "import": import_}
