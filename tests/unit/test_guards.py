"""Write guards: what each kind asks, what a mistake in one is told by, and what they are shown."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from ctxqueue.context import connect
from ctxqueue.errors import ConfigurationError, GuardFailed, WriteRefused
from ctxqueue.models import Address, Agent, ContextScope, Put
from ctxqueue.rules.guards import Guards, Instead, Proposed
from ctxqueue.rules.policies import policy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ctxqueue.context import SharedContextManager, WorkflowHandle

RATES = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}
SECRET = "sk-" + "a" * 30


class Rates(pydantic.BaseModel):
    """What stands at ``rates``."""

    usd: float
    at: datetime


@pytest.fixture
def manager() -> Iterator[SharedContextManager]:
    with connect("memory://") as manager:
        yield manager


@pytest.fixture
def wf(manager: SharedContextManager) -> WorkflowHandle:
    handle = manager.workflow("w", agent_id="web_extractor_001", agent_role="intern", groups=("finance",))
    handle.open()
    return handle


def refusal(wf: WorkflowHandle, key: str, value: Any, **options: Any) -> str:
    with pytest.raises(WriteRefused) as caught:
        wf.put(key, value, **options)
    assert wf.get(key) is None
    assert (type(caught.value)(*caught.value.args).args, str(caught.value)) == (caught.value.args, caught.value.args[0])
    return str(caught.value)


def test_a_size_is_that_of_the_packed_value(manager: SharedContextManager, wf: WorkflowHandle) -> None:
    manager.guards.register("small", key="note_*", max_bytes=10)
    assert "it would take 11 bytes: at most 10; nothing was written" in refusal(wf, "note_1", "x" * 10)
    wf.put("note_1", "x" * 9)
    wf.put("other", "x" * 100)


def test_a_schema_is_told_of_by_place_and_rule_never_by_value(
    manager: SharedContextManager, wf: WorkflowHandle
) -> None:
    manager.guards.register("rates", key="rates*", schema=RATES)
    assert "$.usd is not as the schema's 'type' says" in refusal(wf, "rates", {"usd": SECRET[3:]})
    assert "the value is not as the schema's 'minimum' says" in refusal(wf, "rates", {SECRET: -1}, sensitive=True)
    assert "'type'" in refusal(wf, "rates", (1, 2))
    wf.put("rates", {"usd": 1.08})
    with pytest.raises(WriteRefused):
        wf.update({"rates": {"jpy": "many"}})
    assert wf["rates"] == {"usd": 1.08}


def test_a_schema_fetches_nothing(manager: SharedContextManager, wf: WorkflowHandle) -> None:
    manager.guards.register("afar", key="k", schema={"$ref": "http://127.0.0.1:9/nowhere.json"})
    with pytest.raises(GuardFailed, match="guard 'afar' raised"):
        wf.put("k", 1)


def test_a_model_is_told_of_by_place_and_kind_never_by_value(manager: SharedContextManager, wf: WorkflowHandle) -> None:
    manager.guards.register("rates", key="rates", model=Rates)
    manager.guards.register("numbers", key="numbers", model=pydantic.TypeAdapter(list[int]))
    told = refusal(wf, "rates", {"usd": SECRET[3:]})
    assert "usd (float_parsing), at (missing)" in told
    assert SECRET[3:] not in told
    assert "it is not as the model says: 2 faults" in refusal(wf, "rates", {"usd": SECRET})
    assert "1 (int_parsing)" in refusal(wf, "numbers", [1, "x"])
    at = datetime(2026, 9, 30, tzinfo=UTC)
    wf.put("rates", {"usd": "1.08", "at": at})
    assert wf["rates"] == {"usd": "1.08", "at": at}
    wf.put("rates", Rates(usd=1, at=at))
    assert wf["rates"] == {"usd": 1.0, "at": at}


def test_a_label_is_that_of_the_write_itself(manager: SharedContextManager, wf: WorkflowHandle) -> None:
    manager.guards.register("told", key="finding", provenance={"source": ["web:*", "human"], "model": []})
    assert "its metadata have no 'source'" in refusal(wf, "finding", 1)
    assert "'source' in its metadata is none of web:*, human" in refusal(
        wf, "finding", 1, metadata={"source": "a guess", "model": "m"}
    )
    labels = {"source": "web:example.org", "model": "m"}
    wf.put("finding", [1], metadata=labels)
    with pytest.raises(WriteRefused, match="have no 'source'"):
        wf.update({"finding": [2]}, merge_strategy="append")
    wf.update({"finding": Put([2], metadata=labels)}, merge_strategy="append")
    assert wf["finding"] == [1, 2]


def test_whom_and_what_a_guard_is_about(manager: SharedContextManager, wf: WorkflowHandle) -> None:
    seen: list[tuple[str, str, str, Any, Any]] = []

    def note(proposed: Proposed) -> None:
        seen.append(
            (proposed.key, proposed.scope.value, proposed.operation, proposed.value, proposed.metadata.get("n"))
        )
        if proposed.operation == "write":
            proposed.value.append("nobody sees this")

    who = {"agent_type": "web_*", "agent_role": "intern", "group": "finance"}
    for kind, pattern in who.items():
        mine: dict[str, Any] = {kind: pattern}
        manager.guards.register(kind, key="k*", scope=["private", "workflow"], check=note, deletes=True, **mine)
        others: dict[str, Any] = {kind: "other"}
        manager.guards.register(f"no {kind}", check=note, **others)
    wf.put("key", [1], metadata={"n": 1})
    wf.put("key", [2], scope="global")
    wf.put("key", [3], scope="private")
    wf.put("other", [4])
    wf.delete("key")
    assert seen == [
        *[("key", "workflow", "write", [1, "nobody sees this"], 1)] * 3,
        *[("key", "private", "write", [3, "nobody sees this"], None)] * 3,
        *[("key", "workflow", "delete", None, None)] * 3,
    ]
    assert wf["key"] == [3]


def test_they_stand_in_order_and_a_name_is_registered_once(manager: SharedContextManager, wf: WorkflowHandle) -> None:
    def adding(name: str) -> Callable[[Proposed], Instead]:
        return lambda proposed: Instead(proposed.value + name)

    for name in "abc":
        manager.guards.register(name, key="k", check=adding(name))
    manager.guards.register("a", key="k", check=adding("A"))
    assert wf.put("k", "").value == "bcA"


def test_the_operator_hears_of_each_refusal_and_of_no_value(
    manager: SharedContextManager, wf: WorkflowHandle, caplog: pytest.LogCaptureFixture
) -> None:
    manager.guards.register("small", key="*", max_bytes=10)
    manager.guards.register("broken", key="b", check=lambda proposed: proposed.value.nothing)
    wf.put("list", ["abcd"])
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            with pytest.raises(WriteRefused):
                wf.update({"list": ["efghij"]}, merge_strategy="append")
        with pytest.raises(GuardFailed):
            wf.put("b", "efghij")
    assert [record.getMessage() for record in caplog.records] == [
        *["guard 'small' refused a write of 'list' (workflow) by web_extractor_001 in workflow 'w'"] * 2,
        "guard 'broken' failed over a write of 'b' (workflow) by web_extractor_001 in workflow 'w'",
    ]


def test_those_of_a_policy_come_first() -> None:
    guards = Guards(policy_of({"guard": [{"name": "first", "check": lambda _: Instead("first")}]}).guards)
    guards.register("second", check=lambda proposed: Instead(proposed.value + " second"))
    found = guards.of(Agent("a"), Address(ContextScope.WORKFLOW, "", "k"))
    assert [guard.name for guard in found] == ["first", "second"]


def test_a_file_names_sizes_labels_and_a_schema_beside_it(tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text(json.dumps(RATES), encoding="utf-8")
    (tmp_path / "policy.toml").write_text(
        '[[guard]]\nname = "rates"\nkey = "rates"\nschema = "rates.json"\n'
        '[[guard]]\nname = "told"\nkey = "f*"\nmax_bytes = 100\nprovenance = ["source"]\nagent_role = "intern"\n',
        encoding="utf-8",
    )
    with connect("memory://", policy=str(tmp_path / "policy.toml")) as manager:
        wf = manager.workflow("w", agent_id="a", agent_role="intern")
        wf.open()
        assert "$.usd" in refusal(wf, "rates", {"usd": "x"})
        assert "'source'" in refusal(wf, "f", 1)
        manager.workflow("w", agent_id="a").put("f", 1)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("max_bytes = 0", r"line 3: \[\[guard\]\] 1: max_bytes is 0"),
        ('max_bytes = "x"', r"line 3: .*max_bytes is 'x'"),
        ("provenance = []", r"line 3: .*provenance is \[\]"),
        ("provenance = {source = [1]}", r"line 3: .*provenance source is \[1\]"),
        ('schema = "none.json"', r"line 3: .*schema names 'none.json', which cannot be read"),
        ("schema = {type = 3}", r"line 3: .*schema is none: at \$\.type"),
        ('model = "app:Model"', r"line 3: .*model is 'app:Model': give a pydantic model"),
        ('check = "app:check"', r"line 3: .*check is a str: give a function"),
        ("deletes = true", r"line 1: .*guard 'g' asks nothing"),
        ("max_bytes = 5\ndeletes = true", r"line 4: .*deletes of guard 'g' is True"),
        ("sizes = 5", r"line 3: .*sizes is not known in \[\[guard\]\]"),
        ('scope = "all"\nmax_bytes = 5', r"line 3: .*scope is 'all'"),
    ],
)
def test_a_mistake_names_its_line_and_key(tmp_path: Path, row: str, told: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f'[[guard]]\nname = "g"\n{row}\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=told):
        policy_of(str(path))


@pytest.mark.parametrize(
    "asked",
    [{}, {"max_bytes": True}, {"check": 1}, {"key": 1, "max_bytes": 1}, {"scope": "x", "max_bytes": 1}, {"schema": 5}],
    ids=str,
)
def test_a_mistake_in_python_is_told_when_it_is_registered(asked: dict[str, Any]) -> None:
    guards = Guards()
    with pytest.raises(ConfigurationError):
        guards.register("g", **asked)
    assert not guards
