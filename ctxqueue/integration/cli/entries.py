"""One entry: ``get``, ``put``, ``update``, ``delete``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from ctxqueue.integration.cli.arguments import (
    agent_options,
    confirmed,
    given_json,
    handle_of,
    json_option,
    key_argument,
    reveal_option,
    scope_options,
    workflow_argument,
    yes_option,
)
from ctxqueue.integration.cli.commands import Misused, Told, command
from ctxqueue.integration.cli.output import entry_fields, in_full, one_out, plain, say
from ctxqueue.models import Secret

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue

open_option = click.option("--open", "make", is_flag=True, help="Make the workflow if there is none.")
PRIORITIES = click.Choice(["critical", "high", "medium", "low"])


@command(
    "get",
    example="""
        celery -A proj ctx get q3-close revenue_data
        celery -A proj ctx get q3-close revenue_data --json
    """,
)
@workflow_argument
@key_argument
@scope_options
@agent_options
@reveal_option
@json_option
def get(
    queue: ContextQueue,
    *,
    workflow_id: str,
    key: str,
    scope: str | None,
    of_group: str | None,
    reveal: bool,
    as_json: bool,
    **agent: Any,
) -> None:
    """Write the value of KEY, as JSON; with --json the whole entry."""
    handle = handle_of(queue, workflow_id, **agent)
    entry = handle.get(key, scope=scope, group=of_group, reveal=reveal)
    if entry is None:
        whose = f" that {agent['agent_id']} may read" if agent["agent_id"] else ""
        raise Told(f"workflow {workflow_id!r} has no entry {key!r}{whose}")
    if as_json:
        one_out(entry_fields(entry), as_json=True)
    elif isinstance(entry.value, Secret):
        raise Told(f"{key!r} is sensitive: --reveal shows its value")
    else:
        say(in_full(entry.value))


@command(
    "put",
    example="""
        celery -A proj ctx put q3-close exchange_rates '{"USD": "1.08"}' --ttl 3600
        celery -A proj ctx put q3-close note --text 'checked by hand'
        celery -A proj ctx put q3-close bank_password - --text < password.txt
    """,
)
@workflow_argument
@key_argument
@click.argument("value")
@click.option("--text", is_flag=True, help="VALUE is text, not JSON.")
@click.option("--priority", type=PRIORITIES)
@click.option("--ttl", type=float, help="Seconds until it expires.")
@click.option("--pinned", is_flag=True, help="Never removed to make room.")
@click.option("--sensitive/--not-sensitive", default=None, help="Default: by its name.")
@click.option("--depends-on", multiple=True, metavar="KEY", help="May be repeated.")
@click.option("--metadata", metavar="JSON", help="An object.")
@click.option("--expected-version", type=click.IntRange(min=0), help="Refuse unless this one stands there; 0: none.")
@open_option
@scope_options
@agent_options
@json_option
def put(
    queue: ContextQueue,
    *,
    workflow_id: str,
    key: str,
    value: str,
    text: bool,
    metadata: str | None,
    of_group: str | None,
    as_json: bool,
    agent_id: str | None,
    agent_type: str | None,
    agent_role: str | None,
    groups: tuple[str, ...],
    make: bool,
    **options: Any,
) -> None:
    """Write VALUE, which is JSON, - (standard input) or @FILE, under KEY. Last write wins."""
    about = None if metadata is None else _object(metadata, "--metadata")
    handle = handle_of(queue, workflow_id, agent_id, agent_type, agent_role, groups)
    if make:
        handle.open()
    entry = handle.put(key, _text(value) if text else _value(value), metadata=about, group=of_group, **options)
    if as_json:
        one_out({"key": entry.key, "version": entry.version, "revision": entry.revision}, as_json=True)
    else:
        say(f"{key} is at version {entry.version}, the workflow at revision {entry.revision}")


def _text(value: str) -> str:
    return sys.stdin.read().removesuffix("\n") if value == "-" else value


def _value(value: str) -> Any:
    try:
        return given_json(value, "the value")
    except Misused as error:
        if value == "-" or value.startswith("@"):
            raise
        raise Misused(f"{error.message}; is it text? then --text") from error


def _object(given: str, what: str) -> dict[str, Any]:
    value = given_json(given, what)
    if not isinstance(value, dict):
        raise Misused(f"{what} is {json.dumps(value):.60}: give a JSON object")
    return value


@command(
    "update",
    example="""
        celery -A proj ctx update q3-close '{"counts": {"late": 3}}'
        celery -A proj ctx update q3-close '{"visits": 1}' --strategy increment
    """,
)
@workflow_argument
@click.argument("updates")
@click.option("--strategy", default="smart_merge", show_default=True, help="replace, append, increment, ...")
@click.option("--operation-id", help="The same one again does nothing more.")
@open_option
@agent_options
@json_option
def update(
    queue: ContextQueue,
    *,
    workflow_id: str,
    updates: str,
    strategy: str,
    operation_id: str | None,
    make: bool,
    as_json: bool,
    **agent: Any,
) -> None:
    """Merge UPDATES, a JSON object of keys and values, - (standard input) or @FILE, in as one commit."""
    values = _object(updates, "UPDATES")
    handle = handle_of(queue, workflow_id, **agent)
    if make:
        handle.open()
    done = handle.update(values, merge_strategy=strategy, operation_id=operation_id)
    if as_json:
        one_out(plain(done), as_json=True)
    else:
        versions = ", ".join(f"{key} {version}" for key, version in done.versions.items())
        again = " (it had been done before)" if done.replayed else ""
        say(f"the workflow is at revision {done.revision}{again}; versions: {versions}")


@command("delete", example="celery -A proj ctx delete q3-close exchange_rates")
@workflow_argument
@key_argument
@click.option("--expected-version", type=click.IntRange(min=1), help="Refuse unless this one stands there.")
@click.option("--purge", is_flag=True, help="Forget its earlier values too.")
@yes_option
@scope_options
@agent_options
def delete(
    queue: ContextQueue,
    *,
    workflow_id: str,
    key: str,
    expected_version: int | None,
    purge: bool,
    yes: bool,
    scope: str | None,
    of_group: str | None,
    **agent: Any,
) -> None:
    """Remove an entry; ends with status 1 if it was not there."""
    if purge:
        confirmed(f"forget {key!r} of {workflow_id!r} and all its earlier values?", yes=yes)
    handle = handle_of(queue, workflow_id, **agent)
    if not handle.delete(key, scope=scope, group=of_group, expected_version=expected_version, purge=purge):
        raise Told(f"workflow {workflow_id!r} had no entry {key!r} there")
    say(f"{key} is removed")


COMMANDS = {"get": get, "put": put, "update": update, "delete": delete}
