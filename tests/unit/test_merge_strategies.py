"""Merging by name: what comes out, what is refused, and a team's own reducers."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

import ctxqueue
from ctxqueue.errors import InvalidInput, InvalidName, UnknownStrategy
from ctxqueue.models import ContextPriority
from ctxqueue.rules import merging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEDIUM = ContextPriority.MEDIUM


def merge(name: str, existing: Any, new: Any, priority: ContextPriority = MEDIUM) -> Any:
    return merging.strategy(name).merge(existing, new, priority)


@pytest.mark.parametrize(
    ("name", "existing", "new", "merged"),
    [
        ("deep_merge", {"a": {"b": 1}, "l": [1]}, {"a": {"c": 2}, "l": [2]}, {"a": {"b": 1, "c": 2}, "l": [2]}),
        ("deep_merge", [1], {"a": 1}, {"a": 1}),
        ("union", [1, 2], [2, 3, 3], [1, 2, 3]),
        ("union", [1, True], [1.0], [1, True, 1.0]),
        ("increment", 1, 2, 3),
        ("increment", Decimal("1.10"), Decimal("2.20"), Decimal("3.30")),
        ("increment", Decimal("1.10"), 1, Decimal("2.10")),
        ("increment", Decimal("1e30"), Decimal("0.01"), Decimal("1000000000000000000000000000000.01")),
        ("maximum", "a", "b", "b"),
        ("minimum", 3, 2.5, 2.5),
        ("keep", "first", "second", "first"),
    ],
)
def test_what_comes_out(name: str, existing: Any, new: Any, merged: Any) -> None:
    assert merge(name, existing, new) == merged


@pytest.fixture
def wf() -> Iterator[ctxqueue.WorkflowHandle]:
    with ctxqueue.connect("memory://") as manager:
        handle = manager.workflow("w", agent_id="analyst_001")
        handle.open()
        yield handle


@pytest.mark.parametrize(
    ("name", "existing", "new"),
    [
        ("union", None, {"a": 1}),
        ("union", "text", [1]),
        ("increment", None, "1"),
        ("increment", 10**400, 0.5),
        ("increment", Decimal("1e2000"), Decimal("1e-2000")),
        ("increment", None, True),
        ("increment", "text", 1),
        ("increment", Decimal(1), 1.5),
        ("maximum", None, [1]),
        ("maximum", 1, "text"),
        ("minimum", {"a": 1}, 1),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    wf: ctxqueue.WorkflowHandle, name: str, existing: Any, new: Any
) -> None:
    if existing is not None:
        wf.put("k", existing)
    revision = wf.open().revision
    with pytest.raises(InvalidInput, match=name):
        wf.update({"k": new}, merge_strategy=name)
    assert wf.open().revision == revision


def test_a_guess_that_does_not_fit_is_no_error(wf: ctxqueue.WorkflowHandle) -> None:
    other = ctxqueue.WorkflowHandle(ctxqueue.SharedContextManager(wf._run.__self__.store), "w", wf.agent)  # type: ignore[attr-defined]  # noqa: SLF001
    wf.put("k", "a text, which this process now takes to stand there")
    other.put("k", 1)
    assert wf.update({"k": 2}, merge_strategy="increment").versions == {"k": 3}
    assert wf["k"] == 3


@pytest.fixture
def longest() -> Iterator[Callable[..., Any]]:
    def longest(existing: str, new: str, _priority: ContextPriority) -> str:
        return max(existing, new, key=len)

    ctxqueue.register_reducer("longest", longest)
    yield longest
    del merging.STRATEGIES["longest"]


@pytest.mark.usefixtures("longest")
def test_a_reducer_merges_under_its_name(wf: ctxqueue.WorkflowHandle) -> None:
    for text in ("bb", "a", "ccc"):
        wf.update({"k": text}, merge_strategy="longest")
    assert wf["k"] == "ccc"


def test_a_reducer_takes_no_built_in_name_and_must_be_callable(wf: ctxqueue.WorkflowHandle) -> None:
    with pytest.raises(InvalidName, match="built in"):
        ctxqueue.register_reducer("append", max)
    with pytest.raises(InvalidInput, match="give a function"):
        ctxqueue.register_reducer("mine", "nothing to call")  # type: ignore[arg-type]
    with pytest.raises(UnknownStrategy):
        wf.update({"k": 1}, merge_strategy="mine")
