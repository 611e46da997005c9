"""What waits in workflows: ``triggers``, ``parked`` tasks, ``dead`` letters; and ``graph``, who waits for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ctxqueue.integration import cancelling
from ctxqueue.integration.cli.arguments import (
    agent_options,
    confirmed,
    every,
    handle_of,
    json_option,
    limit_option,
    of_workflows,
    optional_workflow,
    workflow_argument,
    yes_option,
)
from ctxqueue.integration.cli.commands import Misused, Subcommands, Told, command, reaching_results
from ctxqueue.integration.cli.output import one_out, plain, rows_out, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.models import DeadLetter, Page, ParkedTask
    from ctxqueue.triggers import Trigger

STATES = ("ARMED", "FIRED", "CANCELLED", "EXPIRED", "FAILED")


@click.group(cls=Subcommands)
def triggers() -> None:
    """Signatures that are sent once a condition holds: list, show, fire, cancel."""


@click.group(cls=Subcommands)
def parked() -> None:
    """Tasks that wait without a worker: list, release, cancel."""


@click.group(cls=Subcommands)
def dead() -> None:
    """Updates that were set aside after too many tries: list, replay, drop."""


# --- triggers ----------------------------------------------------------------------------------------------------


@command("list", example="celery -A proj ctx triggers list q3-close --state armed")
@workflow_argument
@click.option("--state", type=click.Choice(STATES, case_sensitive=False), help="Only those.")
@json_option
def list_triggers(queue: ContextQueue, *, workflow_id: str, state: str | None, as_json: bool) -> None:
    """List the triggers of a workflow, the oldest first; of those that have ended the last hundred."""
    queue.manager.summary(workflow_id)  # raises where there is none
    found = (each for each in queue.workflow(workflow_id).triggers() if state in (None, each.state))
    rows_out((_trigger(each) for each in found), as_json=as_json, empty="no triggers")


def _trigger(trigger: Trigger) -> dict[str, Any]:
    return {"id": trigger.id, "state": trigger.state, "waits_for": trigger.condition, "reason": trigger.reason}


def _found(queue: ContextQueue, workflow_id: str, trigger_id: str) -> Trigger:
    queue.manager.summary(workflow_id)
    if not trigger_id:  # of a script whose variable is empty; all begin so
        raise Misused("ID is empty: celery -A proj ctx triggers list WORKFLOW has them")
    found = [each for each in queue.workflow(workflow_id).triggers() if each.id.startswith(trigger_id)]
    if len(found) == 1 or (found and found[0].id == trigger_id):
        return found[0]
    raise Told(f"workflow {workflow_id!r} has {len(found) or 'no'} triggers whose id begins with {trigger_id!r}")


@command("show", example="celery -A proj ctx triggers show q3-close 0199b3c2")
@workflow_argument
@click.argument("trigger_id", metavar="ID")
@json_option
def show_trigger(queue: ContextQueue, *, workflow_id: str, trigger_id: str, as_json: bool) -> None:
    """Show one trigger; the beginning of its id will do."""
    one_out(_trigger(_found(queue, workflow_id, trigger_id)), as_json=as_json)


@command("fire", example="celery -A proj ctx triggers fire q3-close 0199b3c2")
@workflow_argument
@click.argument("trigger_id", metavar="ID")
def fire_trigger(queue: ContextQueue, *, workflow_id: str, trigger_id: str) -> None:
    """Send a trigger's signature now, whatever its condition; status 1 if it had fired or ended."""
    trigger = _found(queue, workflow_id, trigger_id)
    if not trigger.fire():
        raise Told(f"trigger {trigger.id} is {trigger.state}: it cannot be fired")
    say(f"{trigger.id} has fired")


@command("cancel", example="celery -A proj ctx triggers cancel q3-close 0199b3c2")
@workflow_argument
@click.argument("trigger_id", metavar="ID")
def cancel_trigger(queue: ContextQueue, *, workflow_id: str, trigger_id: str) -> None:
    """Call a trigger off; status 1 if it had fired or ended."""
    trigger = _found(queue, workflow_id, trigger_id)
    if not trigger.cancel():
        raise Told(f"trigger {trigger.id} is {trigger.state}: it cannot be called off")
    say(f"{trigger.id} is called off")


# --- parked tasks ------------------------------------------------------------------------------------------------


@command("list", example="celery -A proj ctx parked list q3-close")
@optional_workflow
@limit_option
@json_option
def list_parked(queue: ContextQueue, *, workflow_id: str | None, limit: int | None, as_json: bool) -> None:
    """List the tasks that wait in a workflow, or in all of them."""

    def of_one(name: str) -> Iterator[ParkedTask]:
        def page(most: int, cursor: str | None) -> Page[ParkedTask]:
            return queue.parked(name, limit=most, cursor=cursor)

        return every(page, limit)

    found = of_workflows(queue, workflow_id, of_one, lambda summary: summary.waiting)
    rows = (plain(each) if as_json else _parked(each) for _, each in found)
    rows_out(rows, as_json=as_json, empty="no task waits", limit=limit)


