"""Arguments and options that several commands share: a workflow, an agent, a scope, a JSON value."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from ctxqueue.clock import LONGEST_DURATION
from ctxqueue.errors import WorkflowNotFound
from ctxqueue.integration.cli.commands import Misused, queue_of, telling
from ctxqueue.settings import MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.models import Page, WorkflowSummary

T = TypeVar("T")

COMPLETED = 50
"""Names that a shell is offered at most."""


def _workflows_beginning(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names that a shell completes; nothing if the store is away."""
    try:
        with telling():
            queue = queue_of(_with_app(context))
            return [each.workflow_id for each in queue.manager.workflows(prefix=incomplete, limit=COMPLETED)]
    except click.ClickException:
        return []


def _with_app(context: click.Context) -> click.Context:
    """Completion runs no command above this one, so nobody has loaded the app yet."""
    if context.obj is None:
        from celery.app.utils import find_app  # noqa: PLC0415 - with the first of its uses, Celery has loaded it
        from celery.bin.base import CLIContext  # noqa: PLC0415

        name: Any = context.find_root().params.get("app")
        context.obj = CLIContext(app=find_app(name) if isinstance(name, str) else name, no_color=True, workdir=None)
    return context


workflow_argument = click.argument("workflow_id", metavar="WORKFLOW", shell_complete=_workflows_beginning)
optional_workflow = click.argument(
    "workflow_id", metavar="[WORKFLOW]", required=False, shell_complete=_workflows_beginning
)
key_argument = click.argument("key")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON, one object a line, for scripts.")
reveal_option = click.option("--reveal", is_flag=True, help="Show sensitive values in clear.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


class Seconds(click.FloatRange):
    """A finite number of seconds above, or from, 0."""

    def __init__(self, least: float = 0, *, min_open: bool = False) -> None:
        super().__init__(least, LONGEST_DURATION, min_open=min_open)

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        """Return it, or end the command with what is wrong."""
        seconds: float = super().convert(value, param, context)
        if math.isnan(seconds):
            self.fail(f"{value} is no number of seconds", param, context)
        return seconds


limit_option = click.option("--limit", type=click.IntRange(min=1), help="Stop after so many.")
SCOPES = click.Choice(["private", "agent_group", "workflow", "global"])


def agent_options(function: Any) -> Any:
    """Add the options that name an agent; without them it is the operator."""
    for option in (
        click.option("--group", "groups", multiple=True, help="Of the agent; may be repeated."),
        click.option("--agent-role", help="Of the agent."),
        click.option("--agent-type", help="Of the agent; default: by its id."),
        click.option("--agent", "agent_id", help="Act as this agent: see what it sees. Default: the operator."),
    ):
        function = option(function)
    return function


def scope_options(function: Any) -> Any:
    """Add the options that name where an entry stands."""
    for option in (
        click.option("--of-group", help="The group, with --scope agent_group."),
        click.option("--scope", type=SCOPES, help="Where it stands; default: where the agent would find or write it."),
    ):
        function = option(function)
    return function


def handle_of(
    queue: ContextQueue,
    workflow_id: str,
    agent_id: str | None = None,
    agent_type: str | None = None,
    agent_role: str | None = None,
    groups: tuple[str, ...] = (),
) -> WorkflowHandle:
    """Return the hold of the agent that the options name."""
    return queue.workflow(workflow_id, agent_id=agent_id, agent_type=agent_type, agent_role=agent_role, groups=groups)


def every(page_of: Callable[[int, str | None], Page[T]], limit: int | None) -> Iterator[T]:
    """Yield what all pages hold, as they come, up to a limit; ``page_of`` takes a page's limit and its cursor."""
    cursor, left = None, limit
    while left is None or left > 0:
        # The first page is a small one: it is there sooner.
        page = page_of(min(left or MAX_PAGE, 100 if cursor is None else MAX_PAGE), cursor)
        yield from page.items[:left]
        left = None if left is None else left - len(page)
        cursor = page.next_cursor
        if cursor is None:
            return


def all_workflows(queue: ContextQueue) -> Iterator[WorkflowSummary]:
    """Yield all workflows."""
    return every(lambda most, at: queue.manager.workflows(limit=most, cursor=at), None)


def of_workflows(
    queue: ContextQueue,
    workflow_id: str | None,
    of_one: Callable[[str], Iterable[T]],
    may_have: Callable[[WorkflowSummary], object] = lambda _summary: True,
) -> Iterator[tuple[str, T]]:
    """Yield what one workflow has of something, or all that may have it; one that is removed meanwhile has none."""
    if workflow_id is not None:
        yield from ((workflow_id, item) for item in of_one(workflow_id))
        return
    for each in filter(may_have, all_workflows(queue)):
        try:
            yield from ((each.workflow_id, item) for item in of_one(each.workflow_id))
        except WorkflowNotFound:
            continue


def given_json(text: str, what: str) -> Any:
    """Return what an argument says: JSON, ``-`` for standard input, ``@file``; raises Misused."""
    if text == "-":
        text, what = sys.stdin.read(), "standard input"
    elif text.startswith("@"):
        what = text[1:]
        try:
            text = Path(what).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Misused(f"{what} cannot be read: {error}") from error
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise Misused(f"{what} is not JSON: {error}") from error
    except RecursionError:
        raise Misused(f"{what} is nested too deeply") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def confirmed(question: str, *, yes: bool) -> None:
    """Ask, unless told not to; raises click.Abort."""
    if yes:
        return
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort as answer:
        if isinstance(answer.__context__, KeyboardInterrupt):
            raise answer.__context__ from None  # Ctrl-C is no answer
        raise
