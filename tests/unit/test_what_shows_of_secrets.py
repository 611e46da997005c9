"""Nothing that prints, copies or looks through an entry, an error or an update shows a secret that it holds."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import pprint
import traceback
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import ctxqueue
from ctxqueue.errors import AccessDenied, CtxqueueError, InvalidInput, VersionConflict
from ctxqueue.models import ContextEntry, Put, Secret
from ctxqueue.rules import merging
from ctxqueue.rules.conditions import key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle

CANARY = "canary7f3c9d1e"
TOKEN = "ghp_" + "a1" * 18
POLICY = {
    "rule": [
        {"agent_type": "ann", "allow": ["read"], "sensitive": True},
        {"agent_type": "bob", "deny": ["read"], "key": ["notes_*"]},
    ]
}


@pytest.fixture
def manager() -> Iterator[SharedContextManager]:
    with ctxqueue.connect(f"memory://{uuid.uuid4()}", policy=POLICY) as manager:
        manager.workflow("w").open()
        yield manager


@pytest.fixture
def ann(manager: SharedContextManager) -> WorkflowHandle:
    return manager.workflow("w", agent_id="ann_1")


@pytest.fixture
def entry(ann: WorkflowHandle) -> ContextEntry:
    ann.put("api_key", {"inner": CANARY})
    found = ann.get("api_key")
    assert found is not None
    return found


WAYS: dict[str, Callable[[Any], Any]] = {
    "repr": repr,
    "text": lambda each: f"{each} {each!r}",
    "fields": vars,
    "fields of fields": lambda each: [
        vars(inner) if hasattr(inner, "__dict__") else inner for inner in vars(each).values()
    ],
    "all that it has": lambda each: [getattr(each, name) for name in dir(each) if not name.startswith("_")],
    "as a dict": dataclasses.asdict,
    "as a tuple": dataclasses.astuple,
    "pretty": pprint.pformat,
    "json": lambda each: json.dumps(vars(each), default=str),
    "copied": lambda each: vars(copy.copy(each)),
    "copied through": lambda each: vars(copy.deepcopy(each)),
    "pickled": lambda each: pickle.dumps(each).decode("latin1"),
    "replaced": lambda each: dataclasses.replace(each, version=9),
    "plain": lambda each: each.to_dict(),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_entry(entry: ContextEntry, way: str) -> None:
    value = entry.value  # from now on it has it
    assert CANARY not in repr(WAYS[way](entry))
    assert value.reveal() == {"inner": CANARY}


@pytest.mark.parametrize(
    "take", [copy.copy, copy.deepcopy, pickle.dumps, lambda secret: secret.__getstate__(), json.dumps]
)
def test_a_secret_goes_nowhere(take: Callable[[Secret], Any]) -> None:
    with pytest.raises(TypeError) as caught:
        take(Secret(CANARY))
    assert CANARY not in repr(caught.value)


def test_a_line_of_a_log(entry: ContextEntry, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("theirs").warning("%s %s", entry, entry.value, extra={"entry": vars(entry)})
    assert CANARY not in repr([vars(record) for record in caplog.records])


def test_what_is_written_or_asked_for() -> None:
    assert repr(Put(CANARY, ttl=5, sensitive=True)) == "Put(..., ttl=5, sensitive=True)"
    assert CANARY not in repr(key("api_key") == CANARY)
    assert TOKEN not in repr((key("note") == TOKEN, str(key("note") == TOKEN)))
    assert repr(key("note") == 5) == "note == 5"


def shown(error: BaseException) -> str:
    """Return all that can be found of an error: what it prints, holds, and has behind it."""
    found, each = ["".join(traceback.format_exception(error))], [error]
    while each:
        one = each.pop()
        found += [repr(one), repr(vars(one)), pickle.dumps(one).decode("latin1")]
        each += [behind for behind in (one.__cause__, one.__context__) if behind is not None]
    return "\n".join(found)


def test_an_error_has_nothing_of_it_behind_it(manager: SharedContextManager, ann: WorkflowHandle) -> None:
    def quotes(existing: Any, _new: Any, _priority: Any) -> Any:
        raise ValueError(f"cannot merge with {existing}")

    if "quotes" not in merging.STRATEGIES:
        ctxqueue.register_reducer("quotes", quotes)
    bob = manager.workflow("w", agent_id="bob_1")
    ann.put("notes_1", CANARY)
    ann.put("api_key", CANARY)
    calls: list[tuple[type[Exception], Callable[[], Any]]] = [
        (AccessDenied, lambda: bob.update({"notes_1": 1}, merge_strategy="quotes")),
        (AccessDenied, lambda: bob.update({"notes_1": 1}, merge_strategy="increment")),
        (AccessDenied, lambda: bob.update({"api_key": 1}, merge_strategy="quotes")),
        (VersionConflict, lambda: bob.put("notes_1", 1, expected_version=9)),
        (VersionConflict, lambda: ann.put("api_key", 1, expected_version=9)),
        (InvalidInput, lambda: ann.get("api_key", type=int, reveal=True)),
    ]
    for kind, call in calls:
        with pytest.raises(kind) as caught:
            call()
        assert CANARY not in shown(caught.value)
    with pytest.raises(AccessDenied) as caught, bob.transaction():
        bob.update({"notes_1": 1}, merge_strategy="quotes")
    assert CANARY not in shown(caught.value)
    assert caught.value.__context__ is None


def test_a_url_that_cannot_be_used(manager: SharedContextManager) -> None:
    del manager
    for url in (f"redis://:{CANARY}@host:port/0", f"sentinel://:{CANARY}@a:b", f"postgresql://u:{CANARY}@h:p/d"):
        with pytest.raises(CtxqueueError) as caught:
            ctxqueue.connect(url)
        assert CANARY not in shown(caught.value), url
