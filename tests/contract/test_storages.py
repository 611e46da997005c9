"""The reference document's storages: a workflow as one piece, and never over what somebody else has written since."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import (
    AsyncDatabaseContextStorage,
    AsyncMemoryContextStorage,
    AsyncRedisContextStorage,
    AsyncSharedContextManager,
    CommitTooLarge,
    ConfigurationError,
    ContextEntry,
    DatabaseContextStorage,
    InvalidInput,
    MemoryContextStorage,
    RedisContextStorage,
    SharedContextManager,
    ValueTooLarge,
    VersionConflict,
    WorkflowContext,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.storages import AsyncContextStorage, ContextStorage

KINDS = ("memory", "redis", "sqlite", "postgres")


def place_of(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return uuid.uuid4().hex
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest) -> Iterator[Any]:
    kinds: dict[str, type] = {"memory": MemoryContextStorage, "redis": RedisContextStorage}
    storage = kinds.get(request.param, DatabaseContextStorage)(place_of(request))
    yield storage
    storage.close()


@pytest.fixture
def manager(storage: Any) -> SharedContextManager:
    return SharedContextManager(storage)


def new(**entries: Any) -> WorkflowContext:
    context = WorkflowContext("w", metadata={"owner": "finance"})
    for key, value in entries.items():
        context.add_entry(ContextEntry.of(key, value, "ann_1"))
    return context


def test_what_is_stored_is_what_comes_back(storage: ContextStorage) -> None:
    assert storage.get_context("w") is None
    context = new(a={"x": [1]})
    later = datetime.now(UTC) + timedelta(hours=1)
    context.add_entry(
        ContextEntry.of("b", 2, "ann_1", "private", "high", metadata={"m": 1}, expires_at=later, dependencies=["a"])
    )
    context.agent_states["ann_1"] = {"step": 1}
    assert storage.store_context("w", context) is True
    found = storage.get_context("w")
    assert found is not None
    assert (found.metadata, found.agent_states, found.revision) == ({"owner": "finance"}, {"ann_1": {"step": 1}}, 1)
    assert {place: entry.value for place, entry in found.context_entries.items()} == {"a": {"x": [1]}, "ann_1/b": 2}
    entry = found.context_entries["ann_1/b"]
    assert (entry.priority.value, entry.metadata, entry.dependencies) == ("high", {"m": 1}, ("a",))
    assert entry.expires_at is not None
    assert abs(entry.expires_at - later) < timedelta(minutes=5)
    assert found.updated_at is not None
    assert found.created_at <= found.updated_at
    assert storage.store_context("w", found) is True
    again = storage.get_context("w")
    assert again is not None
    assert again.revision == 1, "nothing had changed"


def test_changes_go_as_one_commit(storage: ContextStorage, manager: SharedContextManager) -> None:
    storage.store_context("w", new(a=1, b=1, c=1))
    context = storage.get_context("w")
    assert context is not None
    context.add_entry(ContextEntry.of("a", 2, "ann_1"))
    context.add_entry(ContextEntry.of("d", 1, "ann_1"))
    del context.context_entries["b"]
    storage.store_context("w", context)
    view = manager.workflow("w").view()
    assert (dict(view), view.revision) == ({"a": 2, "c": 1, "d": 1}, 2)


def test_a_stale_context_is_refused(storage: ContextStorage, manager: SharedContextManager) -> None:
    storage.store_context("w", new(a=1))
    context = storage.get_context("w")
    assert context is not None
    manager.workflow("w", agent_id="bob_1").put("b", 1)
    context.add_entry(ContextEntry.of("a", 2, "ann_1"))
    for stale in (context, new(a=3)):
        with pytest.raises(VersionConflict, match=r"read it first|Read it again"):
            storage.store_context("w", stale)
    assert dict(manager.workflow("w").view()) == {"a": 1, "b": 1}


def test_one_entry_is_written_in_its_agents_name(storage: ContextStorage, manager: SharedContextManager) -> None:
    entry = ContextEntry.of("a", 1, "bob_1", metadata={"m": 1})
    assert storage.update_entry("w", entry) is False
    storage.store_context("w", new())
    assert storage.update_entry("w", entry) is True
    found = manager.workflow("w").get("a")
    assert found is not None
    assert (found.value, found.agent_id, found.metadata) == (1, "bob_1", {"m": 1})


def test_an_entry_without_its_value_is_not_written(storage: ContextStorage, manager: SharedContextManager) -> None:
    extractor = manager.workflow("w", agent_id="web_extractor_1")
    extractor.open()
    extractor.put("credential_x", "secret")
    concealed = manager.workflow("w").get("credential_x")
    assert concealed is not None
    with pytest.raises(InvalidInput, match="the value of 'credential_x' is not in the entry"):
        storage.update_entry("w", concealed)
    held = extractor.get("credential_x", reveal=True)
    assert held is not None
    assert held.value == "secret"


def test_a_workflow_is_deleted(storage: ContextStorage) -> None:
    assert storage.delete_context("w") is False
    storage.store_context("w", new(a=1))
    assert storage.delete_context("w") is True
    assert storage.get_context("w") is None
    storage.store_context("w", new(a=2))
    found = storage.get_context("w")
    assert found is not None
    assert found.context_entries["a"].value == 2


def test_wrong_input_writes_nothing(storage: ContextStorage, manager: SharedContextManager) -> None:
    with pytest.raises(InvalidInput, match="not of 'other'"):
        storage.store_context("other", new(a=1))
    context = new()
    context.add_entry(ContextEntry.of("k", 1, "ann_1", "global"))
    with pytest.raises(InvalidInput, match="global"):
        storage.store_context("w", context)
    with pytest.raises(InvalidInput):
        storage.get_context("")
    with pytest.raises(ValueTooLarge, match="'k'"):
        storage.store_context("w", new(k="x" * 1_100_000))
    storage.store_context("w", new())
    full = storage.get_context("w")
    assert full is not None
    with pytest.raises(ValueTooLarge, match="'k'"):
        storage.update_entry("w", ContextEntry.of("k", "x" * 1_100_000, "ann_1"))
    with pytest.raises(InvalidInput, match="metadata"):
        storage.store_context("w", replace(full, metadata={"owner": "somebody else"}))
    for number in range(201):
        full.add_entry(ContextEntry.of(f"k{number}", 1, "ann_1"))
    with pytest.raises(CommitTooLarge):
        storage.store_context("w", full)
    assert len(manager.workflow("w").view()) == 0


def test_a_manager_takes_a_storage_of_its_namespace() -> None:
    with pytest.raises(ConfigurationError, match="namespace"):
        SharedContextManager(MemoryContextStorage(config={"namespace": "n1"}), {"namespace": "n2"})
    with pytest.raises(ConfigurationError, match="give a URL"):
        SharedContextManager(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_it_can_be_awaited(kind: str, request: pytest.FixtureRequest) -> None:
    place = uuid.uuid4().hex if kind == "memory" else request.getfixturevalue(f"{kind}_url")
    kinds: dict[str, type] = {"memory": AsyncMemoryContextStorage, "redis": AsyncRedisContextStorage}

    async def main() -> None:
        storage: Any = kinds.get(kind, AsyncDatabaseContextStorage)(place)
        face: AsyncContextStorage = storage
        await face.store_context("w", new(a=1))
        assert await face.update_entry("w", ContextEntry.of("b", 2, "ann_1")) is True
        found = await face.get_context("w")
        assert found is not None
        assert {key: entry.value for key, entry in found.context_entries.items()} == {"a": 1, "b": 2}
        manager = AsyncSharedContextManager(storage)
        assert await manager.workflow("w")["a"] == 1
        assert await face.delete_context("w") is True
        await storage.close()

    asyncio.run(main())
