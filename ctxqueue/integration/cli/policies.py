"""What an agent may do, and which rule says so: ``policy explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ctxqueue.handles import agent_of
from ctxqueue.integration.cli.arguments import SCOPES, json_option
from ctxqueue.integration.cli.commands import Subcommands, command
from ctxqueue.integration.cli.output import rows_out
from ctxqueue.models import Address, ContextScope, checked_name
from ctxqueue.rules.access import is_sensitive_name, verdict, why_sensitive
from ctxqueue.rules.placement import scope_of

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.rules.policy import Action

ACTIONS: tuple[Action, ...] = ("read", "write", "delete")


@click.group(cls=Subcommands)
def policy() -> None:
    """See what the policy says."""


@command(
    "explain",
    example="""
        celery -A proj ctx policy explain --agent-id web_extractor_001 --key site_credentials
        celery -A proj ctx policy explain --agent-id helper_1 --role intern --key result_1 --json
    """,
)
@click.option("--agent-id", required=True, help="Who; its type is the id without its number.")
@click.option("--agent-type", help="Where it is not to be told from the id.")
@click.option("--role", help="Its role.")
@click.option("--group", "groups", multiple=True, help="A group that it is in; may be repeated.")
@click.option("--key", required=True, help="Of the entry.")
@click.option("--scope", type=SCOPES, help="Where it stands; else as its name says, else the workflow.")
@click.option("--sensitive", is_flag=True, help="As if it were marked sensitive, by its writer or by what it holds.")
@json_option
def explain(
    queue: ContextQueue,
    *,
    agent_id: str,
    agent_type: str | None,
    role: str | None,
    groups: tuple[str, ...],
    key: str,
    scope: str | None,
    sensitive: bool,
    as_json: bool,
) -> None:
    """Say what an agent may do with a key, and by which rule; the store is not asked."""
    agent = agent_of(agent_id, agent_type, role, groups)
    where = ContextScope.parse(scope) if scope else scope_of(checked_name(key, "key"))
    owners = {ContextScope.PRIVATE: agent.agent_id, ContextScope.AGENT_GROUP: next(iter(groups), "")}
    address = Address(where, owners.get(where, ""), checked_name(key, "key"))
    rules = queue.policy
    is_sensitive = sensitive or is_sensitive_name(key)
    said = {action: verdict(rules, agent, address, action, sensitive=is_sensitive) for action in ACTIONS}
    why = why_sensitive(rules, address, True if sensitive else None, b"")
    rows_out(
        (
            {"action": action, "may": each.allowed, "rule": each.rule, "sensitive": why or "no"}
            for action, each in said.items()
        ),
        as_json=as_json,
    )


policy.add_command(explain)
COMMANDS = {"policy": policy}
