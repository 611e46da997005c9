"""What a keyring encrypts: it is read back by who has the key, where it was written, and by nobody else."""
# ruff: noqa: D102, S101 - tests: a name is a sentence

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ctxqueue import effects as fx
from ctxqueue import envelopes
from ctxqueue.context import connect
from ctxqueue.errors import CtxqueueError, DecryptionError, VersionConflict
from ctxqueue.flows import asking
from ctxqueue.keyring import Keyring
from ctxqueue.records import decode_header
from ctxqueue.remembered import owner_digest_of
from ctxqueue.testing.contract.base import WORKFLOW, Contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle

OLD, NEW = b"o" * 32, b"n" * 32
CANARY = "canary-4711"


@contextmanager
def opened(url: str, **keyring: Any) -> Iterator[SharedContextManager]:
    """Open the store, with a keyring if its arguments are given."""
    with connect(url, keyring=Keyring(**keyring) if keyring else None) as manager:
        yield manager


def agent(manager: SharedContextManager, agent_id: str = "analyst_001") -> WorkflowHandle:
    """Return an agent's hold on the workflow, which is open then."""
    manager.workflow(WORKFLOW).open()
    return manager.workflow(WORKFLOW, agent_id=agent_id)


def address(key: str) -> str:
    """Return where the store has an entry of the workflow."""
    return f"w\0\0{key}"


def stored(manager: SharedContextManager, key: str) -> bytes:
    """Return a value as the store has it."""
    inner = getattr(manager.store, "inner", manager.store)
    _, records = inner.perform(fx.Load(WORKFLOW, (address(key),)))
    record: bytes = records[address(key)]
    return record[decode_header(record).meta_end :]


class _Intruder:
    """Who can write to the store, and has no key: puts bytes where others are."""

    def __init__(self, manager: SharedContextManager) -> None:
        self._perform = getattr(manager.store, "inner", manager.store).perform

    def put(self, key: str, value: bytes) -> None:
        """Lay a value over an entry, which stays as it is otherwise."""
        head, records = self._perform(fx.Load(WORKFLOW, (address(key),)))
        assert head is not None
        record = records[address(key)]
        new = record[: decode_header(record).meta_end] + value
        assert self._perform(fx.Reseal(WORKFLOW, head.incarnation, address(key), (fx.Swap(0, record, new),))) == 1


