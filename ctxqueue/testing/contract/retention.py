"""Retention of memories: what goes, in which order, and what an interrupted run leaves."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ctxqueue import effects as fx
from ctxqueue.errors import ConfigurationError, InvalidInput
from ctxqueue.flows import retiring
from ctxqueue.testing.contract.base import Contract, until
from ctxqueue.testing.contract.memories import memories_of

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager
    from ctxqueue.memories.manager import VectorMemoryManager

LONG = 1e9
EVERYTHING = dict.fromkeys(("semantic", "episodic", "procedural"), (1e-06, 1000))
"""A retention under which whatever is there is too old."""


def holding(rows: int) -> dict[str, Any]:
    """Return a retention by number alone."""
    return dict.fromkeys(("semantic", "episodic", "procedural"), (LONG, rows))


def left(memory: VectorMemoryManager) -> set[str]:
    """Return the contents that are there."""
    return {each.content for each in memory.list(limit=1_000)}


class RetentionOfMemories(Contract):
    """What retention takes."""

    def test_by_default_nothing_new_goes(self, manager: SharedContextManager) -> None:
        memory = memories_of(manager)
        memory.remember_many(["a", "b"])
        report = memory.apply_retention()
        assert (report.total, report.owners, report.complete, report.archive) == (0, 1, True, None)
        assert left(memory) == {"a", "b"}

    def test_the_least_used_go_first_then_the_oldest_and_pinned_ones_stay(self, manager: SharedContextManager) -> None:
        memory = memories_of(manager, retention=holding(3))
        memory.remember("pinned", pinned=True)
        for content in ("first", "second", "third", "fourth", "fifth"):
            memory.remember(content)
        memory.pin(memory.remember("pinned later"))
        first, fifth = memory.remember("first"), memory.remember("fifth")
        for touch in (b"1", b"2", b"2", b"3"):
            manager.store.perform(fx.TouchMemories(first.partition("-")[0], (first, fifth), touch))
        used = memory.get(first)
        assert used is not None
        assert used.access_count == 3
        foreseen = memory.apply_retention(dry_run=True)
        assert left(memory) == {"pinned", "first", "second", "third", "fourth", "fifth", "pinned later"}
        report = memory.apply_retention()
        assert report.removed == foreseen.removed
        assert report.removed["semantic"] == {"expired": 0, "aged": 0, "surplus": 2}
        assert {"pinned", "pinned later", "first", "fifth"} <= left(memory)
        assert len(left(memory)) == 5
        assert memory.apply_retention().total == 0

    def test_what_is_too_old_goes_by_its_type(self, manager: SharedContextManager) -> None:
        memory = memories_of(manager, retention={"episodic": {"max_age": 1e-6, "max_rows": 10}})
        memory.remember_many([{"content": f"e{number}", "memory_type": "episodic"} for number in range(7)])
        memory.remember("p", "episodic", pinned=True)
        memory.remember("fact")
        assert memory.apply_retention(dry_run=True).removed["episodic"]["aged"] == 7
        assert memory.apply_retention().removed["episodic"]["aged"] == 7
        assert left(memory) == {"p", "fact"}

    def test_what_has_expired_goes_once(self, manager: SharedContextManager, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retiring, "ROWS_A_LOOK", 2)  # several looks, also among those that expired together
        memory = memories_of(manager, retention=holding(2))
        short = memory.remember_many([{"content": f"s{number}", "ttl": 0.02} for number in range(3)])
        memory.remember("pinned and short", pinned=True, ttl=0.02)
        memory.remember_many(["a", "b", "c"])
        until(lambda: memory.get(short[-1]) is None and len(left(memory)) == 3, "they have expired")
        foreseen = memory.apply_retention(dry_run=True).removed
        assert foreseen["semantic"] == {"expired": 4, "aged": 0, "surplus": 1}
        assert memory.apply_retention().removed == foreseen
        assert left(memory) == {"b", "c"}

    def test_owners_are_counted_each_by_itself_and_empty_ones_forgotten(self, manager: SharedContextManager) -> None:
        memory = memories_of(manager, retention=holding(2))
        for owner in ("ann", "bob"):
            memory.remember_many([{"content": f"m{number}", "agent_id": owner} for number in range(3)])
        report = memory.apply_retention()
        assert (report.owners, report.total) == (2, 2)
        assert memories_of(manager, retention=EVERYTHING).apply_retention().total == 4
        assert left(memory) == set()
        memory.remember("m0", agent_id="ann")
        assert left(memories_of(manager)) == {"m0"}

    def test_owners_are_read_page_by_page(self, manager: SharedContextManager) -> None:
        perform = manager.store.perform
        names = [f"owner {number}" for number in range(5)]
        for name in names:
            perform(fx.RegisterOwner(name))
        pages: list[tuple[str, ...]] = []
        look: fx.LoadOwners | None = fx.LoadOwners(limit=2)
        while look is not None:
            page = perform(msgspec.structs.replace(look, limit=2))
            if not pages:
                perform(fx.RegisterOwner(names[0]))
            pages.append(page.names)
            look = page.following
        assert [len(each) for each in pages] == [2, 2, 2]
        assert [name for each in pages for name in each] == [*names, names[0]]
        later = perform(fx.LoadOwners(page.at_us, "", 2))
        assert (later.names, later.more, later.following) == ((names[0],), False, None)
        assert perform(fx.LoadOwners(page.at_us, names[0])).names == ()
        assert perform(fx.LoadOwners(page.at_us, "of that instant, but dropped")).names in ((names[0],), ())

    def test_a_run_keeps_to_its_limit_and_the_next_goes_on(self, manager: SharedContextManager) -> None:
        memory = memories_of(manager, retention=EVERYTHING)
        memory.remember_many([f"m{number}" for number in range(130)])
        first = memory.apply_retention(limit=60)
        assert (first.total, first.complete, len(left(memory))) == (60, False, 70)
        second = memory.apply_retention(limit=1_000)
        assert (second.total, second.complete, len(left(memory))) == (70, True, 0)
        for wrong in (0, -1, True, 1.5, "x"):
            with pytest.raises(InvalidInput):
                memory.apply_retention(limit=wrong)  # type: ignore[arg-type]

    def test_what_goes_is_archived_before(self, manager: SharedContextManager, tmp_path: Path) -> None:
        memory = memories_of(manager, retention=EVERYTHING)
        memory.remember("secret of ann", agent_id="ann", metadata={"k": 1})
        memory.remember_many([f"m{number}" for number in range(60)])
        report = memory.apply_retention(archive=tmp_path / "archive")
        assert report.archive is not None
        lines = [json.loads(line) for line in Path(report.archive).read_text(encoding="utf-8").splitlines()]
        assert len(lines) == report.total == 61
        (of_ann,) = (line for line in lines if line["agent_id"] == "ann")
        assert (of_ann["content"], of_ann["metadata"], of_ann["scope"]) == ("secret of ann", {"k": 1}, "private")
        assert memory.apply_retention(archive=tmp_path / "archive").archive is None
        (tmp_path / "file").touch()
        with pytest.raises(ConfigurationError, match="archive"):
            memory.apply_retention(archive=tmp_path / "file")

    def test_a_run_that_is_cut_off_anywhere_is_gone_on_with(self, manager: SharedContextManager) -> None:
        memory = memories_of(manager, retention=EVERYTHING)
        facts = [f"m{number}" for number in range(120)]
        for effects in range(1, 12):
            memory.remember_many(facts)
            flow = retiring.retire(retiring.Retiring(memory.retention, 1_000, None), dry_run=False)
            effect = next(flow)
            for _ in range(effects):
                effect = flow.send(manager.store.perform(effect))
            flow.close()
            memory.apply_retention()
            assert left(memory) == set()

    def test_what_was_used_since_it_was_looked_at_stays(self, manager: SharedContextManager) -> None:
        memory = memories_of(manager, retention=EVERYTHING)
        used, pinned, _other = memory.remember_many(["used", "pinned", "other"])
        flow = retiring.retire(retiring.Retiring(memory.retention, 1_000, None), dry_run=False)
        effect = next(flow)
        while not isinstance(effect, fx.DropMemories):
            effect = flow.send(manager.store.perform(effect))
        manager.store.perform(fx.TouchMemories(effect.owner, (used,), b"touch"))
        memory.pin(pinned)
        assert manager.store.perform(effect) == 1
        assert left(memory) == {"used", "pinned"}

    def test_a_reader_hears_of_what_went(self, manager: SharedContextManager) -> None:
        memory = memories_of(manager, retention=holding(5))
        memory.remember_many([f"m {number}" for number in range(60)])
        reader = memories_of(manager)
        assert len(reader.recall("m", limit=1_000)) == 60
        for each in reader.list(limit=1_000):
            if each.content in {"m 58", "m 59"}:
                memory.pin(each.id)
        memory.apply_retention()
        assert {"m 58", "m 59"} < {each.memory.content for each in reader.recall("m", limit=1_000)}
        assert len(reader.recall("m", limit=1_000)) == 7