def _parked(each: ParkedTask) -> dict[str, Any]:
    return {
        "run": each.run_id,
        "workflow": each.workflow_id,
        "task": each.task,
        "task_id": each.task_id,
        "since": each.parked_at,
        "until": each.deadline,
        "needs": each.needs,
    }


@command("release", example="celery -A proj ctx parked release q3-close 0199b3c2-7d1e-7000-8000-5a1b2c3d4e5f")
@workflow_argument
@click.argument("run_id", metavar="RUN")
def release_parked(queue: ContextQueue, *, workflow_id: str, run_id: str) -> None:
    """Let a task go on now, as if what it waits for were there; status 1 if it waits no more."""
    if not queue.release(workflow_id, run_id):
        raise Told(f"no task of run {run_id!r} waits in workflow {workflow_id!r}")
    say(f"{run_id} goes on")


@command("cancel", example="celery -A proj ctx parked cancel 4f6c1c0e-8a0f-4f0e-9d43-0d6c2b1c7a11")
@click.argument("task_id", metavar="TASK_ID")
@click.option("--unseen", is_flag=True, help="Also one that no worker has had yet: it is called off when one gets it.")
def cancel_parked(queue: ContextQueue, *, task_id: str, unseen: bool) -> None:
    """Call a task off, by its Celery id: its result is REVOKED. Status 1 if it had ended, or none is known."""
    with reaching_results(queue.app):
        if not unseen and not cancelling.is_known(queue, task_id):
            raise Told(
                f"no worker has had a task {task_id!r}: celery -A proj ctx parked list has those that wait; --unseen"
                " calls off one that is still on its way"
            )
        called_off = queue.cancel(task_id)
    if not called_off:
        raise Told(f"task {task_id} has ended")
    say(f"{task_id} is called off")


# --- dead letters ------------------------------------------------------------------------------------------------


@command("list", example="celery -A proj ctx dead list")
@optional_workflow
@limit_option
@json_option
def list_dead(queue: ContextQueue, *, workflow_id: str | None, limit: int | None, as_json: bool) -> None:
    """List the dead letters of a workflow, or of all of them; never what they would have written."""

    def of_one(name: str) -> Iterator[DeadLetter]:
        def page(most: int, cursor: str | None) -> Page[DeadLetter]:
            return queue.dead_letters(name, limit=most, cursor=cursor)

        return every(page, limit)

    found = of_workflows(queue, workflow_id, of_one, lambda summary: summary.dead_letters)
    rows = (plain(each) for _, each in found)
    rows_out(rows, as_json=as_json, empty="no dead letters", limit=limit)


@command("replay", example="celery -A proj ctx dead replay q3-close:web_extractor_001:op-17")
@click.argument("letter_id", metavar="ID")
def replay_dead(queue: ContextQueue, *, letter_id: str) -> None:
    """Let an update be tried again; the next sweep sends it."""
    if not queue.replay_dead_letter(letter_id):
        raise Told(f"there is no dead letter {letter_id!r}")
    say(f"{letter_id} is tried again")


@command("drop", example="celery -A proj ctx dead drop q3-close:web_extractor_001:op-17 --yes")
@click.argument("letter_id", metavar="ID")
@yes_option
def drop_dead(queue: ContextQueue, *, letter_id: str, yes: bool) -> None:
    """Remove an update for good."""
    confirmed(f"drop {letter_id} for good?", yes=yes)
    if not queue.drop_dead_letter(letter_id):
        raise Told(f"there is no dead letter {letter_id!r}")
    say(f"{letter_id} is dropped")


# --- who waits for what ------------------------------------------------------------------------------------------


@command(
    "graph",
    example="""
        celery -A proj ctx graph q3-close > q3-close.mmd
        celery -A proj ctx graph q3-close --format dot > q3-close.dot
    """,
)
@workflow_argument
@click.option("--format", "form", type=click.Choice(["mermaid", "dot"]), default="mermaid", show_default=True)
@agent_options
def graph(queue: ContextQueue, *, workflow_id: str, form: str, **agent: Any) -> None:
    """Draw entries, what depends on what, and who waits for what."""
    say(handle_of(queue, workflow_id, **agent).graph(form).rstrip("\n"))


for _group, _commands in (
    (triggers, (list_triggers, show_trigger, fire_trigger, cancel_trigger)),
    (parked, (list_parked, release_parked, cancel_parked)),
    (dead, (list_dead, replay_dead, drop_dead)),
):
    for _command in _commands:
        _group.add_command(_command)

COMMANDS = {"triggers": triggers, "parked": parked, "dead": dead, "graph": graph}
