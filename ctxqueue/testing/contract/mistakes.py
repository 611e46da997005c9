"""Bad input: the typed error that says what was wrong and what to do, with nothing half written."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ctxqueue.errors import (
    CtxqueueError,
    InvalidDuration,
    InvalidInput,
    InvalidName,
    NotSerializable,
    UnknownPriority,
    UnknownScope,
    UnknownStrategy,
)
from ctxqueue.models import Put, Secret
from ctxqueue.testing.contract.base import Contract, nothing_written

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle


class Frozen(NamedTuple):
    """A tuple of its own type."""

    part: object


class Opaque:
    """The codec has no form for it."""


def nested(depth: int) -> object:
    """Return lists within lists."""
    return [nested(depth - 1)] if depth else 1


CYCLE: list[Any] = []
CYCLE.append(CYCLE)

NAMES = ["", "x" * 257, "ä" * 129, "a\0b", "a\nb", "\x7f", "\ud800", None, 5, b"k", ("k",)]
VALUES: dict[str, tuple[Any, str]] = {
    "nan": ({"a": [1, math.nan]}, r"value\['a'\]\[1\] is nan: only finite"),
    "infinity": (-math.inf, "only finite"),
    "decimal nan": ([Decimal("NaN")], r"value\[0\] is NaN: only finite"),
    "an object": ({"a": Opaque()}, r"value\['a'\] is a .*Opaque.*register"),
    "a class": (Opaque, "class Opaque itself"),
    "a function": (nested, "register"),
    "an iterator": (iter([1]), "register"),
    "a complex number": (1j, "complex"),
    "bad text": (["\ud800"], "not valid Unicode"),
    "a key of another type": ({1.5: 1}, r"key of type float: keys are strings or integers"),
    "a key of none": ({"a": {None: 1}}, r"value\['a'\] has a key of type NoneType"),
    "too deep": (nested(200), "deeper than 100"),
    "itself": (CYCLE, "deeper than 100|holds itself"),
    "a secret": ({"a": Secret("x")}, "Secret"),
    "inside a tuple": (Frozen({"a": math.nan}), r"value\[0\]\['a'\] is nan"),
}
OPTIONS: dict[str, tuple[dict[str, Any], type[CtxqueueError], str]] = {
    "negative ttl": ({"ttl": -1}, InvalidDuration, "ttl of 'k' is -1"),
    "no ttl": ({"ttl": 0}, InvalidDuration, "above 0"),
    "nan ttl": ({"ttl": math.nan}, InvalidDuration, "nan"),
    "endless ttl": ({"ttl": math.inf}, InvalidDuration, "inf"),
    "huge ttl": ({"ttl": 10**400}, InvalidDuration, "a hundred years"),
    "text ttl": ({"ttl": "60"}, InvalidDuration, "'60'"),
    "true ttl": ({"ttl": True}, InvalidDuration, "True"),
    "negative timedelta": ({"ttl": timedelta(seconds=-1)}, InvalidDuration, "above 0"),
    "scope": ({"scope": "galaxy"}, UnknownScope, "'galaxy' is none of global, workflow, agent_group, private"),
    "scope of another type": ({"scope": 5}, UnknownScope, "5"),
    "priority": ({"priority": "urgent"}, UnknownPriority, "'urgent' is none of critical, high, medium, low"),
    "priority of another type": ({"priority": ["high"]}, UnknownPriority, "high"),
    "metadata": ({"metadata": [1]}, InvalidInput, "metadata of 'k' is a list"),
    "metadata value": ({"metadata": {"m": Opaque()}}, NotSerializable, "Opaque"),
    "pinned": ({"pinned": "yes"}, InvalidInput, "pinned of 'k' is 'yes'"),
    "sensitive": ({"sensitive": 1}, InvalidInput, "sensitive of 'k' is 1"),
    "one dependency": ({"depends_on": "rates"}, InvalidInput, "depends_on .*'rates'"),
    "bad dependency": ({"depends_on": [""]}, InvalidName, "depends_on is empty"),
    "typed dependency": ({"depends_on": [5]}, InvalidName, "depends_on is a int"),
    "negative version": ({"expected_version": -1}, InvalidInput, "expected_version of 'k' is -1"),
    "text version": ({"expected_version": "1"}, InvalidInput, "expected_version of 'k' is '1'"),
    "true version": ({"expected_version": True}, InvalidInput, "expected_version of 'k' is True"),
}


class Mistakes(Contract):
    """Every argument that can be wrong."""

    @pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
    def test_a_bad_key(self, wf: WorkflowHandle, operator: WorkflowHandle, name: Any) -> None:
        with nothing_written(operator):
            for call in (
                lambda: wf.put(name, 1),
                lambda: wf.create(name, 1),
                lambda: wf.update({"ok": 1, name: 1}),
                lambda: wf.get(name),
                lambda: wf[name],
                lambda: wf.delete(name),
            ):
                with pytest.raises(InvalidName, match="key "):
                    call()

    @pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
    def test_other_bad_names(self, manager: SharedContextManager, operator: WorkflowHandle, name: Any) -> None:
        workflow_id = operator.workflow_id
        with nothing_written(operator):
            with pytest.raises(InvalidName, match="workflow_id "):
                manager.workflow(name)
            with pytest.raises(InvalidName, match="workflow_id "):
                manager.create_workflow_context(name)
            if name is not None:
                with pytest.raises(InvalidName, match="agent_id "):
                    manager.workflow(workflow_id, agent_id=name)
                with pytest.raises(InvalidName, match="operation_id "):
                    manager.workflow(workflow_id).put("k", 1, operation_id=name)
                with pytest.raises(InvalidName, match="operation_id "):
                    manager.workflow(workflow_id).update({"k": 1}, operation_id=name)
            with pytest.raises(InvalidName, match="group "):
                manager.workflow(workflow_id, agent_id="a", groups=[name])

    def test_names_up_to_the_bound(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        for name in ("x" * 256, "ä" * 128, "a b.c/d:e*{f}", "\x80", "null"):
            agent = manager.workflow(wf.workflow_id, agent_id=name, groups=[name])
            agent.put(name, 1, group=name)
            agent.put(name, 2, scope="private", operation_id=name)
            assert agent[name] == 2

    @pytest.mark.parametrize(("value", "message"), VALUES.values(), ids=VALUES)
    def test_a_value_that_cannot_be_stored(
        self, wf: WorkflowHandle, operator: WorkflowHandle, value: Any, message: str
    ) -> None:
        wf.put("k", {"a": 1})
        with nothing_written(operator):
            for call in (
                lambda: wf.put("k", value),
                lambda: wf.update({"ok": 1, "k": value}),
                lambda: wf.update({"ok": [1], "k": [value]}, merge_strategy="append"),
            ):
                with pytest.raises(NotSerializable, match=message.replace("value", "value(?:\\[0\\])?")) as raised:
                    call()
                assert "the value of 'k' cannot be stored" in str(raised.value)

    @pytest.mark.parametrize(("options", "error", "message"), OPTIONS.values(), ids=OPTIONS)
    def test_a_bad_option(
        self,
        wf: WorkflowHandle,
        operator: WorkflowHandle,
        options: dict[str, Any],
        error: type[CtxqueueError],
        message: str,
    ) -> None:
        wf.put("k", {"a": 1})
        with nothing_written(operator):
            with pytest.raises(error, match=message):
                wf.put("k", 1, **options)
            with pytest.raises(error, match=message):
                wf.update({"ok": 1, "k": Put({"b": 1}, **options)})
            for name, call in (("scope", wf.get), ("scope", wf.delete), ("expected_version", wf.delete)):
                if name in options:
                    with pytest.raises(error, match=message):
                        call("k", **options)
        assert wf["k"] == {"a": 1}

    def test_dependencies_that_are_no_list(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        with nothing_written(operator), pytest.raises(InvalidInput, match="'k' is 5: give a list of keys"):
            wf.update({"k": Put(1, depends_on=5)})  # type: ignore[arg-type]

    @pytest.mark.parametrize("strategy", ["", "merge", "Smart_Merge", None, 5, ["replace"]])
    def test_an_unknown_strategy(self, wf: WorkflowHandle, operator: WorkflowHandle, strategy: Any) -> None:
        message = "is none of smart_merge, replace, append"
        with nothing_written(operator), pytest.raises(UnknownStrategy, match=message):
            wf.update({"k": 1}, merge_strategy=strategy)

    @pytest.mark.parametrize("updates", [{}, None, [("k", 1)], "k", 5], ids=repr)
    def test_updates_that_are_none(self, wf: WorkflowHandle, operator: WorkflowHandle, updates: Any) -> None:
        with nothing_written(operator), pytest.raises(InvalidInput, match="mapping of at least one key"):
            wf.update(updates)

    @pytest.mark.parametrize("value", [{"a": 1}, "text", 5, None, (1,), {1}])
    def test_appending_something_else_than_a_list(
        self, wf: WorkflowHandle, operator: WorkflowHandle, value: Any
    ) -> None:
        wf.put("k", [1])
        with nothing_written(operator), pytest.raises(InvalidInput, match=r"'k' in .*: .*wrap it as \[value\]"):
            wf.update({"ok": [1], "k": value}, merge_strategy="append")

    @pytest.mark.parametrize(("strategy", "there"), [("increment", "text"), ("maximum", "text"), ("union", 5)])
    def test_what_does_not_fit_what_is_there_is_told_with_its_key(
        self, wf: WorkflowHandle, operator: WorkflowHandle, strategy: str, there: Any
    ) -> None:
        new = [1] if strategy == "union" else 1
        wf.update({"ok": new, "k": there})
        with nothing_written(operator), pytest.raises(InvalidInput, match=f"'k' in workflow '{wf.workflow_id}': "):
            wf.update({"ok": new, "k": new}, merge_strategy=strategy)

    def test_role_and_groups_without_an_agent(self, manager: SharedContextManager) -> None:
        for options in ({"agent_type": "x"}, {"agent_role": "x"}, {"groups": ["x"]}):
            with pytest.raises(InvalidInput, match="go with an agent_id"):
                manager.workflow("w", **options)

    @pytest.mark.parametrize("limit", [0, -1, True, 1.5, "10", None])
    def test_a_bad_sweep_limit(self, manager: SharedContextManager, limit: Any) -> None:
        with pytest.raises(InvalidInput, match="whole number above 0"):
            manager.cleanup_expired_contexts(limit=limit)
