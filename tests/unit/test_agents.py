"""Agents: their type by their id, and what is the operator."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from ctxqueue.errors import InvalidName
from ctxqueue.models import OPERATOR, Agent

TYPES = {
    "web_extractor_001": "web_extractor",
    "financial_calculator_7": "financial_calculator",
    "web_extractor": "web_extractor",
    "financial_validator": "financial_validator",
    "report_generator_12345678-1234-5678-1234-567812345678": "report_generator",
    "report_generator_deadbeef": "report_generator",
    "report_generator_DEADBEEF01": "report_generator",
    "report_generator_abcde": "report_generator_abcde",
    "report_generator_a1b2c": "report_generator_a1b2c",
    "worker_1_2": "worker_1",
    "worker_v2": "worker_v2",
    "worker-001": "worker-001",
    "worker_": "worker_",
    "_001": "_001",
    "001": "001",
    "a_0": "a",
    "größe_3": "größe",
    "worker_001 ": "worker_001 ",
    "worker_0x1": "worker_0x1",
    "worker_12345678-1234-5678-1234-56781234567": "worker_12345678-1234-5678-1234-56781234567",
}


@pytest.mark.parametrize(("agent_id", "agent_type"), TYPES.items())
def test_the_type_is_the_id_without_its_number(agent_id: str, agent_type: str) -> None:
    assert Agent(agent_id).agent_type == agent_type


def test_a_given_type_goes_before() -> None:
    assert Agent("web_extractor_001", "auditor").agent_type == "auditor"


def test_groups_keep_their_order_and_count_once() -> None:
    assert Agent("a", groups=("risk", "audit", "risk")).groups == ("risk", "audit")


@pytest.mark.parametrize("wrong", ["", "a\0b", "x" * 257, 5, None])
def test_bad_names(wrong: Any) -> None:
    with pytest.raises(InvalidName, match="agent_id"):
        Agent(wrong)
    with pytest.raises(InvalidName, match="group"):
        Agent("a", groups=(wrong,))
    if wrong is not None:
        with pytest.raises(InvalidName, match="agent_role"):
            Agent("a", agent_role=wrong)
    if wrong:
        with pytest.raises(InvalidName, match="agent_type"):
            Agent("a", wrong)


def test_the_operator_is_one_of_a_kind() -> None:
    assert OPERATOR.is_operator
    assert not Agent("analyst_001").is_operator
    assert not Agent("SYSTEM_1").is_operator
    assert not Agent("system").is_operator
    for agent_type in ("", "SYSTEM", "other"):
        with pytest.raises(InvalidName, match="is the operator's"):
            Agent("SYSTEM", agent_type)
    with pytest.raises(InvalidName):
        dataclasses.replace(OPERATOR, agent_role="x")
    assert not pickle.loads(pickle.dumps(OPERATOR)).is_operator  # noqa: S301 - our own
