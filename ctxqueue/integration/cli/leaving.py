"""What is to be forgotten, and what of ours is still there: ``erase``, ``uninstall-check``."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from ctxqueue.integration.cli.arguments import all_workflows, confirmed, every, json_option, of_workflows, yes_option
from ctxqueue.integration.cli.commands import command
from ctxqueue.integration.cli.output import one_out, plain, say
from ctxqueue.memories.archives import erase_archives
from ctxqueue.stores.base import is_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.models import ParkedTask


@command("erase", example="celery -A proj ctx erase --user 4711 --yes")
@click.option("--agent", "agent_id", help="What this agent wrote or kept for itself.")
@click.option("--user", "user_id", help="What is about this user: entries with metadata user_id, memories.")
@click.option("--namespace", help="All of it, by the name of the app's own: workflows, memories, all that waits.")
@yes_option
@json_option
def erase(
    queue: ContextQueue,
    *,
    agent_id: str | None,
    user_id: str | None,
    namespace: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove what an agent wrote, or what is about a user, everywhere: earlier values and memories too.

    The agent's stored updates, dead letters, triggers and subscriptions go, and stored updates about the user. It goes
    through all workflows, and archives of memories if ``ctxqueue_memory_archive`` names a folder; one that was cut off
    is called again.
    """
    if (agent_id is not None) + (user_id is not None) + (namespace is not None) != 1:
        raise click.UsageError("give --agent, --user or --namespace")
    whose = f"agent {agent_id!r}" if agent_id is not None else f"user {user_id!r}"
    whose = "everybody" if namespace is not None else whose
    confirmed(f"erase all of {whose} in namespace {queue.manager.terms.namespace!r}, for good?", yes=yes)
    report = queue.manager.erase(agent_id=agent_id, user_id=user_id, namespace=namespace)
    if as_json:
        one_out(plain(report), as_json=True)
    else:
        kept = f"{report.entries} entries, {report.values} earlier values and {report.memories} memories"
        waiting = f"with {report.updates} stored updates and {report.triggers} triggers"
        say(f"{kept} were removed, {waiting}; {report.workflows} workflows were looked through")
    folder = queue.app.conf.get("ctxqueue_memory_archive")
    if folder:
        keyring = getattr(getattr(queue.manager.store, "sealing", None), "keyring", None)
        archives = erase_archives(
            *(folder, queue.manager.terms.namespace, keyring),
            agent_id=agent_id,
            user_id=user_id,
            everybody=namespace is not None,
        )
        told = f"{archives.removed} lines were removed from {archives.files} archives"
        told += f"; {archives.busy} of these are being written, {archives.refused} lines do not open"
        click.echo(told, err=as_json)


@command("uninstall-check", example="celery -A proj ctx uninstall-check")
@json_option
def uninstall_check(queue: ContextQueue, *, as_json: bool) -> None:
    """Say what of ours still lives in the store, and what would be lost with it; status 1 if there is anything."""
    counts: Counter[str] = Counter(dict.fromkeys(LOST, 0))
    for each in all_workflows(queue):
        counts["workflows"] += 1
        counts["entries"] += each.entries
        counts["stored_updates"] += each.stored_updates
    waiting = of_workflows(queue, None, lambda name: _parked(queue, name), lambda summary: summary.waiting)
    counts["waiting_tasks"] = sum(1 for _ in waiting)
    armed = of_workflows(queue, None, lambda name: queue.workflow(name).triggers(), lambda summary: summary.waiting)
    counts["armed_triggers"] = sum(trigger.state == "ARMED" for _, trigger in armed)
    handle = queue.workflow("any")  # the global context is the same from everywhere
    counts["global_entries"] = sum(
        1 for _ in every(lambda most, at: handle.list(scope="global", limit=most, cursor=at), None)
    )
    counts["unsent_messages"] = queue.manager.backlog().outbox
    counts["memories"] = sum(1 for _ in every(lambda most, at: queue.memory.list(limit=most, cursor=at), None))
    counts["audit_records"] = sum(1 for _ in every(lambda most, at: queue.manager.audit(limit=most, cursor=at), None))
    if as_json:
        one_out(dict(counts), as_json=True)
    else:
        for name, count in counts.items():
            if count:
                say(f"{count} {name.replace('_', ' ')}: {LOST.get(name, 'gone with the store')}")
        if not any(counts.values()):
            say(f"nothing is left but the namespace's own record; {_where(queue)}")
    sys.exit(int(any(counts.values())))


LOST = {
    "workflows": "close and remove them, or leave them: each ends by itself, idle for ctxqueue_idle_life",
    "entries": "celery -A proj ctx export --all --reveal keeps them",
    "waiting_tasks": "they will never run; celery -A proj ctx parked list",
    "armed_triggers": "they will never fire; celery -A proj ctx triggers list",
    "stored_updates": "let a worker settle them first; celery -A proj ctx dead list",
    "unsent_messages": "let beat and a worker send them first",
    "global_entries": "celery -A proj ctx export --global --reveal keeps them",
    "memories": "they are kept until somebody forgets them",
    "audit_records": "celery -A proj ctx audit export keeps them; each ends by itself, after ctxqueue_audit_age",
}


def _parked(queue: ContextQueue, workflow_id: str) -> Iterator[ParkedTask]:
    return every(lambda most, at: queue.manager.parked(workflow_id, limit=most, cursor=at), None)


def _where(queue: ContextQueue) -> str:
    namespace = queue.manager.terms.namespace
    if is_sql(queue.url):
        return "its tables begin with ctxqueue_"
    return f"its keys begin with {{{namespace}"


COMMANDS = {"erase": erase, "uninstall-check": uninstall_check}
