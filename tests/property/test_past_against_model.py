"""The past of a workflow against a model that simply keeps everything: log, history, and each revision as it was."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ctxqueue import SharedContextManager

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = ("a", "b", "c")
keys = st.sampled_from(KEYS)
numbers = st.integers(0, 9)


class Past(RuleBasedStateMachine):
    """One workflow, written by one manager and read by another, whose views are kept from look to look."""

    def __init__(self, url: str) -> None:
        super().__init__()
        options = {"namespace": f"n{uuid.uuid4().hex[:20]}"}
        self.managers = [SharedContextManager(url, options) for _ in range(2)]
        self.writer, self.reader = (manager.workflow("w", agent_id="ann_1") for manager in self.managers)
        self.begin()

    def begin(self) -> None:
        self.writer.open()
        self.snapshots: list[dict[str, int]] = [{}]
        self.log: list[tuple[int, str, str]] = []
        self.values: dict[str, list[int]] = {key: [] for key in KEYS}
        """Newest first, as many as were written; what was purged is not among them."""
        self.purged: dict[str, int] = dict.fromkeys(KEYS, 0)
        """Key -> the first revision as of which what was purged was no more."""

    def teardown(self) -> None:
        for manager in self.managers:
            manager.close()

    def written(self, values: dict[str, int]) -> None:
        self.snapshots.append(self.snapshots[-1] | values)
        for key in sorted(values):
            self.values[key].insert(0, values[key])
            self.log.append((len(self.snapshots) - 1, "put", key))

    @rule(key=keys, value=numbers)
    def put(self, key: str, value: int) -> None:
        self.writer.put(key, value)
        self.written({key: value})

    @rule(values=st.dictionaries(keys, numbers, min_size=1))
    def increment(self, values: dict[str, int]) -> None:
        self.writer.update(values, merge_strategy="increment")
        self.written({key: self.snapshots[-1].get(key, 0) + value for key, value in values.items()})

    @rule(key=keys, value=numbers)
    def keep(self, key: str, value: int) -> None:
        self.writer.update({key: value}, merge_strategy="keep")
        if key not in self.snapshots[-1]:
            self.written({key: value})

    @rule(key=keys, purge=st.booleans())
    def delete(self, key: str, *, purge: bool) -> None:
        there = key in self.snapshots[-1]
        assert self.writer.delete(key, purge=purge) is there
        if there:
            self.snapshots.append({name: value for name, value in self.snapshots[-1].items() if name != key})
            self.log.append((len(self.snapshots) - 1, "deleted", key))
        if purge:
            self.values[key] = []
            self.purged[key] = len(self.snapshots) - 1

    @rule()
    def remove(self) -> None:
        self.writer.remove()
        self.begin()

    @invariant()
    def what_is_seen_is_the_newest(self) -> None:
        view = self.reader.view()
        assert (dict(view), view.revision) == (self.snapshots[-1], len(self.snapshots) - 1)

    @invariant()
    def the_log_tells_everything_once(self) -> None:
        found = [(change.revision, change.kind, change.key) for change in self.reader.changes(limit=1_000)]
        assert found == self.log

    @invariant()
    def history_has_all_values(self) -> None:
        for key in KEYS:
            assert [entry.value for entry in self.reader.history(key)] == self.values[key][:20]

    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        """To a revision as of which all that stood there is still kept."""
        first = max([*self.purged.values(), *(revision for _, revision in self.trimmed())])
        revision = data.draw(st.integers(first, len(self.snapshots) - 1))
        assert dict(self.reader.at(revision)) == self.snapshots[revision]

    def trimmed(self) -> Iterator[tuple[str, int]]:
        """Key -> the revision since which no more than the twenty newest values were written."""
        for key in KEYS:
            puts = [revision for revision, kind, name in self.log if (kind, name) == ("put", key)]
            yield key, puts[-20] if len(puts) > 20 else 0


def run(url: str, *, examples: int, steps: int) -> None:
    class OnThisStore(Past):
        def __init__(self) -> None:
            super().__init__(url)

    run_state_machine_as_test(
        OnThisStore, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )


@pytest.mark.parametrize("kind", ["memory", "redis", "sqlite"])
def test_the_past_is_what_it_was(kind: str, request: pytest.FixtureRequest) -> None:
    url: Any = f"memory://{uuid.uuid4()}" if kind == "memory" else request.getfixturevalue(f"{kind}_url")
    run(url, examples=15, steps=40)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("kind", ["memory", "redis", "sqlite", "postgres"])
def test_the_past_is_what_it_was_for_long(kind: str, request: pytest.FixtureRequest) -> None:
    url: Any = f"memory://{uuid.uuid4()}" if kind == "memory" else request.getfixturevalue(f"{kind}_url")
    run(url, examples=200, steps=60)
