"""Errors: the tree in the docstring is the tree of the classes, and each survives a journey."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from datetime import UTC, datetime

import pytest

import ctxqueue
from ctxqueue import errors
from ctxqueue.codec import pack
from ctxqueue.errors import CtxqueueError, VersionConflict
from ctxqueue.models import ContextEntry, ContextPriority, ContextScope, Secret

CLASSES = {
    name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, CtxqueueError)
}
NAME = re.compile(r"([A-Z]\w+)(?: \((\w+)\))?")


def tree_in_the_docstring() -> dict[str, tuple[str, ...]]:
    """Class -> its bases, as drawn: a line's indentation says what it hangs from."""
    assert errors.__doc__ is not None
    drawing = errors.__doc__.split("::\n\n")[1].split("\n\nA message")[0]
    parents: list[tuple[int, str]] = []
    drawn: dict[str, tuple[str, ...]] = {}
    for line in drawing.splitlines():
        depth = len(line) - len(line.lstrip("│ ├└─"))
        # A comment stands after two spaces and begins in lower case.
        names = NAME.findall(re.sub(r"  +[a-z].*", "", line))
        while parents and parents[-1][0] >= depth:
            parents.pop()
        for name, other in names:
            parent = (parents[-1][1],) if parents else ("Exception",)
            drawn[name] = parent + ((other,) if other else ())
        parents.append((depth, names[0][0]))
    return drawn


def test_the_tree_in_the_docstring_is_that_of_the_classes() -> None:
    bases = {name: tuple(base.__name__ for base in kind.__bases__) for name, kind in CLASSES.items()}
    assert tree_in_the_docstring() == bases


def test_all_of_them_are_public() -> None:
    assert set(CLASSES) <= set(ctxqueue.__all__)
    for name, kind in CLASSES.items():
        assert getattr(ctxqueue, name) is kind
        assert kind.__doc__


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_each_is_rebuilt_from_its_arguments(kind: type[CtxqueueError]) -> None:
    error = kind("what happened, and what to do")
    for again in (kind(*error.args), pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own
        assert type(again) is kind
        assert again.args == error.args
        assert str(again) == "what happened, and what to do"


def test_an_entry_that_is_missing_is_a_key_error_that_reads_well() -> None:
    assert isinstance(errors.EntryNotFound("no entry 'k'"), KeyError)
    assert str(errors.EntryNotFound("no entry 'k'")) == "no entry 'k'"
    assert isinstance(errors.InvalidName("x"), ValueError)
    assert isinstance(errors.DependencyTimeout("x"), TimeoutError)


def entry(*, sensitive: bool) -> ContextEntry:
    return ContextEntry(
        key="k",
        scope=ContextScope.WORKFLOW,
        owner="",
        agent_id="a",
        created_by="a",
        priority=ContextPriority.LOW,
        version=3,
        revision=7,
        timestamp=datetime(2026, 7, 1, tzinfo=UTC),
        expires_at=None,
        metadata={"m": 1},
        dependencies=(),
        pinned=False,
        sensitive=sensitive,
        disclosure="secret",
        packed=pack("the hidden value"),
    )


def test_a_conflict_carries_what_stands_there() -> None:
    conflict = VersionConflict("expected 2", entry(sensitive=False))
    assert conflict.current is not None
    assert (conflict.current.version, conflict.args) == (3, ("expected 2",))


def test_a_conflict_survives_pickling() -> None:
    again = pickle.loads(pickle.dumps(VersionConflict("expected 2", entry(sensitive=False))))  # noqa: S301 - our own
    assert isinstance(again, VersionConflict)
    assert again.args == ("expected 2",)


def test_nothing_of_a_sensitive_value_travels_with_an_error() -> None:
    conflict = VersionConflict("expected 2", entry(sensitive=True))
    assert "hidden" not in f"{conflict} {conflict!r} {conflict.args} {conflict.current!r}"
    assert b"hidden" not in pickle.dumps(conflict)


def test_a_secret_is_neither_pickled_nor_copied() -> None:
    for travel in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not to be copied or pickled"):
            travel(Secret("hidden"))
    assert Secret("a") == Secret("a") != Secret("b")
    assert "hidden" not in f"{Secret('hidden')} {Secret('hidden')!r}"