class Encrypting(Contract):
    """Keyrings, over the store."""

    def test_only_sensitive_values_are_encrypted_unless_all_are(self, url: str) -> None:
        with opened(url, keys={"old": OLD}) as manager:
            wf = agent(manager)
            wf.put("api_key", CANARY)
            wf.put("rate", CANARY)
            assert CANARY.encode() not in stored(manager, "api_key")
            assert CANARY.encode() in stored(manager, "rate")
        with opened(url, keys={"old": OLD}, encrypt="all", accept_plaintext=True) as manager:
            wf = agent(manager)
            wf.put("rate", CANARY)
            assert CANARY.encode() not in stored(manager, "rate")
            operator = manager.workflow(WORKFLOW)
            assert operator.get("api_key", reveal=True).value == wf["rate"] == CANARY  # type: ignore[union-attr]

    def test_who_has_no_key_or_another_is_told_so(self, url: str) -> None:
        with opened(url, keys={"old": OLD}, encrypt="all") as manager:
            wf = agent(manager)
            wf.update({"rate": 1, "notes": ["a"]})
            wf.put("rate", 2)
        for keyring in ({}, {"keys": {"new": NEW}}, {"keys": {"old": NEW}}):
            with opened(url, **keyring) as manager:
                wf = agent(manager)
                assert sorted(entry.key for entry in wf.list()) == ["notes", "rate"]
                for entry in (wf.get("rate"), wf.history("rate")[1], wf.view().entry("rate")):
                    assert entry is not None
                    with pytest.raises(DecryptionError):
                        entry.value  # noqa: B018 - unpacked when asked for
                for strategy in ("append", "smart_merge"):
                    with pytest.raises(DecryptionError):
                        wf.update({"notes": ["b"]}, merge_strategy=strategy)

    def test_every_way_to_write_and_to_read(self, url: str) -> None:
        with opened(url, keys={"old": OLD}, encrypt="all") as manager:
            wf = agent(manager)
            assert wf.put("k", {"a": [1]}).value == {"a": [1]}
            wf.create("c", CANARY)
            for strategy, value in (("append", [1]), ("increment", 2), ("maximum", 3), ("minimum", 1), ("keep", 9)):
                for _ in range(2):
                    wf.update({strategy: value}, merge_strategy=strategy)
            with wf.transaction():
                wf.update({"k": {"a": [2], "b": 1}})
                wf.put("t", 1)
            wf.set_agent_state(step=CANARY)
            found = dict(wf.view())
            assert found == {
                "k": {"a": [2], "b": 1},
                "c": CANARY,
                "t": 1,
                "append": [1, 1],
                "increment": 4,
                "maximum": 3,
                "minimum": 1,
                "keep": 9,
            }
            assert wf.view().agent_state == {"step": CANARY}
            assert [entry.value for entry in wf.history("k")] == [{"a": [2], "b": 1}, {"a": [1]}]
            assert dict(wf.at(1)) == {"k": {"a": [1]}}
            with pytest.raises(VersionConflict) as caught:
                wf.put("c", 1, expected_version=7)
            assert caught.value.current is not None
            assert caught.value.current.value == CANARY
            assert all(envelopes.code_of(stored(manager, key)) for key in found)

    def test_a_plain_update_over_a_sensitive_entry_stays_encrypted(self, url: str) -> None:
        with opened(url, keys={"old": OLD}) as manager:
            wf = agent(manager)
            wf.put("notes", ["a"], sensitive=True)
            wf.put("rate", 1, sensitive=True)
            wf.update({"notes": [CANARY]}, merge_strategy="append")
            wf.update({"rate": CANARY}, merge_strategy="replace")
            for key, value in (("notes", ["a", CANARY]), ("rate", CANARY)):
                assert CANARY.encode() not in stored(manager, key)
                entry = manager.workflow(WORKFLOW).get(key, reveal=True)
                assert entry is not None
                assert (entry.sensitive, entry.value) == (True, value)

    def test_a_value_opens_only_where_it_was_written(self, url: str) -> None:
        with opened(url, keys={"old": OLD}, encrypt="all") as manager:
            wf = agent(manager)
            wf.put("low", 1)
            wf.put("high", 2)
            intruder, low = _Intruder(manager), stored(manager, "low")
            intruder.put("high", low)
            with pytest.raises(DecryptionError, match="does not open"):
                wf["high"]
            manager.workflow(WORKFLOW).remove()
            while manager.cleanup_expired_contexts().scanned:
                pass
            wf = agent(manager)
            wf.put("low", 3)
            intruder.put("low", low)  # of the workflow that was here before
            with pytest.raises(DecryptionError, match="does not open"):
                wf["low"]
            assert wf.update({"other": 1}).versions == {"other": 1}
            wf.put("low", 4)
            assert wf["low"] == 4  # noqa: PLR2004 - what was put

    def test_a_value_in_clear_is_refused_where_it_must_be_encrypted(self, url: str) -> None:
        with opened(url, keys={"old": OLD}) as manager:
            wf = agent(manager)
            wf.put("api_key", "true")
            _Intruder(manager).put("api_key", b"\xa5false")
            operator = manager.workflow(WORKFLOW)
            with pytest.raises(DecryptionError, match="in clear"):
                operator.get("api_key", reveal=True).value  # type: ignore[union-attr]  # noqa: B018
        with opened(url, keys={"old": OLD}, accept_plaintext=True) as manager:
            entry = manager.workflow(WORKFLOW).get("api_key", reveal=True)
            assert entry is not None
            assert entry.value == "false"

    def test_a_changed_byte_is_refused_and_hurts_no_other_entry(self, url: str) -> None:
        with opened(url, keys={"old": OLD}, encrypt="all") as manager:
            wf = agent(manager)
            wf.put("k", CANARY)
            wf.put("other", 1)
            sealed = stored(manager, "k")
            for at in range(0, len(sealed), 7):
                changed = bytes((*sealed[:at], sealed[at] ^ 1, *sealed[at + 1 :]))
                _Intruder(manager).put("k", changed)
                with pytest.raises(CtxqueueError):
                    wf["k"]
                assert wf.view()["other"] == 1

    def test_rotation_changes_the_key_and_nothing_else(self, url: str) -> None:
        with opened(url, keys={"old": OLD}, encrypt="all") as manager:
            wf = agent(manager)
            for value in range(3):
                wf.put("k", [value])
            manager.workflow(WORKFLOW, agent_id="analyst_001").put("global_rate", 1)
            before = wf.etag, [entry.version for entry in wf.history("k")], tuple(wf.changes())
        with opened(url, keys={"old": OLD, "longer_name": NEW}, encrypt="all") as manager:
            wf = agent(manager)
            wf.view()
            report = manager.rotate_keys()
            assert (report.values, report.refused, report.left) == (4, 0, 0)
            assert manager.rotate_keys().values == 0
            assert (wf.etag, [entry.version for entry in wf.history("k")], tuple(wf.changes())) == before
        with opened(url, keys={"longer_name": NEW}, encrypt="all") as manager:
            wf = agent(manager)
            assert [entry.value for entry in wf.history("k")] == [[2], [1], [0]]
            assert wf["global_rate"] == 1
            wf.update({"k": [3]}, merge_strategy="append")
            assert wf["k"] == [2, 3]

    def test_what_waits_for_a_worker_is_encrypted_and_rotated(self, url: str) -> None:
        with opened(url, keys={"old": OLD}) as manager:
            request_id = manager.driver.run(asking.ask("ctxqueue.recall", {"query": CANARY}, 3_600_000_000))
            owner = owner_digest_of(request_id)
            inner = getattr(manager.store, "inner", manager.store)
            rows, _ = inner.perform(fx.GetMemories(owner, (request_id,)))
            assert CANARY.encode() not in rows[request_id].body
        with opened(url, keys={"old": OLD, "new": NEW}) as manager:
            assert manager.rotate_keys().memories == 1
        with opened(url, keys={"new": NEW}) as manager:
            assert manager.driver.run(asking.asked(request_id)) == {"query": CANARY}
            manager.driver.run(asking.answered(request_id))

    def test_rotation_leaves_what_others_wrote_meanwhile(self, url: str) -> None:
        with opened(url, keys={"old": OLD}, encrypt="all") as manager:
            wf = agent(manager)
            wf.put("k", 1)
            head, records = manager.store.inner.perform(fx.Load(WORKFLOW, (address("k"),)))  # type: ignore[attr-defined]
            wf.put("k", 2)
            swap = fx.Swap(0, records[address("k")], records[address("k")][:-1] + b"?")
            effect = fx.Reseal(WORKFLOW, head.incarnation, address("k"), (swap,))
            assert manager.store.perform(effect) == 0
            assert manager.store.perform(msgspec.structs.replace(effect, incarnation="another")) == 0
            assert wf["k"] == 2  # noqa: PLR2004 - what was put

    def test_plaintext_is_encrypted_by_a_rotation_that_accepts_it(self, url: str) -> None:
        with opened(url) as manager:
            wf = agent(manager)
            wf.put("k", CANARY)
            wf.put("k", CANARY + "2")
        with opened(url, keys={"old": OLD}, encrypt="all") as manager:
            assert (manager.rotate_keys().refused, manager.rotate_keys().values) == (2, 0)
        with opened(url, keys={"old": OLD}, encrypt="all", accept_plaintext=True) as manager:
            assert manager.rotate_keys().values == 2  # noqa: PLR2004 - the entry and its history
        with opened(url, keys={"old": OLD}, encrypt="all") as manager:
            assert [entry.value for entry in agent(manager).history("k")] == [CANARY + "2", CANARY]
