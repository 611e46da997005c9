"""Skills: one memory each, whose words and rate move with every execution."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ctxqueue import codec
from ctxqueue.effects import AmendMemory, Flow, GetMemories, do, work
from ctxqueue.errors import InvalidInput, ModelMismatch, StoreUnavailable
from ctxqueue.flows import remembering
from ctxqueue.flows.keeping import MOST_TRIES, read
from ctxqueue.flows.marks import mark_of
from ctxqueue.models import checked_name
from ctxqueue.remembered import Owner, Reader, Said, body_of, has_mark, marked, pack_body
from ctxqueue.rules.remembering import hold, part_of, why_sensitive
from ctxqueue.rules.skills import Skill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.effects import StoredMemory
    from ctxqueue.flows.memory_terms import MemoryTerms
    from ctxqueue.remembered import MemoryEntry
    from ctxqueue.rules.policy import Policy


def practise(
    terms: MemoryTerms,
    reader: Reader,
    name: str,
    steps: Sequence[str],
    contexts: Sequence[str],
    *,
    success: bool | None,
    stated: float | None = None,
    create: bool = True,
    operation_id: str | None = None,
) -> Flow[MemoryEntry | None]:
    """Let a skill be known better, everybody's; None if it is not there and not to be made, or not to be read.

    One whose steps hold a secret is another skill than the plain one of this name, which stays as plain as it was.
    Executions of many at the same time all count; one that is told again by its ``operation_id`` counts once, unless
    so many others were told since as a row keeps the marks of.
    """
    skill = Skill(checked_name(name, "skill_name"))
    owner = Reader(None, None).owner(None)
    hold(terms.policy, reader, owner, "procedural", "write")
    mark = mark_of(operation_id)
    for _ in range(MOST_TRIES):
        fresh = _item(owner, skill.practised(steps, contexts, success=success)._replace(stated=stated))
        memory_id = fresh.memory_id(terms.policy)
        rows, _now = yield from do(GetMemories(owner.digest, (memory_id,)))
        row = rows.get(memory_id)
        if row is None or row.superseded:
            if not create:
                return None
            if (yield from remembering.made(terms, fresh, mark)):
                rows, _now = yield from do(GetMemories(owner.digest, (memory_id,)))
                row = rows.get(memory_id)
                return _shown(terms, reader, row) if row else None
            continue
        body = body_of(row.body)
        if has_mark(body, mark):
            return _shown(terms, reader, row)
        known = Skill.of(codec.unpack(body.said.metadata))
        known = known.practised(steps, contexts, success=success)
        if stated is not None:
            known = known._replace(stated=stated)
        said = _item(owner, known).said
        library = terms.library()
        if body.model != library.model:
            raise ModelMismatch(
                f"skill {name!r} has a vector of {body.model}, this process embeds with {library.model}: call"
                " reembed(embedder), or use that model"
            )
        (vector,) = yield from do(work(partial(library.encode, [said])))
        why = why_sensitive(terms.policy, said)
        written = replace(body, said=said, vector=vector, change=marked(body, mark), previous=("", b""), why=why)
        effect = AmendMemory(
            *(owner.digest, row.memory_id, row.kind, row.number, pack_body(written), row.pinned), superseded=False
        )
        if (yield from do(effect)) == "done":
            return _shown(terms, reader, replace(row, body=effect.body))
    raise StoreUnavailable(f"skill {name!r} was changed by others each of {MOST_TRIES} times: try again later")


def _shown(terms: MemoryTerms, reader: Reader, row: StoredMemory) -> MemoryEntry | None:
    body = body_of(row.body)
    part = part_of(terms.policy, reader, Owner.parse(body.owner))
    return read(row, conceals=reader.sees_all) if part.holds(row.kind, body) else None


def skill_id(policy: Policy, name: str, steps: Sequence[str], contexts: Sequence[str]) -> str:
    """Return the id of the memory that a skill with such steps has."""
    owner = Reader(None, None).owner(None)
    skill = Skill(checked_name(name, "skill_name")).practised(steps, contexts, success=None)
    return _item(owner, skill).memory_id(policy)


def _item(owner: Owner, skill: Skill) -> remembering.Item:
    content = remembering.checked_text(skill.content, "a skill with its steps and contexts")
    said = Said(content, metadata=codec.pack(skill.metadata), key=f"skill {skill.name}")
    return remembering.Item(owner, "procedural", said, 0.5, pinned=False, ttl_us=None)


def checked_rate(rate: float) -> float:
    """Return a success rate; raises InvalidInput."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise InvalidInput(f"success_rate is {rate!r:.80}: give a number from 0 to 1")
    return float(rate)
