"""Exports: JSON Lines that hold workflows with their entries, and end in a checksum.

::

    {"ctxqueue_export": 1, "namespace": "default"}
    {"workflow": "q3-close", "metadata": {...}}
    {"key": "revenue", "scope": "workflow", "owner": "", "by": "web_extractor_001", "value": [...], ...}
    {"end_of": "q3-close", "entries": 1, "revision": 7, "at_one_revision": true}
    {"end": true, "workflows": 1, "entries": 1, "sha256": "..."}         of all lines before

A value that JSON has no form for (a date, bytes, a set) is in the store's own form, base64, under ``packed``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ctxqueue import codec
from ctxqueue.errors import CtxqueueError, InvalidInput, OperationDiverged, VersionConflict, WorkflowNotFound
from ctxqueue.models import OPERATOR_ID, ContextEntry, ContextScope, Put, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.integration.install import ContextQueue

FORMAT = 1
PAGE = 500
BATCH_KEYS, BATCH_BYTES = 100, 256 * 1024
"""Of one commit of an import."""
SCOPES = (ContextScope.PRIVATE, ContextScope.AGENT_GROUP, ContextScope.WORKFLOW)
LONGEST_LINE = 16 * 1024 * 1024
NO_WORKFLOW = "any"
"""Who asks for the global context alone asks through a handle on some workflow, which need not be there."""


class Found(NamedTuple):
    """What is in an export that is whole."""

    sha256: str
    workflow_ids: tuple[str, ...]
    entries: int
    size: int
    """Bytes."""
    largest: tuple[str, int]
    """The workflow with the most entries, and how many."""


# --- out -------------------------------------------------------------------------------------------------------------


def exported(
    queue: ContextQueue, ids: Iterable[str], *, with_global: bool, reveal: bool, some_may_go: bool = False
) -> Iterator[bytes]:
    """Yield the lines of an export; raises WorkflowNotFound, unless ``some_may_go`` meanwhile.

    The store, and where none may go all of them, are looked for before the first line.
    """
    queue.manager.store.verify()
    if not some_may_go:
        ids = tuple(ids)
        for workflow_id in ids:
            queue.manager.summary(workflow_id)
    digest = hashlib.sha256()
    workflows = entries = 0
    for record in _records(queue, ids, with_global=with_global, reveal=reveal, some_may_go=some_may_go):
        workflows += "workflow" in record
        entries += "key" in record
        line = _line(record)
        digest.update(line)
        yield line
    yield _line({"end": True, "workflows": workflows, "entries": entries, "sha256": digest.hexdigest()})


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _records(
    queue: ContextQueue, ids: Iterable[str], *, with_global: bool, reveal: bool, some_may_go: bool
) -> Iterator[dict[str, Any]]:
    yield {"ctxqueue_export": FORMAT, "namespace": queue.manager.terms.namespace}
    if with_global:
        yield {"global": True}
        for entry in _entries(queue.workflow(NO_WORKFLOW), (ContextScope.GLOBAL,), reveal=reveal):
            yield _entry(entry)
    for workflow_id in ids:
        try:
            yield from _of_workflow(queue, workflow_id, reveal=reveal)
        except WorkflowNotFound:
            if not some_may_go:
                raise
            yield {"end_of": workflow_id, "gone": True}


def _of_workflow(queue: ContextQueue, workflow_id: str, *, reveal: bool) -> Iterator[dict[str, Any]]:
    handle = queue.workflow(workflow_id)
    before, etag, count = queue.manager.summary(workflow_id), handle.etag, 0
    yield {"workflow": workflow_id, "metadata": _jsonable(dict(before.metadata))}
    for entry in _entries(handle, SCOPES, reveal=reveal):
        count += 1
        yield _entry(entry)
    at_one = handle.etag == etag
    yield {"end_of": workflow_id, "entries": count, "revision": before.revision, "at_one_revision": at_one}


def _entries(handle: WorkflowHandle, scopes: Iterable[ContextScope], *, reveal: bool) -> Iterator[ContextEntry]:
    for scope in scopes:
        cursor: str | None = None
        while True:
            page = handle.list(scope=scope, limit=PAGE, cursor=cursor, reveal=reveal)
            yield from page
            cursor = page.next_cursor
            if cursor is None:
                break


def _entry(entry: ContextEntry) -> dict[str, Any]:
    record: dict[str, Any] = {
        "key": entry.key,
        "scope": entry.scope.value,
        "owner": entry.owner,
        "by": entry.agent_id,
        "priority": entry.priority.value,
        "version": entry.version,
        "expires_at": entry.expires_at.isoformat() if entry.expires_at else None,
        "pinned": entry.pinned,
        "sensitive": entry.sensitive,
        "depends_on": list(entry.dependencies),
        "metadata": _jsonable(dict(entry.metadata)),
    }
    value = entry.value
    return record | ({"withheld": True} if isinstance(value, Secret) else _jsonable(value))


def _jsonable(value: Any) -> dict[str, Any]:
    if _is_plain(value):
        return {"value": value}
    return {"packed": base64.b64encode(codec.pack(value)).decode()}


def _is_plain(value: Any) -> bool:
    """Whether JSON gives it back as it is."""
    if type(value) is dict:
        return all(type(key) is str and _is_plain(each) for key, each in value.items())
    if type(value) is list:
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


# --- in --------------------------------------------------------------------------------------------------------------


def checked(file: BinaryIO) -> Found:
    """Read an export to its end, and go back to its beginning; raises InvalidInput for one that is not whole."""
    digest, size = hashlib.sha256(), 0
    ids: list[str] = []
    held: Counter[str] = Counter({NO_WORKFLOW: 0})
    end: dict[str, Any] | None = None
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
        if end is not None:
            raise InvalidInput(f"line {number} comes after the end of the export: is it two files in one?")
        record = _record(line, number)
        if number == 1 and record.get("ctxqueue_export") != FORMAT:
            raise InvalidInput("the first line is not that of an export that this version reads")
        if record.get("end"):
            end = record
            continue
        digest.update(line)
        size += len(line)
        if "workflow" in record:
            ids.append(record["workflow"])
        held[ids[-1] if ids else NO_WORKFLOW] += "key" in record
    if end is None:
        raise InvalidInput("the export was cut off: it has no last line. Nothing was imported")
    if end.get("sha256") != digest.hexdigest():
        raise InvalidInput("the export was changed: its checksum is another. Nothing was imported")
    file.seek(0)
    return Found(digest.hexdigest(), tuple(ids), held.total(), size, held.most_common(1)[0])


def _record(line: bytes, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"line {number} is not JSON: it was cut off, or is no export ({error})") from error
    if not isinstance(record, dict):
        raise InvalidInput(f"line {number} is no JSON object")
    return record


def existing(queue: ContextQueue, workflow_ids: Iterable[str]) -> list[str]:
    """Return those that are there."""
    there = []
    for workflow_id in workflow_ids:
        try:
            queue.manager.summary(workflow_id)
        except WorkflowNotFound:
            continue
        there.append(workflow_id)
    return there


class _Batch:
    """Entries that go in as one commit: of one place, and written by one agent.

    What is in one is for the file alone to say, also where some of it has expired since: so an import that goes on
    makes the same batches, and what was written is not written again.
    """

    def __init__(self, place: tuple[str, str, str], name: str) -> None:
        self.place = place
        self.name = name
        self.lines = self.size = 0
        self.updates: dict[str, Put] = {}

    def takes(self, place: tuple[str, str, str] | None, size: int) -> bool:
        """Whether another line goes into it."""
        return place == self.place and self.lines < BATCH_KEYS and self.size + size <= BATCH_BYTES


def imported(queue: ContextQueue, file: BinaryIO, found: Found, advance: Callable[[int], object]) -> dict[str, int]:
    """Write a checked export; return what was done. Raises InvalidInput, and what writing raises."""
    report = {"workflows": 0, "entries": 0, "withheld": 0, "expired": 0, "kept": 0}
    workflow_id, batch = NO_WORKFLOW, None
    for number, line in enumerate(file, 1):
        record = _record(line, number)
        place = _place(record)
        if batch is not None and not batch.takes(place, len(line)):
            kept = _write(queue, workflow_id, batch)
            report["kept"] += kept
            report["entries"] -= kept
            batch = None
        advance(len(line))
        if "workflow" in record:
            workflow_id = record["workflow"]
            queue.workflow(workflow_id).open(_value(record["metadata"], number))
            report["workflows"] += 1
        if place is None:
            continue
        batch = batch or _Batch(place, f"import-{found.sha256[:32]}-{number}")
        batch.lines, batch.size = batch.lines + 1, batch.size + len(line)
        outcome, put = _put(record, number)
        report[outcome] += 1
        if put is not None:
            batch.updates[record["key"]] = put
    return report


def _place(record: dict[str, Any]) -> tuple[str, str, str] | None:
    return (record["scope"], record["owner"], record["by"]) if "key" in record else None


def _put(record: dict[str, Any], number: int) -> tuple[str, Put | None]:
    if record.get("withheld"):
        return "withheld", None
    ttl: float | None = None
    if record["expires_at"] is not None:
        ttl = (datetime.fromisoformat(record["expires_at"]) - datetime.now(UTC)).total_seconds()
        if ttl <= 0:
            return "expired", None
    put = Put(
        _value(record, number),
        priority=record["priority"],
        scope=record["scope"],
        group=record["owner"] if record["scope"] == ContextScope.AGENT_GROUP.value else None,
        ttl=ttl,
        pinned=record["pinned"],
        depends_on=record["depends_on"],
        metadata=_value(record["metadata"], number),
        sensitive=record["sensitive"],
        expected_version=0,
    )
    return "entries", put


def _value(record: dict[str, Any], number: int) -> Any:
    if "packed" not in record:
        return record["value"]
    try:
        return codec.unpack(base64.b64decode(record["packed"], validate=True))
    except (binascii.Error, ValueError, CtxqueueError) as error:
        raise InvalidInput(f"line {number} has a value that this process cannot read: {error}") from error


def _write(queue: ContextQueue, workflow_id: str, batch: _Batch) -> int:
    """Write what does not stand there yet; return how many entries did, and were left as they are."""
    if not batch.updates:
        return 0
    scope, owner, by = batch.place
    groups = (owner,) if scope == ContextScope.AGENT_GROUP.value else ()
    agent_id = owner if scope == ContextScope.PRIVATE.value else by
    if agent_id == OPERATOR_ID:
        handle = queue.workflow(workflow_id)
    else:
        handle = queue.workflow(workflow_id, agent_id=agent_id, groups=groups)
    try:
        _create(handle, batch.updates, batch.name)
    except VersionConflict:
        return sum(
            not _created(handle, {key: put}, f"{batch.name}-{place}")
            for place, (key, put) in enumerate(batch.updates.items())
        )
    return 0


def _created(handle: WorkflowHandle, updates: dict[str, Put], name: str) -> bool:
    try:
        _create(handle, updates, name)
    except VersionConflict:
        return False
    return True


def _create(handle: WorkflowHandle, updates: dict[str, Put], name: str) -> None:
    """Write entries that are not there; raises VersionConflict. What was done before by this name stays as it is."""
    with suppress(OperationDiverged):  # it was, with another time to live: less of it is left
        handle.update(updates, merge_strategy="replace", operation_id=name)
