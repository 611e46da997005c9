"""What is remembered: ``memory`` search, list, show, forget, pin, reembed, stats."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ctxqueue.integration.cli.arguments import confirmed, every, json_option, limit_option, reveal_option, yes_option
from ctxqueue.integration.cli.commands import Subcommands, Told, command
from ctxqueue.integration.cli.output import one_out, plain, rows_out, say, short
from ctxqueue.integration.memories import embedder_named
from ctxqueue.remembered import REDACTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.models import Page
    from ctxqueue.remembered import MemoryEntry, Recalled

TYPES = click.Choice(["semantic", "episodic", "procedural"])


@click.group(cls=Subcommands)
def memory() -> None:
    """What is remembered: search (and why it was found), list, show, forget, pin, reembed, stats."""


def reader_options(function: Any) -> Any:
    """Add the options that say whose memories; without them all, as the operator."""
    for option in (
        click.option("--user", "user_id", help="See what is remembered of this user."),
        click.option("--agent", "agent_id", help="See what this agent may recall. Default: all."),
    ):
        function = option(function)
    return function


type_option = click.option("--type", "memory_types", type=TYPES, multiple=True, help="May be repeated.")


@command(
    "search",
    example="""
        celery -A proj ctx memory search 'how does the supplier quote prices'
        celery -A proj ctx memory search 'rounding' --agent financial_calculator_001 --json
    """,
)
@click.argument("query")
@click.option("--limit", type=click.IntRange(1, 1_000), default=5, show_default=True)
@type_option
@reader_options
@reveal_option
@json_option
def search(
    queue: ContextQueue,
    *,
    query: str,
    limit: int,
    memory_types: tuple[str, ...],
    reveal: bool,
    as_json: bool,
    **reader: Any,
) -> None:
    """Recall what answers QUERY best, and say of what parts each score is made. It counts as used."""
    how: Any = {"limit": limit, "explain": True, "reveal": reveal}
    found = queue.memory.recall(query, memory_types=memory_types or None, **how, **reader)
    rows = (_recalled(replace(each, memory=_shown(each.memory, reveal=reveal)), whole=as_json) for each in found)
    rows_out(rows, as_json=as_json, empty="nothing is remembered of that")


def _shown(memory: MemoryEntry, *, reveal: bool) -> MemoryEntry:
    """Return it without its words if they are sensitive: an agent that may recall it is not who reads the terminal."""
    if reveal or not memory.why_sensitive:
        return memory
    return replace(memory, content=REDACTED, metadata={})


def _recalled(each: Recalled, *, whole: bool) -> dict[str, Any]:
    if whole:
        return {"score": each.score, "parts": dict(each.parts), **_whole(each.memory)}
    parts = " ".join(f"{name} {part:.2f}" for name, part in each.parts.items())
    return {"score": each.score, "type": each.memory.memory_type, "parts": parts, **_memory(each.memory)}


def _whole(each: MemoryEntry) -> dict[str, Any]:
    fields = plain(each)
    del fields["embedding"]
    return fields


def _memory(each: MemoryEntry) -> dict[str, Any]:
    return {"id": each.id, "whose": each.user_id or each.agent_id or each.scope.value, "content": short(each.content)}


@command("list", example="celery -A proj ctx memory list --agent financial_calculator_001 --type semantic")
@type_option
@limit_option
@reader_options
@reveal_option
@json_option
def list_memories(
    queue: ContextQueue,
    *,
    memory_types: tuple[str, ...],
    limit: int | None,
    reveal: bool,
    as_json: bool,
    **reader: Any,
) -> None:
    """List memories, those changed longest ago first."""

    def page(most: int, cursor: str | None) -> Page[MemoryEntry]:
        how: Any = {"limit": most, "cursor": cursor, "reveal": reveal}
        return queue.memory.list(memory_types=memory_types or None, **how, **reader)

    shown = (_shown(each, reveal=reveal) for each in every(page, limit))
    rows = (_whole(each) if as_json else _listed(each) for each in shown)
    rows_out(rows, as_json=as_json, empty="no memories")


def _listed(each: MemoryEntry) -> dict[str, Any]:
    rest = _memory(each)
    about = {"type": each.memory_type, "at": each.timestamp, "used": each.access_count, "pinned": each.pinned}
    return {"id": rest["id"], **about, "whose": rest["whose"], "content": rest["content"]}


@command("show", example="celery -A proj ctx memory show 447afdea9cab81f1-57b2c9e6aa76a6e77f578786549f4248")
@click.argument("memory_id", metavar="ID")
@reader_options
@reveal_option
@json_option
def show_memory(queue: ContextQueue, *, memory_id: str, reveal: bool, as_json: bool, **reader: Any) -> None:
    """Show one memory with all that is known of it."""
    found = queue.memory.get(memory_id, reveal=reveal, **reader)
    if found is None:
        raise Told(f"there is no memory {memory_id!r}")
    one_out(_whole(_shown(found, reveal=reveal)), as_json=as_json)


@command("forget", example="celery -A proj ctx memory forget 447afdea9cab81f1-57b2c9e6aa76a6e77f578786549f4248 --yes")
@click.argument("memory_id", metavar="ID")
@yes_option
def forget(queue: ContextQueue, *, memory_id: str, yes: bool) -> None:
    """Remove one memory for good."""
    confirmed(f"forget memory {memory_id} for good?", yes=yes)
    if not queue.memory.forget(memory_id):
        raise Told(f"there is no memory {memory_id!r}")
    say(f"{memory_id} is forgotten")


@command("pin", example="celery -A proj ctx memory pin 447afdea9cab81f1-57b2c9e6aa76a6e77f578786549f4248")
@click.argument("memory_id", metavar="ID")
@click.option("--off", is_flag=True, help="Let retention take it again.")
def pin(queue: ContextQueue, *, memory_id: str, off: bool) -> None:
    """Keep a memory from retention."""
    queue.memory.pin(memory_id, pinned=not off)
    say(f"{memory_id} is {'not pinned any more' if off else 'pinned'}")


@command("reembed", example="celery -A proj ctx memory reembed proj.models:SmallEmbedder")
@click.argument("embedder", metavar="MODULE:NAME")
def reembed(queue: ContextQueue, *, embedder: str) -> None:
    """Move all memories to another embedder; one that is cut off is started again, and goes on.

    Set ctxqueue_embedder to it before workers start anew: those of the old model cannot remember meanwhile.
    """
    moved = queue.memory.reembed(embedder_named(embedder))
    say(f"{moved} memories were moved to {embedder}")


@command("stats", example="celery -A proj ctx memory stats")
@reader_options
@json_option
def stats(queue: ContextQueue, *, as_json: bool, **reader: Any) -> None:
    """Count memories, by type and model."""
    totals: Counter[str] = Counter(memories=0)
    for each in _all(queue, reader):
        totals["memories"] += 1
        totals[each.memory_type] += 1
        totals["pinned"] += each.pinned
        totals["never_used"] += not each.access_count
        totals[f"model {each.model or '(none yet)'}"] += 1
    one_out(dict(totals), as_json=as_json)


def _all(queue: ContextQueue, reader: dict[str, Any]) -> Iterator[MemoryEntry]:
    return every(lambda most, cursor: queue.memory.list(limit=most, cursor=cursor, **reader), None)


for _command in (search, list_memories, show_memory, forget, pin, reembed, stats):
    memory.add_command(_command)

COMMANDS = {"memory": memory}
